import type { Job } from '../src/index.ts';
import type { Environment } from './environment.ts';
import { done, noop } from './jobs.ts';
import { checkCount } from './rivals/rival.ts';

/**
 * Runs a batch with a job for each argument.
 *
 * @returns ms from `create` to the end of the callback
 */
export async function runBatch(
  { batches }: Pick<Environment, 'batches'>,
  job: Job<[number]>,
  args: readonly number[],
): Promise<number> {
  const startedAt = performance.now();
  const batch = await batches.create({
    description: `Benchmark of ${args.length} jobs`,
    callbacks: { complete: done },
  });
  await batch.jobs(async () => {
    for (const arg of args) await job.performAsync(arg);
  });
  const { complete } = await batch.wait();
  const ms = performance.now() - startedAt;
  checkCount(complete, args.length);
  return ms;
}

/** Runs a batch of no-op jobs. @returns ms from `create` to the end of the callback */
export async function runNoops(environment: Pick<Environment, 'batches'>, jobs: number): Promise<number> {
  return runBatch(
    environment,
    noop,
    Array.from({ length: jobs }, (_, index) => index),
  );
}
