import { Enrollment, named, type EnrollmentOptions, type RequestedStart } from '../client/enrollment.ts';
import type { JobTarget } from '../client/submit.ts';
import { BatchCycleError, UnknownLimitError } from '../errors.ts';
import { MEMBER_BATCH } from '../jobs/member-batch.ts';
import { describeError } from '../jobs/outcome.ts';
import { InlineUnsupportedError } from './errors.ts';
import type { InlineJob } from './inline-job.ts';
import type { InlineState } from './inline-state.ts';

/** What a block asks its client. */
interface Questions {
  readonly cycleWith: (memberId: string) => readonly string[] | undefined;
  readonly limitNames: () => readonly string[];
}

/** An enrolment block that keeps its jobs in memory. */
export class InlineBlock extends Enrollment {
  readonly #batch: InlineState;
  readonly #options: EnrollmentOptions;
  readonly #questions: Questions;
  #isClosed = false;

  constructor(options: EnrollmentOptions, batch: InlineState, questions: Questions) {
    // Nobody waits for a sign of life.
    super({ ...options, enrollmentTimeoutMs: undefined });
    this.#options = options;
    this.#batch = batch;
    this.#questions = questions;
  }

  override get isClosed(): boolean {
    return this.#isClosed;
  }

  override knowsLimit(name: string): Promise<void> | undefined {
    const known = this.#questions.limitNames();
    return known.includes(name) ? undefined : Promise.reject(new UnknownLimitError(name, known));
  }

  override enroll(target: JobTarget, argsJson: string): string {
    this.assertOpen(`${target.name}.performAsync was called`, 'job');
    const member = target.memberId === undefined ? undefined : this.#member(target.memberId, argsJson);
    if (member) return member.jid;
    const { key = null, retry, startToCloseTimeoutMs, scheduleToCloseTimeoutMs } = target.options;
    const overrides = target.isOverridden
      ? {
          retry,
          startToCloseTimeoutMs,
          ...(scheduleToCloseTimeoutMs === undefined ? {} : { scheduleToCloseTimeoutMs }),
        }
      : {};
    return this.#batch.add(key, { workerClass: target.name, argsJson, overrides }).jid;
  }

  /** The job that the batch is already, if it is one. @throws {@link BatchCycleError} */
  #member(memberId: string, argsJson: string): InlineJob | undefined {
    const path = this.#questions.cycleWith(memberId);
    if (path)
      throw new BatchCycleError(`Batch "${memberId}" cannot be a job of batch "${this.batchId}"`, path);
    return this.#batch.jobs.find((job) => job.workerClass === MEMBER_BATCH.name && job.argsJson === argsJson);
  }

  override async startExecution<Started>(start: RequestedStart<Started>): Promise<never> {
    this.assertOpen(`${named(start)} was started`, start.kind);
    throw new InlineUnsupportedError(`${named(start)}, which is a job,`);
  }

  override hasRoom(): true {
    return true;
  }

  override async close(blockError?: unknown): Promise<number> {
    this.#isClosed = true;
    const { errorClass, errorMessage } = describeError(blockError);
    const error = blockError === undefined ? undefined : `${errorClass}: ${errorMessage}`;
    return this.#options.channel.seal(this.#batch.jobs.length, [], error);
  }
}
