import type { Job } from '../jobs/define-job.ts';
import { currentJob } from '../jobs/job-context.ts';

/** A job that is about to run, for a test to choose from. */
export interface ForcedCall<Args extends readonly unknown[]> {
  readonly args: Args;
  /** 1 for the first attempt. */
  readonly attempt: number;
  readonly jid: string;
}

/** What becomes of it in place of what its handler would do. */
export type ForcedOutcome<Result> = { readonly error: unknown } | { readonly result: Result };

/**
 * The same job with outcomes that a test chooses: give it to `createInlineBatches` or to `createBatchWorker` in place of
 * the job. What the app starts stays the job itself: rows and workers know both by the same name.
 *
 * @param choose what becomes of an attempt; undefined: the handler runs
 * @example
 * const flaky = forceOutcome(scoreEntry, ({ args: [entryId], attempt }) =>
 *   entryId === 2 && attempt === 1 ? { error: new Error('The score service is away') } : undefined);
 */
export function forceOutcome<Args extends readonly unknown[], Result>(
  job: Job<Args, Result>,
  choose: (call: ForcedCall<Args>) => ForcedOutcome<Result> | undefined,
): Job<Args, Result> {
  return {
    ...job,
    handler: (...args: Args) => {
      const { attempt, jid } = currentJob();
      const outcome = choose({ args, attempt, jid });
      if (!outcome) return job.handler(...args);
      if ('error' in outcome) throw outcome.error;
      return outcome.result;
    },
  };
}
