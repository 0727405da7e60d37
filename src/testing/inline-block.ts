import { Enrollment, named, type EnrollmentOptions, type RequestedStart } from '../client/enrollment.ts';
import type { JobTarget } from '../client/submit.ts';
import { describeError } from '../jobs/outcome.ts';
import { InlineUnsupportedError } from './errors.ts';
import type { InlineState } from './inline-state.ts';

/** An enrolment block that keeps its jobs in memory. */
export class InlineBlock extends Enrollment {
  readonly #batch: InlineState;
  readonly #options: EnrollmentOptions;
  #isClosed = false;

  constructor(options: EnrollmentOptions, batch: InlineState) {
    // Nobody waits for a sign of life.
    super({ ...options, enrollmentTimeoutMs: undefined });
    this.#options = options;
    this.#batch = batch;
  }

  override get isClosed(): boolean {
    return this.#isClosed;
  }

  override enroll(target: JobTarget, argsJson: string): string {
    this.assertOpen(`${target.name}.performAsync was called`, 'job');
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
