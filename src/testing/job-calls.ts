import type { Logger } from '@temporalio/common';
import type { BatchClient } from '../client/batch-client.ts';
import { runOutsideEnrollment } from '../client/enrollment-context.ts';
import { InvalidOptionError } from '../errors.ts';
import { runInJobContext, type JobContext } from '../jobs/job-context.ts';
import type { Job } from '../jobs/define-job.ts';
import { resultJson } from '../jobs/result.ts';
import { toExactJson } from '../json-value.ts';
import { assertKnownKeys, assertPlainObject, assertWholeNumber } from '../options.ts';

/** Options of `performJob`. */
export interface PerformJobOptions {
  /** What `currentJob().attempt` says. @default 1 */
  readonly attempt?: number;
  /** What `currentJob().batchId` says. @default none, as of a plain job */
  readonly batchId?: string;
  /** What `currentJob().batches` is, for handlers that use it. @default none: using it throws */
  readonly batches?: BatchClient;
  /** What `currentJob().jid` says. @default `'<batch id>/1'`, or `'job-1'` */
  readonly jid?: string;
  /** What `currentJob().logger` writes to. @default nowhere */
  readonly logger?: Logger;
  /** What `currentJob().signal` is. @default one that never fires */
  readonly signal?: AbortSignal;
}

export const SILENT: Logger = {
  log: () => {},
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};

/**
 * Runs a job's handler once, as a worker would: in its context, with arguments that went through JSON. Nothing is
 * enrolled, stored or retried.
 *
 * @returns what the handler returned
 * @throws what the handler threw, as it was
 * @throws {@link InvalidArgumentsError} for arguments that a row cannot carry exactly
 * @throws {@link InvalidOptionError}
 * @example expect(await performJob(scoreEntry, [7], { attempt: 2 })).toEqual({ score: 21 });
 */
export async function performJob<Args extends readonly unknown[], Result>(
  job: Job<Args, Result>,
  args: Args,
  options: PerformJobOptions = {},
): Promise<Result> {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, ['attempt', 'batchId', 'batches', 'jid', 'logger', 'signal']);
  const { attempt = 1, batchId, jid = batchId === undefined ? 'job-1' : `${batchId}/1` } = options;
  assertWholeNumber('attempt', attempt, 1);
  const context: JobContext = {
    jid,
    batchId,
    round: 1,
    attempt,
    logger: options.logger ?? SILENT,
    signal: options.signal ?? new AbortController().signal,
    get batches() {
      if (options.batches) return options.batches;
      throw new InvalidOptionError('batches', 'given to performJob for a handler that uses it', undefined);
    },
  };
  const result = await runHandler(job, toExactJson('args', args), context);
  if (job.storesResult) resultJson(result);
  return result;
}

/** Runs a handler on what a row would bring back. */
export async function runHandler<Args extends readonly unknown[], Result>(
  job: Job<Args, Result>,
  argsJson: string,
  context: JobContext,
): Promise<Result> {
  const args = JSON.parse(argsJson) as Args;
  return runOutsideEnrollment(() => runInJobContext(context, async () => job.handler(...args)));
}
