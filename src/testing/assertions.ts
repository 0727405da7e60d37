import { AssertionError } from 'node:assert';
import { inspect, isDeepStrictEqual } from 'node:util';
import type { Batch } from '../client/batch.ts';
import type { JobRecord } from '../database/rows.ts';
import type { Job } from '../jobs/define-job.ts';

/** Lines of a message that lists what was enrolled. */
const MAX_LISTED = 20;

/**
 * All jobs of a batch, in the order of their enrolment, wherever they stand: of an inline batch, and of one on servers.
 *
 * @throws {@link DatabaseUnavailableError}
 */
export async function enrolledJobs(batch: Batch): Promise<JobRecord[]> {
  // Those that wait first: a job that ends meanwhile is read twice, and none is missed.
  const pending = await batch.pendingJobs();
  const parts = await Promise.all([batch.completedJobs(), batch.failedJobs(), batch.cancelledJobs()]);
  const jobs = new Map([...pending, ...parts.flat()].map((job) => [job.position, job]));
  return [...jobs.values()].sort((one, other) => one.position - other.position);
}

/**
 * Asserts that a batch has a job of this definition, with these arguments if they are given.
 *
 * @throws an `AssertionError` that lists what was enrolled
 * @example await assertEnrolled(batch, scoreEntry, [7]);
 */
export async function assertEnrolled<Args extends readonly unknown[]>(
  batch: Batch,
  job: Job<Args>,
  args?: Args,
): Promise<void> {
  const jobs = await enrolledJobs(batch);
  if (jobs.some((enrolled) => isOf(enrolled, job, args))) return;
  throw failure(`Batch "${batch.id}" has no job ${describe(job.name, args)}.`, jobs, assertEnrolled);
}

/** Asserts the opposite of {@link assertEnrolled}. @throws an `AssertionError` that lists what was enrolled */
export async function assertNotEnrolled<Args extends readonly unknown[]>(
  batch: Batch,
  job: Job<Args>,
  args?: Args,
): Promise<void> {
  const jobs = await enrolledJobs(batch);
  if (!jobs.some((enrolled) => isOf(enrolled, job, args))) return;
  throw failure(`Batch "${batch.id}" has a job ${describe(job.name, args)}.`, jobs, assertNotEnrolled);
}

function isOf(
  { workerClass, args: enrolled }: JobRecord,
  { name }: { readonly name: string },
  args: readonly unknown[] | undefined,
): boolean {
  return workerClass === name && (args === undefined || isDeepStrictEqual(enrolled, [...args]));
}

function describe(name: string, args: readonly unknown[] | undefined): string {
  return args === undefined ? name : `${name}(${args.map((arg) => inspect(arg, { depth: 4 })).join(', ')})`;
}

function failure(
  what: string,
  jobs: readonly JobRecord[],
  stackStartFn: (...args: never[]) => unknown,
): AssertionError {
  const lines = jobs
    .slice(0, MAX_LISTED)
    .map(({ position, workerClass, args }) => `  ${position}. ${describe(workerClass, args)}`);
  const more = jobs.length > MAX_LISTED ? [`  and ${jobs.length - MAX_LISTED} more`] : [];
  const list = jobs.length === 0 ? ['It has no jobs.'] : ['Its jobs:', ...lines, ...more];
  return new AssertionError({ message: [what, ...list].join('\n'), stackStartFn });
}
