import { AsyncLocalStorage } from 'node:async_hooks';
import { optionalJob } from '../jobs/job-context.ts';
import { currentEnrollment } from './enrollment-context.ts';

const storage = new AsyncLocalStorage<string>();

/** Runs a callback of a batch: batches that it creates come from that one. */
export function runAsCallbackOf<T>(batchId: string, run: () => T): T {
  return storage.run(batchId, run);
}

/**
 * The batch that is not over before its caller has ended: the caller is in an open block, a job, or a callback of it.
 */
export function heldBatch(): { readonly id: string; readonly by: 'block' | 'job' | 'callback' } | undefined {
  const enrollment = currentEnrollment();
  if (enrollment) return enrollment.isClosed ? undefined : { id: enrollment.batchId, by: 'block' };
  const job = optionalJob();
  if (job) return job.batchId === undefined ? undefined : { id: job.batchId, by: 'job' };
  const id = storage.getStore();
  return id === undefined ? undefined : { id, by: 'callback' };
}

/** The batch whose block, job or callback the caller is in. */
export function parentOfNewBatch(): string | undefined {
  return currentEnrollment()?.batchId ?? optionalJob()?.batchId ?? storage.getStore();
}
