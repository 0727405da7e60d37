import type { ArgLists, JobCalls } from '../jobs/define-job.ts';
import { currentEnrollment } from './enrollment-context.ts';
import type { Enrollment } from './enrollment.ts';
import { enrollEach, enrollJob } from './submit.ts';

/**
 * An enrollment block, as `jobs` hands it to the function. It starts jobs of its batch from any async context: from
 * tasks of a queue, a pool, a batching loader or a listener that run in the context of other code. Its functions need no
 * `this`. After the end of the block they are refused with `ENROLLMENT_CLOSED`.
 */
export interface EnrollmentBlock {
  readonly batchId: string;
  /**
   * Starts one job of the batch, as `job.performAsync` does inside of the block. Options: `job.set(options)` in place of
   * `job`.
   *
   * @returns the jid
   * @throws {@link InvalidArgumentsError} for arguments that JSON cannot carry exactly, or over 64 KiB
   * @throws {@link InvalidOptionError} when `job` is not from `defineJob`
   * @throws {@link EnrollmentClosedError} after the end of the block
   * @example await batch.jobs((block) => Promise.all(ids.map((id) => queue.add(() => block.perform(scoreEntry, id)))));
   */
  perform<Args extends readonly unknown[]>(this: void, job: JobCalls<Args>, ...args: Args): Promise<string>;
  /**
   * Starts one job for each argument list, as `job.performBulk` does inside of the block.
   *
   * @returns the jids, in order
   */
  performBulk<Args extends readonly unknown[]>(
    this: void,
    job: JobCalls<Args>,
    argLists: ArgLists<Args>,
  ): Promise<string[]>;
  /** @internal */
  readonly enrollment: Enrollment;
}

export function blockOf(enrollment: Enrollment): EnrollmentBlock {
  return Object.freeze<EnrollmentBlock>({
    batchId: enrollment.batchId,
    perform: (job, ...args) => {
      enrollment.noteExplicit(currentEnrollment());
      return enrollJob(enrollment, job?.target, args);
    },
    performBulk: (job, argLists) => {
      enrollment.noteExplicit(currentEnrollment());
      return enrollEach(enrollment, job?.target, argLists);
    },
    enrollment,
  });
}

/** Whether a value is what `jobs` gave to its function. */
export function isEnrollmentBlock(value: unknown): value is EnrollmentBlock {
  return (value as Partial<EnrollmentBlock> | null)?.enrollment !== undefined;
}
