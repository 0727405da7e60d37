import { setTimeout as delay } from 'node:timers/promises';
import { currentJob, defineJob } from '../src/index.ts';
import { inEnvironment, type Environment } from './environment.ts';
import { done } from './jobs.ts';
import { report, type BenchOptions } from './report.ts';

/** Long enough that a worker's slots are full of them. */
const JOB_MS = 300;
const RUN_BEFORE_MS = 3_000;

let starts = 0;
let lastStart = 0;

const work = defineJob('Work', async (_index: number) => {
  starts++;
  lastStart = performance.now();
  await delay(JOB_MS, undefined, { signal: currentJob().signal });
});

interface Cancelled {
  readonly jobs: number;
  /** Jobs that had started when `cancel` was called. */
  readonly started: number;
  /** Until `cancel` resolved. */
  readonly cancelMs: number;
  /** Until the last job started. */
  readonly lastStartMs: number;
  /** Until the batch had settled and its callbacks had ended. */
  readonly settledMs: number;
  readonly cancelled: number;
}

/** Cancels running batches of several sizes: how soon nothing starts any more, and how soon they have settled. */
export async function runCancel(options: { sizes: readonly number[] } & BenchOptions): Promise<void> {
  await inEnvironment({ jobs: [work], callbacks: [done], server: options.server }, async (environment) => {
    const sizes: Cancelled[] = [];
    for (const jobs of options.sizes) sizes.push(await measure(environment, jobs));
    report(
      options,
      ['jobs', 'started before', 'cancel(), ms', 'last start, ms', 'settled, ms', 'cancelled jobs'],
      sizes.map(({ jobs, started, cancelMs, lastStartMs, settledMs, cancelled }) => [
        jobs,
        started,
        Math.round(cancelMs),
        Math.round(lastStartMs),
        Math.round(settledMs),
        cancelled,
      ]),
      { bench: 'cancel', sizes, ...environment.machine },
    );
  });
}

async function measure({ batches }: Environment, jobs: number): Promise<Cancelled> {
  const batch = await batches.create({ description: `Benchmark of ${jobs} jobs` });
  await batch.on('settled', done);
  starts = 0;
  await batch.jobs(async () => {
    for (let index = 0; index < jobs; index++) await work.performAsync(index);
  });
  await delay(RUN_BEFORE_MS);
  const started = starts;
  const startedAt = performance.now();
  await batch.cancel({ reason: 'measured' });
  const cancelMs = performance.now() - startedAt;
  const { cancelled } = await batch.wait();
  const settledMs = performance.now() - startedAt;
  return { jobs, started, cancelMs, lastStartMs: Math.max(0, lastStart - startedAt), settledMs, cancelled };
}
