import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { SingleBar } from 'cli-progress';
import { Command, InvalidArgumentError } from 'commander';
import { bundleApp } from './app-bundles.ts';
import { FAULT_KINDS, type FaultKind } from './plan.ts';
import { describeRound, summarize, summaryTable } from './report.ts';
import type { RoundResult } from './round.ts';
import { OpenRounds, runRounds } from './run-rounds.ts';
import { bundleWorkflows } from '../support/workflow-bundle.ts';

interface Options {
  readonly rounds: number;
  readonly seed: number;
  readonly parallel: number;
  readonly only?: readonly FaultKind[];
  readonly json?: true;
}

/** The exit code of a program that SIGINT ended. */
const INTERRUPTED = 130;

const positiveInteger = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('A whole number of at least 1.');
  return value;
};

const faultKinds = (text: string): FaultKind[] => {
  if (text === 'none') return [];
  return text.split(',').map((name) => {
    const kind = FAULT_KINDS.find((other) => other === name);
    if (kind === undefined)
      throw new InvalidArgumentError(`One or more of ${FAULT_KINDS.join(', ')}; or none.`);
    return kind;
  });
};

const program = new Command('faults')
  .description(
    'Plays rounds of batches on real servers, kills, pauses and cuts off what runs, and checks what is left: ' +
      'nothing lost, doubled, stuck or wrong.',
  )
  .option('--rounds <n>', 'rounds to play', positiveInteger, 20)
  .option('--seed <n>', 'seed of the first round; each further one has the next number', positiveInteger, 1)
  .option('--parallel <n>', 'rounds at once, each with servers of its own', positiveInteger, 3)
  .option('--only <kinds>', `faults to choose from, by comma: ${FAULT_KINDS.join(', ')}; or none`, faultKinds)
  .option('--json', 'print one line of JSON')
  .addHelpText('after', '\nExample:\n  npm run faults -- --rounds 200 --seed 1000')
  .action(run);
await program.parseAsync();

async function run(options: Options): Promise<void> {
  const startedAt = performance.now();
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-faults-run-'));
  const open = new OpenRounds();
  const cleanUp = async () => {
    await open.close();
    await rm(folder, { recursive: true, force: true });
  };
  const interrupt = () => {
    if (!open.isClosed) void cleanUp().finally(() => process.exit(INTERRUPTED));
  };
  // Not `once`: execa ends this process itself when it finds no handler beside its own any more.
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  const view = openView(options);
  try {
    const results = await runRounds({
      firstSeed: options.seed,
      rounds: options.rounds,
      parallel: options.parallel,
      kinds: options.only,
      workflowBundlePath: await bundleWorkflows(folder),
      appBundles: await bundleApp(folder),
      onResult: (result) => view.show(result),
      open,
    });
    view.close();
    if (open.isClosed) return;
    const summary = summarize(results, (performance.now() - startedAt) / 1000);
    process.stdout.write(`${options.json ? JSON.stringify(summary) : summaryTable(summary)}\n`);
    if (summary.failedRounds > 0) process.exitCode = 1;
  } finally {
    await cleanUp();
  }
}

/** A bar on a terminal, a line a round elsewhere; failed rounds in full on both. On stderr: stdout is the result's. */
function openView({ rounds, only }: Options): { show(result: RoundResult): void; close(): void } {
  const { stderr } = process;
  let done = 0;
  let failed = 0;
  const bar = new SingleBar({
    stream: stderr,
    // Signals are handled above.
    gracefulExit: false,
    clearOnComplete: true,
    format: '  {bar} {value} of {total} rounds, {failed} failed, {eta_formatted} left',
  });
  if (stderr.isTTY) bar.start(rounds, 0, { failed });
  return {
    show(result) {
      done++;
      const isFailed = result.violations.length > 0;
      if (isFailed) failed++;
      if (!stderr.isTTY) stderr.write(`[${done}/${rounds}] ${describeRound(result, only)}\n`);
      else if (isFailed) stderr.write(`\r\u001B[K${describeRound(result, only)}\n`);
      bar.update(done, { failed });
    },
    close: () => bar.stop(),
  };
}
