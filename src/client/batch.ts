import { randomUUID } from 'node:crypto';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { WorkflowNotFoundError, type Duration } from '@temporalio/common';
import type { Knex } from 'knex';
import pRetry from 'p-retry';
import type { BatchEvent, BatchProgress, BatchStatus, CancelRequest } from '../../workflows/batch-state.ts';
import type { batch as batchWorkflow } from '../../workflows/batch.ts';
import {
  cancelRequestedSignal,
  cancelUpdate,
  enrolledSignal,
  openUpdate,
  pauseUpdate,
  registerUpdate,
  resumeUpdate,
  sealUpdate,
  updateUpdate,
  type SealMessage,
} from '../../workflows/messages.ts';
import { selectJobs } from '../database/batches.ts';
import { selectCallbacks } from '../database/callbacks.ts';
import { DATABASE_TIMEOUT_MS } from '../database/retry.ts';
import { toBatchRecord, type BatchRecord, type CallbackRow, type JobRecord } from '../database/rows.ts';
import {
  BatchCancelledError,
  BatchError,
  BatchNotFoundError,
  BatchSettledError,
  EmptyBatchError,
  EnrollmentTimedOutError,
  InvalidOptionError,
  NestedEnrollmentError,
  TemporalUnavailableError,
  WaitTimedOutError,
  WorkerUnavailableError,
} from '../errors.ts';
import { isCallback, type Callback } from '../jobs/define-callback.ts';
import { assertKnownKeys, assertName, assertPlainObject, resolveDuration } from '../options.ts';
import { batchWorkflowId, WORKER_TIMEOUT_MS, type BatchClient } from './batch-client.ts';
import { resolveBatchChanges, type BatchPolicyOptions } from './batch-options.ts';
import { Enrollment, type EnrollmentChannel } from './enrollment.ts';
import { currentEnrollment, runInEnrollment } from './enrollment-context.ts';
import { isDeadlineExceeded, toBatchError } from './temporal-errors.ts';

export interface WaitOptions {
  /** Give up waiting after so long; the batch goes on. @default '1 hour' */
  readonly timeout?: Duration;
}

export interface CancelOptions {
  /** How long running handlers may go on after their `AbortSignal` fired. @default '10 seconds' */
  readonly gracePeriod?: Duration;
  /** Why, for people: up to 500 characters. Shown in the row and in the Web UI. @default 'cancelled' */
  readonly reason?: string;
}

/** A callback of a batch as its row shows it. */
export interface CallbackRecord {
  readonly event: BatchEvent;
  readonly callback: string;
  /** `skipped`: its event can no longer happen. */
  readonly status: CallbackRow['status'];
  readonly attempts: number;
  readonly errorClass: string | null;
  readonly errorMessage: string | null;
  readonly scheduledAt: Date | null;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
}

/** A Temporal server that is away is waited for about ten minutes: the rows are written, only the seal is missing. */
const SEAL_RETRY = { retries: 40, minTimeout: 500, maxTimeout: 15_000, factor: 2 };

/** A connection that hangs must not keep the next sign of life from being sent. */
const ANNOUNCE_TIMEOUT_MS = 10_000;

const EVENTS: readonly string[] = ['complete', 'failure', 'cancelled', 'settled'] satisfies BatchEvent[];

/** A batch. Its properties are as of the last read: `find`, `create`, `reload`, `progress`, `wait`. */
export class Batch {
  readonly id: string;
  readonly #batches: BatchClient;
  #record: BatchRecord;

  /** @internal */
  constructor(batches: BatchClient, record: BatchRecord) {
    this.#batches = batches;
    this.#record = record;
    this.id = record.id;
  }

  /** `pending` until the block is closed, then `running`, at last `complete`, `failed` or `cancelled`. */
  get status(): BatchStatus {
    return this.#record.status;
  }

  get description(): string {
    return this.#record.description;
  }

  get context(): Record<string, unknown> {
    return this.#record.context as Record<string, unknown>;
  }

  /** Why the enrolment block broke, or null. */
  get enrollmentError(): string | null {
    return this.#record.enrollmentError;
  }

  get createdAt(): Date {
    return this.#record.createdAt;
  }

  /** When the outcome was decided, or null. */
  get completedAt(): Date | null {
    return this.#record.completedAt;
  }

  /** When the last job became terminal, or null. */
  get settledAt(): Date | null {
    return this.#record.settledAt;
  }

  /** When it was paused, or null while it is not. */
  get pausedAt(): Date | null {
    return this.#record.pausedAt;
  }

  /** When it was stopped before its end, by `cancel`, `deadline` or `afterFailure`; or null. */
  get stoppedAt(): Date | null {
    return this.#record.stoppedAt;
  }

