import { inEnvironment, type Environment } from './environment.ts';
import { median, quantile, rounded } from './figures.ts';
import { done } from './jobs.ts';
import { pickServers, startProcess, withWorkflowBundle } from './processes.ts';
import { report, type BenchOptions } from './report.ts';
import { runNoops } from './run-batch.ts';

const SMALL = 10;
const ALONE = 50;
const AT_ONCE = 20;

/**
 * Batches beside each other: a small one beside a large one, and many at once. One worker process runs them all; the
 * large batch has an enqueuer process of its own, as it would elsewhere.
 */
export async function runContention(
  options: {
    jobs: number;
    jobsEach: number;
  } & BenchOptions,
): Promise<void> {
  await inEnvironment({ server: options.server }, async (environment) => {
    await withWorkflowBundle(async (workflowBundlePath) => {
      const servers = pickServers(environment);
      const worker = await startProcess('./worker-process.js', { ...servers, workflowBundlePath });
      try {
        for (let n = 0; n < 10; n++) await runNoops(environment, SMALL);
        await runNoops(environment, options.jobsEach);
        const alone: number[] = [];
        for (let n = 0; n < ALONE; n++) alone.push(await runNoops(environment, SMALL));
        const { beside, largePerSecond } = await measureBeside(environment, options.jobs);
        const single = await rateOfOne(environment, options.jobsEach * AT_ONCE);
        const together = await rateOfMany(environment, options.jobsEach);
        tell(environment, options, { alone, beside, largePerSecond, single, together });
      } finally {
        await worker.stop();
      }
    });
  });
}

async function measureBeside(environment: Environment, jobs: number) {
  const large = await environment.batches.create({ description: `Benchmark of ${jobs} jobs` });
  await large.on('complete', done);
  const beside: number[] = [];
  const over = new AbortController();
  const startedAt = performance.now();
  const enqueuer = await startProcess('./enqueuer-process.js', {
    ...pickServers(environment),
    batchId: large.id,
    jobs,
  });
  const running = large.wait().finally(() => over.abort());
  while (!over.signal.aborted) beside.push(await runNoops(environment, SMALL));
  const { complete } = await running;
  const largePerSecond = (complete / (performance.now() - startedAt)) * 1_000;
  await enqueuer.peakMemoryMb;
  // The last one ran in part beside nothing.
  beside.pop();
  return { beside, largePerSecond };
}

async function rateOfOne(environment: Environment, jobs: number): Promise<number> {
  return (jobs / (await runNoops(environment, jobs))) * 1_000;
}

async function rateOfMany(environment: Environment, jobsEach: number): Promise<number> {
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: AT_ONCE }, () => runNoops(environment, jobsEach)));
  return ((AT_ONCE * jobsEach) / (performance.now() - startedAt)) * 1_000;
}

function tell(
  { machine }: Environment,
  options: { jobs: number; jobsEach: number } & BenchOptions,
  figures: { alone: number[]; beside: number[]; largePerSecond: number; single: number; together: number },
): void {
  const { alone, beside, largePerSecond, single, together } = figures;
  const smallRatio = rounded(median(beside) / median(alone));
  const rows = [
    [`${SMALL} jobs alone, ms`, rounded(median(alone)), rounded(quantile(alone, 0.95)), ''],
    [
      `${SMALL} jobs beside ${options.jobs}, ms`,
      rounded(median(beside)),
      rounded(quantile(beside, 0.95)),
      smallRatio,
    ],
    [`${options.jobs} jobs beside them, jobs/s`, Math.round(largePerSecond), '', ''],
    [`one batch of ${options.jobsEach * AT_ONCE}, jobs/s`, Math.round(single), '', ''],
    [
      `${AT_ONCE} batches of ${options.jobsEach}, jobs/s`,
      Math.round(together),
      '',
      rounded(together / single),
    ],
  ];
  report(options, ['', 'median', 'p95', 'ratio'], rows, {
    bench: 'contention',
    jobs: options.jobs,
    smallBatches: beside.length,
    smallAloneMs: rounded(median(alone)),
    smallBesideMs: rounded(median(beside)),
    smallRatio,
    largePerSecond: Math.round(largePerSecond),
    singlePerSecond: Math.round(single),
    togetherPerSecond: Math.round(together),
    ...machine,
  });
}
