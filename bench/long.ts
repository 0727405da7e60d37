import { setTimeout as delay } from 'node:timers/promises';
import { inEnvironment, type Environment } from './environment.ts';
import { median, rounded } from './figures.ts';
import { pause } from './jobs.ts';
import { pickServers, startProcess, withWorkflowBundle } from './processes.ts';
import { report, type BenchOptions } from './report.ts';
import { checkCount } from './rivals/rival.ts';
import { runBatch } from './run-batch.ts';

const PROCESSES = 2;
const JOBS_AT_ONCE = 100;
const SLOTS = PROCESSES * JOBS_AT_ONCE;

/** Durations in ms, in the order of enrolment. */
const SHAPES: Readonly<Record<string, (jobs: { seconds: number; mixed: number }) => number[]>> = {
  '1 s each': ({ seconds }) => Array.from({ length: seconds }, () => 1_000),
  // Spread evenly, the same in every run.
  '90 % 5 ms, 9 % 200 ms, 1 % 5 s': ({ mixed }) =>
    Array.from({ length: mixed }, (_, n) => (n % 100 === 50 ? 5_000 : n % 11 === 5 ? 200 : 5)),
};

export interface LongOptions extends BenchOptions {
  readonly seconds: number;
  readonly mixed: number;
  readonly runs: number;
  /** Instead: jobs of 100 ms, so many, with and without a job of 10 min among the first 1,000. */
  readonly straggler?: number;
}

/** Jobs that wait, over two worker processes: the time against the work divided by the slots. */
export async function runLong(options: LongOptions): Promise<void> {
  await inEnvironment({ server: options.server }, (environment) =>
    withWorkflowBundle(async (workflowBundlePath) => {
      const workers = await Promise.all(
        Array.from({ length: PROCESSES }, () =>
          startProcess('./worker-process.js', {
            ...pickServers(environment),
            maxConcurrentJobs: JOBS_AT_ONCE,
            workflowBundlePath,
          }),
        ),
      );
      try {
        await measure(environment, SHAPES['1 s each']!({ seconds: 200, mixed: 0 }));
        if (options.straggler === undefined) await compareToWork(environment, options);
        else await compareToNone(environment, options, options.straggler);
      } finally {
        await Promise.all(workers.map((worker) => worker.stop()));
      }
    }),
  );
}

async function compareToWork(environment: Environment, options: LongOptions): Promise<void> {
  const rows: (string | number)[][] = [];
  const figures: Record<string, unknown> = {};
  for (const [name, durationsOf] of Object.entries(SHAPES)) {
    const durations = durationsOf(options);
    const ideal = durations.reduce((sum, ms) => sum + ms, 0) / SLOTS / 1_000;
    const seconds: number[] = [];
    for (let run = 0; run < options.runs; run++) seconds.push(await measure(environment, durations));
    const taken = median(seconds);
    const ratio = rounded(taken / ideal);
    const inOrder = rounded(scheduled(durations) / 1_000);
    rows.push([name, durations.length, rounded(taken), rounded(ideal), ratio, inOrder]);
    figures[name] = { jobs: durations.length, seconds: taken, ideal, ratio, inOrder };
  }
  const head = ['jobs', 'number', 's', 'work / slots, s', 'ratio', 'slots filled in order, s'];
  report(options, head, rows, {
    bench: 'long',
    slots: SLOTS,
    runs: options.runs,
    ...figures,
    ...environment.machine,
  });
}

/** One slow job: how long the others take, in turn with the same jobs without it. */
async function compareToNone(environment: Environment, options: LongOptions, jobs: number): Promise<void> {
  const short = Array.from({ length: jobs }, () => 100);
  const withSlow = short.with(Math.min(500, jobs - 1), 10 * 60_000);
  const without: number[] = [];
  const beside: number[] = [];
  for (let run = 0; run < options.runs; run++) {
    without.push(await measureBeside(environment, short, 0));
    beside.push(await measureBeside(environment, withSlow, 1));
  }
  const [base, taken] = [median(without), median(beside)];
  const ratio = rounded(taken / base);
  const row = [jobs, rounded(taken), rounded(base), ratio];
  report(options, ['jobs of 100 ms', 'beside one of 10 min, s', 'without it, s', 'ratio'], [row], {
    bench: 'long --straggler',
    slots: SLOTS,
    runs: options.runs,
    jobs,
    beside: taken,
    without: base,
    ratio,
    ...environment.machine,
  });
}

/** @returns seconds from `create` until only so many jobs are left, which are then cancelled */
async function measureBeside(
  { batches }: Environment,
  durations: readonly number[],
  left: number,
): Promise<number> {
  const startedAt = performance.now();
  const batch = await batches.create({ description: `Benchmark of ${durations.length} jobs` });
  await batch.jobs(async () => {
    for (const ms of durations) await pause.performAsync(ms);
  });
  while ((await batch.progress()).pending > left) await delay(100);
  const seconds = (performance.now() - startedAt) / 1_000;
  if (left > 0) await batch.cancel({ gracePeriod: '1ms' });
  checkCount((await batch.wait()).complete, durations.length - left);
  return seconds;
}

async function measure(environment: Environment, durations: readonly number[]): Promise<number> {
  return (await runBatch(environment, pause, durations)) / 1_000;
}

/** When the last job would end if each took the first free slot, without any overhead. In ms. */
function scheduled(durations: readonly number[]): number {
  const freeAt = new Float64Array(SLOTS);
  let end = 0;
  for (const ms of durations) {
    let first = 0;
    for (let slot = 1; slot < SLOTS; slot++) if (freeAt[slot]! < freeAt[first]!) first = slot;
    freeAt[first]! += ms;
    end = Math.max(end, freeAt[first]!);
  }
  return end;
}