  /** Why it was stopped, or null. */
  get stopReason(): string | null {
    return this.#record.stopReason;
  }

  /** When what has not ended is stopped, or null. */
  get deadlineAt(): Date | null {
    return this.#record.deadlineAt;
  }

  /**
   * Registers a callback. Of `complete`, `failure` and `cancelled` exactly one starts, once; `settled` starts after all jobs are
   * terminal, whatever the outcome. Registering the same callback again changes nothing.
   *
   * @throws {@link InvalidOptionError} for an unknown event, or a callback that is not from `defineCallback`
   * @throws {@link CallbackAlreadyRegisteredError} when the event has another callback
   * @throws {@link BatchSettledError} when the event has fired, or can no longer fire
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s
   */
  async on(event: BatchEvent, callback: Callback): Promise<void> {
    if (!EVENTS.includes(event)) throw new InvalidOptionError('event', `one of ${EVENTS.join(', ')}`, event);
    if (!isCallback(callback)) throw new InvalidOptionError('callback', 'made by defineCallback', callback);
    const { taskQueue, startToCloseTimeoutMs, retry } = callback.options;
    await this.#update(`Callback "${callback.name}" was not registered`, () =>
      this.#handle.executeUpdate(registerUpdate, {
        args: [
          {
            event,
            callback: callback.name,
            startToCloseTimeoutMs,
            retry,
            ...(taskQueue === undefined ? {} : { taskQueue }),
          },
        ],
      }),
    );
  }

  /**
   * Runs the enrolment block: every job started in its async context becomes a member of the batch. Jobs start while
   * the block still runs. When this resolves, every job has its row and the total is fixed.
   *
   * @returns how many jobs were enrolled
   * @throws what the block throws, as it was: jobs enrolled until then run, and the batch ends `failed`
   * @throws {@link EmptyBatchError} when nothing was enrolled; the batch is removed
   * @throws {@link AlreadyEnrolledError} before the block runs, when this batch had its block
   * @throws {@link NestedEnrollmentError} inside another block, which goes on
   * @throws {@link EnrollmentTimedOutError} when the batch closed its block itself
   * @throws {@link BatchCancelledError} when the batch was stopped before, or meanwhile
   */
  async jobs(block: () => unknown): Promise<{ total: number }> {
    if (typeof block !== 'function') throw new InvalidOptionError('block', 'a function', block);
    const outer = currentEnrollment();
    if (outer && !outer.isClosed) {
      throw new NestedEnrollmentError(
        'NESTED_ENROLLMENT',
        `jobs() of batch "${this.id}" was called inside the enrolment block of batch "${outer.batchId}". ` +
          'Blocks cannot be nested; open this one after the other has ended.',
      );
    }
    const token = randomUUID();
    const { enrollmentTimeoutMs } = await this.#update('The enrolment block was not opened', () =>
      this.#handle.executeUpdate(openUpdate, { args: [{ token }] }),
    );
    const enrollment = new Enrollment({
      batchId: this.id,
      database: this.#batches.database,
      channel: this.#channel(token),
      whyClosed: () => this.#whyClosed(),
      logger: this.#batches.logger,
      enrollmentTimeoutMs,
    });
    try {
      await runInEnrollment(enrollment, async () => block());
    } catch (error) {
      await this.#closeBroken(enrollment, error);
      throw error;
    }
    const total = await enrollment.close();
    if (total === 0) {
      throw new EmptyBatchError(
        'EMPTY_BATCH',
        `The enrolment block of batch "${this.id}" started no job. The batch was removed and no callback runs.`,
      );
    }
    return { total };
  }

  /**
   * Cancels the batch. Jobs that have not started never start, however many they are; the `AbortSignal` of running
   * handlers fires, and those that have not ended after `gracePeriod` are not waited for. Jobs that have not ended
   * become `cancelled`, and so does the batch: `cancelled` and `settled` fire, `complete` and `failure` do not. A block
   * that is open is closed. Cancelling twice changes nothing.
   *
   * @throws {@link InvalidOptionError}
   * @throws {@link BatchSettledError} when all jobs were terminal before
   */
  async cancel(options: CancelOptions = {}): Promise<void> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['gracePeriod', 'reason']);
    const { gracePeriod = '10 seconds', reason = 'cancelled' } = options;
    assertName('reason', reason, 500);
    const message: CancelRequest = { reason, graceMs: resolveDuration('gracePeriod', gracePeriod) };
    try {
      await this.#update('The batch was not cancelled', () =>
        this.#handle.executeUpdate(cancelUpdate, { args: [message] }),
      );
    } catch (error) {
      if (error instanceof WorkerUnavailableError) return this.#requestCancel(message);
      // Its workflow has closed: it may have been cancelled before, which is what was asked for.
      if (error instanceof BatchSettledError && (await this.progress()).status === 'cancelled') return;
      throw error;
    }
  }

  /**
   * Pauses the batch: nothing new starts, what runs goes on to its end. Deadlines go on, too. Pausing twice changes
   * nothing.
   *
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s
   */
  async pause(): Promise<void> {
    await this.#update('The batch was not paused', () => this.#handle.executeUpdate(pauseUpdate));
  }

  /**
   * Goes on with a batch that was paused.
   *
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s
   */
  async resume(): Promise<void> {
    await this.#update('The batch was not resumed', () => this.#handle.executeUpdate(resumeUpdate));
  }

  /**
   * Changes what makes the batch fail, its deadline, or its limits, while it runs. What is not given stays as it is. A
   * change that arrives after the outcome was decided is refused, or changes nothing. Workers hear of lower limits
   * within a second, and jobs that run go on to their end.
   *
   * @throws {@link InvalidOptionError}
   * @throws {@link JobNotLimitedError} for `jobLimits` of a name that `create` was not given
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s
   */
  async update(changes: BatchPolicyOptions): Promise<void> {
    const resolved = resolveBatchChanges(changes);
    await this.#update('The batch was not changed', () =>
      this.#handle.executeUpdate(updateUpdate, { args: [resolved] }),
    );
  }

  /**
   * Reads where the batch stands from its row: one row, whatever the size of the batch.
   *
   * @throws {@link BatchNotFoundError} @throws {@link DatabaseUnavailableError}
   */
  async progress(): Promise<BatchProgress> {
    await this.reload();
    return this.#record.progress;
  }

  /** Reads the batch's row again. @throws {@link BatchNotFoundError} @throws {@link DatabaseUnavailableError} */
  async reload(): Promise<this> {
    const row = await this.#batches.readRow(this.id);
    if (!row) throw new BatchNotFoundError(this.id);
    this.#record = toBatchRecord(row);
    return this;
  }

  /** Jobs that are not terminal, in order: a Knex query builder to chain on and to await. */
  pendingJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return selectJobs(this.#batches.database, this.id, 'pending');
  }

  /** Jobs that failed for good, with the class and message of their last error: a Knex query builder. */
  failedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return selectJobs(this.#batches.database, this.id, 'failed');
  }

  /** Jobs that succeeded: a Knex query builder. */
  completedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return selectJobs(this.#batches.database, this.id, 'complete');
  }

  /** Jobs that had not ended when the batch was stopped and settled: a Knex query builder. */
  cancelledJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return selectJobs(this.#batches.database, this.id, 'cancelled');
  }

  /** The batch's callbacks and how each one stands. @throws {@link DatabaseUnavailableError} */
  async callbacks(): Promise<CallbackRecord[]> {
    const { database } = this.#batches;
    const rows = await this.#batches.read(() => selectCallbacks(database, this.id));
    return rows.map((row) => ({
      event: row.event,
      callback: row.callback,
      status: row.status,
      attempts: row.attempts,
      errorClass: row.error_class,
      errorMessage: row.error_message,
      scheduledAt: row.scheduled_at,
      startedAt: row.started_at,
      finishedAt: row.finished_at,
    }));
  }

  /**
   * Waits until the batch is over: all jobs are terminal, and its callbacks have ended.
   *
   * @throws {@link WaitTimedOutError} when that takes longer than `timeout`; the batch goes on
   * @throws {@link BatchNotFoundError} @throws {@link BatchError} with code `BATCH_TERMINATED` when somebody terminated its workflow
   */
  async wait(options: WaitOptions = {}): Promise<BatchProgress> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['timeout']);
    const timeoutMs = resolveDuration('timeout', options.timeout ?? '1 hour');
    const { client } = this.#batches;
    try {
      await client.withDeadline(Date.now() + timeoutMs, () => this.#handle.result());
    } catch (error) {
      if (isDeadlineExceeded(error)) {
        const { status, total, pending } = await this.progress();
        throw new WaitTimedOutError(
          'WAIT_TIMED_OUT',
          `Batch "${this.id}" has not ended after ${timeoutMs / 1000} s: it is ${status}, ${pending} of ${total} jobs are pending.`,
          { cause: error },
        );
      }
      if (error instanceof WorkflowFailedError) {
        throw new BatchError(
          'BATCH_TERMINATED',
          `The workflow of batch "${this.id}" was stopped from outside: ${error.cause?.message ?? error.message}. Its rows show how far it came.`,
          { cause: error },
        );
      }
      // After the namespace's retention only the row is left, and says the same.
      if (!(error instanceof WorkflowNotFoundError)) throw toBatchError(this.id, error);
    }
    return this.progress();
  }

  get #handle(): WorkflowHandle<typeof batchWorkflow> {
    return this.#batches.client.workflow.getHandle<typeof batchWorkflow>(batchWorkflowId(this.id));
  }

  /** Calls the batch's workflow and turns what it throws into our errors. */
  async #update<T>(what: string, call: () => Promise<T>): Promise<T> {
    try {
      return await this.#batches.client.withDeadline(Date.now() + WORKER_TIMEOUT_MS, call);
    } catch (error) {
      if (isDeadlineExceeded(error)) throw this.#batches.workerUnavailable(what, error);
      throw toBatchError(this.id, error);
    }
  }

  /** An update needs a worker; a signal is durable without one. The batch is cancelled once a worker is up. */
  async #requestCancel(message: CancelRequest): Promise<void> {
    try {
      await this.#handle.signal(cancelRequestedSignal, message);
    } catch (error) {
      throw toBatchError(this.id, error);
    }
  }

  #channel(token: string): EnrollmentChannel {
    return {
      announce: async (upTo, queues) => {
        try {
          await this.#batches.client.withDeadline(Date.now() + ANNOUNCE_TIMEOUT_MS, () =>
            this.#handle.signal(enrolledSignal, { token, upTo, queues }),
          );
        } catch (error) {
          throw error instanceof WorkflowNotFoundError
            ? this.#closedItself(error)
            : toBatchError(this.id, error);
        }
      },
      seal: async (upTo, queues, error) => {
        const message = { token, upTo, queues, ...(error === undefined ? {} : { error }) };
        return pRetry(() => this.#seal(message), {
          ...SEAL_RETRY,
          shouldRetry: (failure) => failure instanceof TemporalUnavailableError,
          onFailedAttempt: (failure) =>
            this.#batches.logger.warn('The batch could not be sealed yet; trying again', {
              batchId: this.id,
              attempt: failure.attemptNumber,
              error: failure.message,
            }),
        });
      },
    };
  }

  async #seal(message: SealMessage): Promise<number> {
    try {
      const { total } = await this.#update('The batch was not sealed', () =>
        this.#handle.executeUpdate(sealUpdate, { args: [message] }),
      );
      return total;
    } catch (error) {
      if (error instanceof BatchSettledError) return this.#sealedBefore(message, error);
      if (!(error instanceof WorkerUnavailableError)) throw error;
    }
    // An update needs a worker; a signal is durable without one. The jobs run once a worker is up.
    try {
      await this.#handle.signal(enrolledSignal, { ...message, sealed: true });
      return message.upTo;
    } catch (error) {
      throw toBatchError(this.id, error);
    }
  }

  /** The workflow has ended: by a seal of ours whose answer was lost, or because it closed the block itself. */
  async #sealedBefore({ upTo, error }: SealMessage, cause: BatchSettledError): Promise<number> {
    const row = await this.#batches.readRow(this.id, DATABASE_TIMEOUT_MS);
    // An empty block without an error leaves no row.
    if (!row && upTo === 0 && error === undefined) return 0;
    if (row?.total === upTo && (row.enrollment_error ?? undefined) === error) return upTo;
    throw this.#closedItself(cause);
  }

  /** Why rows are refused while the block is open. */
  async #whyClosed(): Promise<BatchError> {
    const row = await this.#batches.readRow(this.id, DATABASE_TIMEOUT_MS);
    if (row?.stop_reason) {
      return new BatchCancelledError(
        'BATCH_CANCELLED',
        `Batch "${this.id}" was stopped: ${row.stop_reason}. Nothing can be enrolled any more.`,
      );
    }
    return new EnrollmentTimedOutError(
      'ENROLLMENT_TIMED_OUT',
      `Batch "${this.id}" is closed: nothing was heard from this process for enrollmentTimeout, or the ` +
        'batch was deleted. Jobs enrolled until then run; the batch ends failed.',
    );
  }

  #closedItself(cause: unknown): EnrollmentTimedOutError {
    return new EnrollmentTimedOutError(
      'ENROLLMENT_TIMED_OUT',
      `Batch "${this.id}" has ended while its block was open: nothing was heard from this process for ` +
        'enrollmentTimeout, or its workflow was stopped from outside. Jobs enrolled until then have run.',
      { cause },
    );
  }

  /** The block threw: that error is the caller's, and what goes wrong on top of it must not replace it. */
  async #closeBroken(enrollment: Enrollment, blockError: unknown): Promise<void> {
    try {
      await enrollment.close(blockError ?? new Error('The block threw nothing'));
    } catch (error) {
      // The batch was stopped or has closed the block: the caller knows, and nothing is left to seal.
      if (error === blockError) return;
      this.#batches.logger.warn('A broken enrolment block could not be sealed; enrollmentTimeout will', {
        batchId: this.id,
        error: String(error),
      });
    }
  }
}
