import { inEnvironment, type Environment } from './environment.ts';
import { median, quantile, rounded } from './figures.ts';
import { done, noop } from './jobs.ts';
import { report } from './report.ts';

const SMALL = 10;
const AT_ONCE = 20;

/** Batches beside each other: a small one beside a large one, and many at once. */
export async function runContention(options: {
  jobs: number;
  jobsEach: number;
  json?: boolean;
}): Promise<void> {
  await inEnvironment({ jobs: [noop], callbacks: [done] }, async (environment) => {
    for (let n = 0; n < 10; n++) await runBatch(environment, SMALL);
    const alone: number[] = [];
    for (let n = 0; n < 30; n++) alone.push(await runBatch(environment, SMALL));

    const beside: number[] = [];
    const over = new AbortController();
    const large = runBatch(environment, options.jobs).finally(() => over.abort());
    while (!over.signal.aborted) beside.push(await runBatch(environment, SMALL));
    await large;
    // Some ran in part beside nothing: the last one ended after the large batch did.
    beside.pop();

    const single = (options.jobsEach * AT_ONCE) / (await runBatch(environment, options.jobsEach * AT_ONCE));
    const startedAt = performance.now();
    await Promise.all(Array.from({ length: AT_ONCE }, () => runBatch(environment, options.jobsEach)));
    const together = (options.jobsEach * AT_ONCE) / (performance.now() - startedAt);

    const smallRatio = rounded(median(beside) / median(alone));
    const rows = [
      [`${SMALL} jobs alone, ms`, rounded(median(alone)), rounded(quantile(alone, 0.95)), ''],
      [
        `${SMALL} jobs beside ${options.jobs}, ms`,
        rounded(median(beside)),
        rounded(quantile(beside, 0.95)),
        smallRatio,
      ],
      [`one batch of ${options.jobsEach * AT_ONCE}, jobs/s`, rounded(single * 1_000), '', ''],
      [
        `${AT_ONCE} batches of ${options.jobsEach}, jobs/s`,
        rounded(together * 1_000),
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
      singlePerSecond: Math.round(single * 1_000),
      togetherPerSecond: Math.round(together * 1_000),
      ...environment.machine,
    });
  });
}

/** @returns ms from `create` to the end of the callback */
async function runBatch({ batches }: Environment, jobs: number): Promise<number> {
  const startedAt = performance.now();
  const batch = await batches.create({ description: `Benchmark of ${jobs} jobs` });
  await batch.on('complete', done);
  await batch.jobs(async () => {
    for (let index = 0; index < jobs; index++) await noop.performAsync(index);
  });
  const { complete } = await batch.wait();
  if (complete !== jobs) throw new Error(`${complete} of ${jobs} jobs are complete.`);
  return performance.now() - startedAt;
}
