import { AsyncLocalStorage } from 'node:async_hooks';
import { optionalJob } from '../jobs/job-context.ts';
import { currentEnrollment } from './enrollment-context.ts';

const storage = new AsyncLocalStorage<string>();

/** Runs a callback of a batch: batches that it creates come from that one. */
export function runAsCallbackOf<T>(batchId: string, run: () => T): T {
  return storage.run(batchId, run);
}

/** The batch whose block, job or callback the caller is in. */
export function parentOfNewBatch(): string | undefined {
  return currentEnrollment()?.batchId ?? optionalJob()?.batchId ?? storage.getStore();
}
