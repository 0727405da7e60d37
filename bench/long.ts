import { inEnvironment, type Environment } from './environment.ts';
import { median, rounded } from './figures.ts';
import { pause } from './jobs.ts';
import { pickServers, startProcess, withWorkflowBundle } from './processes.ts';
import { report, type BenchOptions } from './report.ts';
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

/** Jobs that wait, over two worker processes: the time against the work divided by the slots. */
export async function runLong(
  options: {
    seconds: number;
    mixed: number;
    runs: number;
  } & BenchOptions,
): Promise<void> {
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
      const rows: (string | number)[][] = [];
      const figures: Record<string, unknown> = {};
      try {
        await measure(environment, SHAPES['1 s each']!({ seconds: 200, mixed: 0 }));
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
      } finally {
        await Promise.all(workers.map((worker) => worker.stop()));
      }
      const head = ['jobs', 'number', 's', 'work / slots, s', 'ratio', 'slots filled in order, s'];
      report(options, head, rows, {
        bench: 'long',
        slots: SLOTS,
        runs: options.runs,
        ...figures,
        ...environment.machine,
      });
    }),
  );
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
