import { AsyncLocalStorage } from 'node:async_hooks';
import type { Logger } from '@temporalio/common';
import type { BatchClient } from '../client/batch-client.ts';
import { BatchError } from '../errors.ts';

/** What a handler can ask about the job that it runs. */
export interface JobContext {
  readonly jid: string;
  /** Undefined for a plain job, which belongs to no batch. */
  readonly batchId: string | undefined;
  /** Which round of its batch it runs in: 1, and one more for each `retryFailed`. 1 for a plain job. */
  readonly round: number;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** Temporal's logger, with batch id, jid and job name in every line. */
  readonly logger: Logger;
  /** Fires when the attempt's time is over, or the worker gives up waiting for it at shutdown. */
  readonly signal: AbortSignal;
  /** A client on the worker's own connections. */
  readonly batches: BatchClient;
}

const storage = new AsyncLocalStorage<JobContext>();

/**
 * The context of the job that is running.
 *
 * @throws {@link BatchError} with code `NO_JOB_CONTEXT` outside of a handler
 * @example
 * const response = await fetch(url, { signal: currentJob().signal });
 */
export function currentJob(): JobContext {
  const context = storage.getStore();
  if (!context) {
    throw new BatchError(
      'NO_JOB_CONTEXT',
      'currentJob() was called outside of a job. Call it in a handler given to defineJob, or in what it calls.',
    );
  }
  return context;
}

/** @internal */
export function optionalJob(): JobContext | undefined {
  return storage.getStore();
}

/** @internal */
export function runInJobContext<T>(context: JobContext, run: () => T): T {
  return storage.run(context, run);
}
