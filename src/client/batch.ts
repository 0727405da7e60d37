import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowFailedError } from '@temporalio/client';
import { WorkflowNotFoundError, type Duration } from '@temporalio/common';
import type { Knex } from 'knex';
import type { BatchEvent, BatchProgress, BatchStatus } from '../../workflows/batch-state.ts';
import type { CancelRequest, SteerRequest } from '../../workflows/steering.ts';
import {
  cancelRequestedSignal,
  cancelUpdate,
  createdUpdate,
  openUpdate,
  pauseUpdate,
  registerUpdate,
  resumeUpdate,
  steerRequestedSignal,
  updateUpdate,
} from '../../workflows/messages.ts';
import { selectJobs, type ClaimedBlock } from '../database/batches.ts';
import { selectCallbacks, selectRetriedEvents } from '../database/callbacks.ts';
import { selectRoundBasis, selectRounds, type RoundRecord } from '../database/rounds.ts';
import { selectResultPage, selectResults, type JobResult } from '../database/results.ts';
import { toBatchRecord, type BatchRecord, type CallbackRow, type JobRecord } from '../database/rows.ts';
import {
  AlreadyEnrolledError,
  BatchCycleError,
  BatchError,
  BatchNotFoundError,
  BatchRunningError,
  BatchSealedError,
  BatchSettledError,
  BatchTerminatedError,
  DatabaseUnavailableError,
  EmptyBatchError,
  EnrollmentTimedOutError,
  InvalidOptionError,
  JobNotLimitedError,
  WaitTimedOutError,
  WorkerUnavailableError,
} from '../errors.ts';
import type { Callback } from '../jobs/define-callback.ts';
import type { Job } from '../jobs/define-job.ts';
import { memberTarget } from '../jobs/member-batch.ts';
import { assertKnownKeys, assertName, assertPlainObject, resolveDuration } from '../options.ts';
import { isWorkflowRunning } from '../temporal-calls.ts';
import { CALLS } from '../timeouts.ts';
import { batchWorkflowId, type BatchClient } from './batch-client.ts';
import { POLICY_KEYS, resolveBatchChanges, type BatchPolicyOptions } from './batch-options.ts';
import { assertBlock, executionsOf, runBlock, type BlockFunction } from './blocks.ts';
import type { Enrollment } from './enrollment.ts';
import { isEnrollmentBlock, type EnrollmentBlock } from './enrollment-block.ts';
import { callBatch, handleOf, type BatchHandle } from './call-batch.ts';
import { currentEnrollment } from './enrollment-context.ts';
import { blockChannel, openEndedChannel, sealOpenEnded } from './enrollment-channel.ts';
import { describeBeside } from './open-blocks.ts';
import { heldBatch } from './lineage.ts';
import { resolveRegistration } from './registrations.ts';
import { inPages, resolveEachResult, type EachResultOptions, type StoredResult } from './results.ts';
import { retryCallback } from './retry-callback.ts';
import { enrollJob } from './submit.ts';
import { findLost, terminatedError, type LostWorkflow } from './lost-workflow.ts';
import { isDeadlineExceeded, toBatchError } from './temporal-errors.ts';
import { totalOnceEnrolled, whyClosed } from './why-closed.ts';
import { whyGone } from './why-gone.ts';
import { whatItWaitsFor } from './why-waiting.ts';

/** How often a call looks whether another one has enrolled the batch. */
const ENROLLED_POLL_MS = 500;

export interface WaitOptions {
  /** Give up waiting after so long; the batch goes on. @default '1 hour' */
  readonly timeout?: Duration;
}

/** Options of `Batch.jobs`. */
export interface EnrolOptions {
  /**
   * Take over the block that another process has opened, which was interrupted: for example by its death. If it lives
   * after all, it is refused from then on. What it has enrolled stays: give jobs keys, so that they are not doubled.
   * @default false
   */
  readonly resume?: boolean;
  /**
   * For work that may run again, such as a job, a callback or a program that a scheduler starts. If the batch was
   * enrolled before, `jobs` resolves to its total, and the block does not run. If an earlier call was interrupted, its
   * block is taken over, as by `resume`: give jobs keys, so that they are not doubled. A call whose block is taken over
   * waits for the other one, and resolves to the same total. Of an open-ended batch the block runs again until it is
   * sealed. A batch that was stopped after its enrollment resolves, too; one that was stopped before is refused.
   * @default false
   */
  readonly once?: boolean;
}

export interface CancelOptions {
  /** How long running handlers may go on after their `AbortSignal` fired. @default '10 seconds' */
  readonly gracePeriod?: Duration;
  /** Why, for people: up to 500 characters. Shown in the row and in the Web UI. @default 'cancelled' */
  readonly reason?: string;
}

/** What a call came to that changes a batch. */
export interface SteerResult {
  /**
   * True: no worker answered for 15 s, so the change has no effect yet. Temporal keeps it, and it takes effect once a
   * worker runs.
   */
  readonly queued: boolean;
  /** Why no worker answered, for people; absent unless `queued`. */
  readonly reason?: string;
}

/** What may change from one round to the next; its callbacks stay. */
export interface RetryFailedOptions extends BatchPolicyOptions {
  /** Run cancelled jobs again, too. @default false */
  readonly cancelled?: boolean;
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

/** Until the row is looked at again that is to name another round. */
const ROUND_POLL_MS = 250;

/** A batch. Its properties are as of the last read: `find`, `create`, `reload`, `progress`, `wait`. */
export class Batch {
  readonly id: string;
  readonly #batches: BatchClient;
  #record: BatchRecord;
  /** The run of its workflow that is the round which was asked for last. */
  #requestedRunId: string | undefined;
  #unansweredOpening: string | undefined;

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

  /** Whether the end of its one block seals it. If not, `jobs` can be called any number of times until `seal`. */
  get autoSeal(): boolean {
    return this.#record.autoSeal;
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

  /** Why jobs failed that never ran, or null: somebody deleted their rows. */
  get failureReason(): string | null {
    return this.#record.failureReason;
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

  /** The batch whose block, job or callback created this one, or null. */
  get parentId(): string | null {
    return this.#record.parentId;
  }

  /** Which round of its jobs runs, or ran last: 1, and one more for each `retryFailed`. */
  get round(): number {
    return this.#record.round;
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
   * Registers a callback; `create` takes those that are known by then. Of `complete`, `failure` and `cancelled` exactly one starts, once; `settled` starts after all jobs are
   * terminal, whatever the outcome; `idle` each time that no job has ended for `alertAfterIdle`. Registering the same callback again changes nothing.
   *
   * @throws {@link InvalidOptionError} for an unknown event, or a callback that is not from `defineCallback`
   * @throws {@link CallbackAlreadyRegisteredError} when the event has another callback
   * @throws {@link BatchSettledError} when the event has fired, or can no longer fire
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s; it may be registered once one runs, so call
   * `on` again
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   */
  async on(event: BatchEvent, callback: Callback): Promise<void> {
    const registration = resolveRegistration('callback', event, callback);
    const what = `Callback "${callback.name}" may not be registered; call on() again once a worker runs`;
    await this.#update(what, (handle, updateId) =>
      handle.executeUpdate(registerUpdate, { args: [registration], updateId }),
    );
  }

  /**
   * Runs the enrolment block: every job started in its async context becomes a member of the batch. Jobs start while
   * the block still runs. When this resolves, every job has its row and, unless the batch is open-ended, the total is
   * fixed.
   *
   * The function gets the block itself, which starts jobs from any context: from tasks of a queue or a pool, and from
   * listeners, which may run in the context of other code.
   *
   * A batch that was created with `autoSeal: false` takes any number of blocks, also at once and from several processes,
   * until `seal` is called. A block of it that throws leaves it open, and what was enrolled until then are members.
   *
   * @returns how many jobs the batch has
   * @throws what the block throws, as it was: jobs enrolled until then run, and the batch ends `failed`. The same
   * holds for the error of a start that the app does not await
   * @throws {@link ContextLostError} when the block returns jids of jobs that were started in another context; the batch
   * ends `failed`
   * @throws {@link EmptyBatchError} when nothing was enrolled; the batch is removed
   * @throws {@link AlreadyEnrolledError} before the block runs, when this batch had its block; later, when another
   * process took it over by `resume` or `once`. Not with `once`
   * @throws {@link EnrollmentBrokenError} with `once`, when an earlier block of the batch broke
   * @throws {@link DatabaseUnavailableError} @throws {@link DatabaseRefusedError}
   * @throws {@link BatchSealedError} when the batch is open-ended and was sealed, before or meanwhile
   * @throws {@link NestedEnrollmentError} inside another block, which goes on
   * @throws {@link EnrollmentTimedOutError} when the batch closed its block itself
   * @throws {@link BatchCancelledError} when the batch was cancelled before, or meanwhile
   * @throws {@link BatchFailedError} when its deadline or its failures stopped it before, or meanwhile
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   */
  async jobs(
    block: (block: EnrollmentBlock) => unknown,
    options: EnrolOptions = {},
  ): Promise<{ total: number }> {
    assertBlock(this.id, block);
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['once', 'resume']);
    this.#batches.assertOpen();
    const { once = false, resume = false } = options;
    if (typeof once !== 'boolean') throw new InvalidOptionError('once', 'true or false', once);
    if (typeof resume !== 'boolean') throw new InvalidOptionError('resume', 'true or false', resume);
    if (once) return this.#enrollOnce(block);
    if (!this.autoSeal) return this.#addJobs(block);
    return this.#runBlock(await (resume ? this.#takeOverBlock() : this.#claimBlock()), block);
  }

  /** Runs the block of a batch that has one. */
  async #runBlock(
    claimed: ClaimedBlock & { readonly sharedFrom?: number },
    block: BlockFunction,
    onOpened: (enrollment: Enrollment) => void = () => {},
  ): Promise<{ total: number }> {
    const { token, quietTimeMs, ...shared } = claimed;
    const enrollment = this.#batches.openBlock({
      batchId: this.id,
      adder: { token },
      ...shared,
      executions: executionsOf(this.#batches),
      database: this.#batches.database,
      channel: blockChannel(this.#batches, this.id, token),
      whyClosed: () => this.#whyClosed(token),
      logger: this.#batches.logger,
      enrollmentTimeoutMs: quietTimeMs,
    });
    onOpened(enrollment);
    const total = await runBlock(this.#batches.logger, enrollment, block);
    if (total === 0) {
      const why = 'its enrollment block started no job (workflows need a client with BatchPlugin)';
      throw this.#emptied(why, describeBeside(enrollment));
    }
    return { total };
  }

  /**
   * Seals an open-ended batch: nothing can be added from outside any more. What was added until then are its jobs, and
   * those that its handlers still add. Sealing twice changes nothing.
   *
   * @returns how many jobs the batch has
   * @throws {@link EmptyBatchError} when it has none; it is removed
   * @throws {@link InvalidOptionError} when its one block seals it
   * @throws {@link EnrollmentTimedOutError} when it closed itself after `openTimeout`
   * @throws {@link BatchCancelledError} when it was cancelled before
   * @throws {@link BatchFailedError} when its deadline or its failures stopped it before
   */
  async seal(): Promise<{ total: number }> {
    const { autoSeal, runId } = this.#record;
    if (autoSeal)
      throw new InvalidOptionError('autoSeal', 'false for a batch that is sealed by hand', autoSeal);
    const total = await sealOpenEnded(this.#batches, this.id, runId);
    if (total === 0) throw this.#emptied('no block of it started a job');
    return { total };
  }

  /**
   * Makes this batch a job of the batch whose enrollment block the caller is in, or of that whose block is given. That
   * one does not settle before this one, of which it counts the outcome: `complete`, or `failed` when this one is failed or cancelled. It asks for the
   * outcome now and then: after a tenth of the time that it has waited, at most 30 s late. Neither is cancelled or
   * retried with the other. Enrolling it twice gives one job.
   *
   * @returns the jid
   * @throws {@link BatchError} with code `NO_ENROLLMENT` outside of a block
   * @throws {@link BatchCycleError} when that batch is a job of this one, itself or through others, or is this one
   * @throws {@link InvalidOptionError} when `block` is no block
   * @throws {@link EnrollmentClosedError} in work that outlived the block
   * @example
   * await all.jobs(async () => { for (const part of parts) await part.enrol(); });
   */
  enrol(block?: EnrollmentBlock): Promise<string> {
    if (block !== undefined && !isEnrollmentBlock(block))
      return Promise.reject(new InvalidOptionError('block', 'what jobs() gives to its function', block));
    const outer = block?.enrollment ?? currentEnrollment();
    if (!outer) {
      return Promise.reject(
        new BatchError(
          'NO_ENROLLMENT',
          `enrol() of batch "${this.id}" was called outside of an enrollment block. Call it inside jobs(...) of another batch, or give it the block of that.`,
        ),
      );
    }
    return enrollJob(outer, memberTarget(this.id), [this.id]);
  }

  /**
   * Cancels the batch. Jobs that have not started never start, however many they are; the `AbortSignal` of running
   * handlers fires, and those that have not ended after `gracePeriod` are not waited for. Jobs that have not ended
   * become `cancelled`, and so does the batch: `cancelled` and `settled` fire, `complete` and `failure` do not. A block
   * that is open is closed. Cancelling twice changes nothing.
   *
   * Of a batch whose workflow an operator terminated, it starts a new round and cancels that: the batch ends
   * `cancelled`, with its callbacks.
   *
   * @throws {@link InvalidOptionError}
   * @throws {@link BatchSettledError} when all jobs were terminal before
   */
  async cancel(options: CancelOptions = {}): Promise<SteerResult> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['gracePeriod', 'reason']);
    const { gracePeriod = '10 seconds', reason = 'cancelled' } = options;
    assertName('reason', reason, 500);
    const message: CancelRequest = { reason, graceMs: resolveDuration('gracePeriod', gracePeriod) };
    const signal = (handle: BatchHandle) => handle.signal(cancelRequestedSignal, message);
    const send = () =>
      this.#steer({ signal }, (handle, updateId) =>
        handle.executeUpdate(cancelUpdate, { args: [message], updateId }),
      );
    try {
      return await send();
    } catch (error) {
      // Another call may have started a round meanwhile.
      if (error instanceof BatchTerminatedError) return (await this.#cancelLost(message, error)) ?? send();
      // Its workflow has closed: it may have been cancelled before, which is what was asked for.
      if (error instanceof BatchSettledError && (await this.progress()).status === 'cancelled')
        return { queued: false };
      throw error;
    }
  }

  /**
   * Pauses the batch: nothing new starts, what runs goes on to its end. Deadlines go on, too. Pausing twice changes
   * nothing.
   *
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   */
  async pause(): Promise<SteerResult> {
    return this.#steer({ isPaused: true }, (handle, updateId) =>
      handle.executeUpdate(pauseUpdate, { updateId }),
    );
  }

  /**
   * Goes on with a batch that was paused.
   *
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   */
  async resume(): Promise<SteerResult> {
    return this.#steer({ isPaused: false }, (handle, updateId) =>
      handle.executeUpdate(resumeUpdate, { updateId }),
    );
  }

  /**
   * Changes what makes the batch fail, its deadline, or its limits, while it runs. What is not given stays as it is. A
   * change that arrives after the outcome was decided is refused, or changes nothing. Workers hear of lower limits
   * within a second, and jobs that run go on to their end.
   *
   * @throws {@link InvalidOptionError}
   * @throws {@link JobNotLimitedError} for `jobLimits` of a name that `create` was not given
   * @throws {@link BatchSettledError} when all jobs are terminal, or the batch was stopped
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   */
  async update(changes: BatchPolicyOptions): Promise<SteerResult> {
    const resolved = resolveBatchChanges(changes);
    return this.#steer({ changes: resolved }, (handle, updateId) =>
      handle.executeUpdate(updateUpdate, { args: [resolved], updateId }),
    );
  }

  /**
   * Runs the failed jobs of a batch that has settled again, as a new round of the same batch: with new attempts, and the
   * arguments that they had. Then the outcome is judged again, over all jobs, and its callback runs, once a round.
   * Callbacks and policy are those of the round before, but for what is given here; a deadline does not carry over. Jobs
   * that were cancelled and do not run again stay `cancelled`, and so is a batch in which nothing else went wrong.
   *
   * Of a batch whose workflow an operator terminated, its unfinished jobs run, too, and the round before counts as
   * cancelled. Jobs that still run meanwhile may run twice.
   *
   * Resolves once the jobs are pending again. When no worker answers for 15 s it resolves with `queued: true`: the round
   * opens once one runs.
   *
   * @returns the number of the round, from 2
   * @throws {@link BatchRunningError} while its jobs or callbacks run, also when somebody else has opened the round
   * @throws {@link BatchError} with code `NOTHING_TO_RETRY` when no job failed
   * @throws {@link InvalidOptionError} @throws {@link BatchNotFoundError} @throws {@link TemporalUnavailableError}
   * @throws {@link DatabaseUnavailableError}
   */
  async retryFailed(options: RetryFailedOptions = {}): Promise<SteerResult & { round: number }> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, [...POLICY_KEYS, 'cancelled']);
    const { cancelled = false, ...policy } = options;
    if (typeof cancelled !== 'boolean') throw new InvalidOptionError('cancelled', 'true or false', cancelled);
    await this.reload();
    const lost = await findLost(this.#batches.client, this.#record);
    if (lost && !lost.isKnown) throw terminatedError(this.id, lost);
    if (!lost) this.#assertRetryable(cancelled);
    await this.#assertNoCallbackRunsAgain();
    const round = this.round + 1;
    const runId = await this.#startRound({ cancelled, lost }, policy);
    let unanswered: WorkerUnavailableError | undefined;
    try {
      // Accepted at once where a worker is up; a round of a million jobs takes longer to be opened.
      const opened = await this.#update('The round is not open yet', (handle, updateId) =>
        handle.startUpdate(createdUpdate, { waitForStage: 'ACCEPTED', updateId }),
      );
      await opened.result();
    } catch (caught) {
      const error = toBatchError(this.id, caught);
      if (error instanceof WorkerUnavailableError) unanswered = error;
      // It was opened, and is over already.
      else if (!(error instanceof BatchSettledError)) throw error;
    }
    await this.reload();
    // Of two runs one opens it; the other may have ended before it could be asked.
    if (this.round === round && this.#record.runId !== runId) {
      throw new BatchRunningError(
        'BATCH_RUNNING',
        `Round ${round} of batch "${this.id}" was opened by another call. Look at the batch again.`,
      );
    }
    return { round, ...resultOf(this.round < round ? unanswered : undefined) };
  }

  /**
   * Runs a callback again that has failed for good, with new attempts: once its cause is fixed. The batch's outcome
   * stays, and `wait` does not wait for it: `callbacks` shows how it ends. Of several calls at once one starts it. It
   * also runs one again whose workflow somebody terminated. Until it has ended, no round can be opened.
   *
   * @returns `queued`: no worker has answered for 15 s; the callback runs once one starts
   * @throws {@link InvalidOptionError} for an unknown event
   * @throws {@link BatchError} with code `CALLBACK_NOT_REGISTERED` when the event has no callback, `CALLBACK_RUNNING` while
   * that runs or is about to, `CALLBACK_NOT_FAILED` when it has not failed for good
   * @throws {@link TemporalUnavailableError} @throws {@link DatabaseUnavailableError}
   */
  async retryCallback(event: BatchEvent): Promise<{ queued: boolean }> {
    return retryCallback(this.#batches, this.#record, event);
  }

  /** The rounds of the batch, the present one last. @throws {@link DatabaseUnavailableError} */
  async rounds(): Promise<RoundRecord[]> {
    return this.#batches.read(() => selectRounds(this.#batches.database, this.id));
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
    this.#record = await this.#read();
    return this;
  }

  /** Jobs that are not terminal, in order: a Knex query builder to chain on and to await. */
  pendingJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    this.#batches.assertOpen();
    return selectJobs(this.#batches.database, this.id, 'pending');
  }

  /** Jobs that failed for good, with the class and message of their last error: a Knex query builder. */
  failedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    this.#batches.assertOpen();
    return selectJobs(this.#batches.database, this.id, 'failed');
  }

  /** Jobs that succeeded: a Knex query builder. */
  completedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    this.#batches.assertOpen();
    return selectJobs(this.#batches.database, this.id, 'complete');
  }

  /** Jobs that had not ended when the batch was stopped and settled: a Knex query builder. */
  cancelledJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    this.#batches.assertOpen();
    return selectJobs(this.#batches.database, this.id, 'cancelled');
  }

  /**
   * What the handlers of jobs with `storeResult` returned, in the order of enrolment: a Knex query builder. For all
   * results of a large batch see {@link eachResult}.
   */
  results<Result = unknown>(): Knex.QueryBuilder<object, JobResult<Result>[]> {
    this.#batches.assertOpen();
    return selectResults<Result>(this.#batches.database, this.id);
  }

  /**
   * Reads results one after the other, in the order of enrolment, page by page: the memory that it takes does not grow
   * with the batch. Given a job, it reads that job's results, with its types. Nothing is held between two pages. While
   * the batch still runs, results of jobs that end behind the place that was read are not seen.
   *
   * @throws {@link InvalidOptionError} for a wrong option, and for a job without `storeResult`
   * @throws {@link DatabaseUnavailableError}
   * @example
   * for await (const { args, result } of batch.eachResult(scoreEntry)) console.log(args[0], result.score);
   */
  eachResult<Args extends readonly unknown[], Result>(
    job: Job<Args, Result>,
    options?: Omit<EachResultOptions, 'workerClass'>,
  ): AsyncGenerator<JobResult<StoredResult<Result>, Args>, void, undefined>;
  eachResult<Result = unknown>(
    options?: EachResultOptions,
  ): AsyncGenerator<JobResult<Result>, void, undefined>;
  eachResult(
    jobOrOptions: object = {},
    optionsOfJob: object = {},
  ): AsyncGenerator<JobResult, void, undefined> {
    const { pageSize, workerClass } = resolveEachResult(jobOrOptions, optionsOfJob);
    return inPages((after) =>
      this.#batches.read(() =>
        selectResultPage(this.#batches.database, this.id, { after, pageSize, workerClass }),
      ),
    );
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
   * @throws {@link BatchCycleError} in a job or a callback of the batch or in its one block, which it waits for itself; and
   * in a job of a batch that is a job of this one
   * @throws {@link WaitTimedOutError} when that takes longer than `timeout`; the batch goes on, and the message says what
   * it waits for
   * @throws {@link BatchTerminatedError} when an operator terminated the batch's workflow
   * @throws {@link BatchNotFoundError} @throws {@link TemporalUnavailableError}
   */
  async wait(options: WaitOptions = {}): Promise<BatchProgress> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['timeout']);
    const timeoutMs = resolveDuration('timeout', options.timeout ?? '1 hour');
    this.#batches.assertOpen();
    await this.#refuseDeadEnd();
    const { client } = this.#batches;
    try {
      await client.withDeadline(Date.now() + timeoutMs, () => this.#untilOver());
    } catch (error) {
      if (isDeadlineExceeded(error)) {
        throw new WaitTimedOutError(
          'WAIT_TIMED_OUT',
          `Batch "${this.id}" has not ended after ${timeoutMs / 1000} s: ${await this.#waitsFor()}. ` +
            `It goes on; \`batch-jobs doctor ${this.id}\` says what to do.`,
          { cause: error },
        );
      }
      if (error instanceof WorkflowFailedError) {
        await this.reload();
        const lost = await findLost(client, this.#record);
        if (lost) throw terminatedError(this.id, lost, error);
        throw new BatchTerminatedError(
          'BATCH_TERMINATED',
          `The workflow of batch "${this.id}" was closed before its callbacks had ended: ${error.cause?.message ?? error.message}. ` +
            'All of its jobs have ended; callbacks() shows which callbacks have not.',
          { cause: error },
        );
      }
      // After the namespace's retention only the row is left, and says the same.
      if (!(error instanceof WorkflowNotFoundError)) throw toBatchError(this.id, error);
    }
    // The workflow has ended after it had written the end: a replica may not have it yet.
    this.#record = await this.#read({ isCurrent: true });
    return this.#record.progress;
  }

  async #read({ isCurrent = false } = {}): Promise<BatchRecord> {
    const row = await this.#batches.readRow(this.id, undefined, isCurrent);
    if (!row) throw new BatchNotFoundError(this.id);
    return toBatchRecord(row);
  }

  /** Whoever waits for the batch must not be what the batch waits for. @throws {@link BatchCycleError} */
  async #refuseDeadEnd(): Promise<void> {
    const held = heldBatch();
    if (!held) return;
    const { id, by } = held;
    // Somebody else may seal an open-ended batch while a block of it is open.
    const isOwn = id === this.id && (by !== 'block' || this.autoSeal);
    const path = isOwn
      ? [id, id]
      : by === 'job' && id !== this.id
        ? (await this.#batches.findCycles(id, [this.id])).get(this.id)
        : undefined;
    if (path)
      throw new BatchCycleError(`wait() for batch "${this.id}" was called in a ${by} of batch "${id}"`, path);
  }

  /** Calls the batch's workflow and turns what it throws into our errors. */
  async #update<T>(what: string, call: (handle: BatchHandle, updateId: string) => Promise<T>): Promise<T> {
    try {
      return await callBatch(this.#batches, this.id, what, call);
    } catch (error) {
      throw (await this.#terminated(error)) ?? error;
    }
  }

  /** Whether the workflow of a batch that seems to have ended was terminated. @returns what to throw then */
  async #terminated(error: unknown): Promise<BatchTerminatedError | undefined> {
    if (!(error instanceof BatchSettledError) || error.cause === undefined) return undefined;
    const lost = await this.#findLost();
    return lost && terminatedError(this.id, lost, error.cause);
  }

  async #findLost(): Promise<LostWorkflow | undefined> {
    const row = await this.#batches.readRow(this.id);
    return row && findLost(this.#batches.client, toBatchRecord(row));
  }

  /** An update needs a worker; a signal is durable without one, and takes effect once a worker is up. */
  async #steer(
    request: SteerRequest | { readonly signal: (handle: BatchHandle) => Promise<void> },
    update: (handle: BatchHandle, updateId: string) => Promise<void>,
  ): Promise<SteerResult> {
    try {
      await this.#update('The change has no effect yet', update);
      return resultOf(undefined);
    } catch (error) {
      if (!(error instanceof WorkerUnavailableError)) throw error;
      const handle = handleOf(this.#batches, this.id);
      try {
        await this.#refuseHopeless(request);
        await ('signal' in request ? request.signal(handle) : handle.signal(steerRequestedSignal, request));
      } catch (refused) {
        const known = toBatchError(this.id, refused);
        throw (await this.#terminated(known)) ?? known;
      }
      return resultOf(error);
    }
  }

  /** Refuses what the batch's workflow would refuse, as far as the rows tell: a signal gets no answer. */
  async #refuseHopeless(request: SteerRequest | { readonly signal: unknown }): Promise<void> {
    const isCancel = 'signal' in request;
    const names = isCancel ? [] : Object.keys(request.changes?.jobLimits ?? {});
    let limited: object | undefined;
    try {
      await this.reload();
      if (names.length > 0) {
        const { database } = this.#batches;
        const basis = await this.#batches.read(() =>
          selectRoundBasis(database, this.id, { isLocking: false }),
        );
        limited = basis?.settings.jobLimits;
      }
    } catch (error) {
      // Kept all the same: the workflow ignores what it would refuse.
      if (error instanceof DatabaseUnavailableError) return;
      throw error;
    }
    const { settledAt, stoppedAt, status } = this;
    if (settledAt !== null || (stoppedAt !== null && !isCancel)) {
      // The next round may wait for a worker, too: then it is that one which the request is for.
      const { raw } = await handleOf(this.#batches, this.id).describe();
      if (raw.workflowExecutionInfo?.firstRunId !== this.#record.runId) return;
      throw new BatchSettledError(
        'BATCH_SETTLED',
        `Batch "${this.id}" is ${status}, and ${settledAt === null ? 'was stopped' : 'has settled'}: it cannot be changed any more.`,
      );
    }
    const unlimited = names.find((name) => limited && !Object.hasOwn(limited, name));
    if (unlimited !== undefined) {
      throw new JobNotLimitedError(
        'JOB_NOT_LIMITED',
        `Batch "${this.id}": jobLimits names "${unlimited}", which had no entry when the batch was created. Name each job that may be limited later in jobLimits of create, with {} for no limit.`,
      );
    }
  }

  /** Starts the next round. @returns its run */
  async #startRound(
    { cancelled, lost }: { readonly cancelled: boolean; readonly lost: LostWorkflow | undefined },
    policy: BatchPolicyOptions,
    cancel?: CancelRequest,
  ): Promise<string> {
    const { firstExecutionRunId, reason } = lost ?? {};
    const request = {
      number: this.round + 1,
      cancelled,
      ...(firstExecutionRunId === undefined ? {} : { lost: { firstExecutionRunId, reason: reason! } }),
    };
    const runId = await this.#batches.startRound(this.#record, request, policy, cancel);
    this.#requestedRunId = runId;
    return runId;
  }

  /**
   * Ends a batch whose workflow was terminated: nobody else would run its callbacks.
   *
   * @returns undefined when its workflow runs
   */
  async #cancelLost(
    message: CancelRequest,
    terminated: BatchTerminatedError,
  ): Promise<SteerResult | undefined> {
    await this.reload();
    const lost = await findLost(this.#batches.client, this.#record);
    if (!lost) return undefined;
    if (!lost.isKnown) throw terminated;
    await this.#startRound({ cancelled: false, lost }, {}, message);
    try {
      await this.#update('The batch is not cancelled yet', (handle, updateId) =>
        handle.executeUpdate(createdUpdate, { updateId }),
      );
      return resultOf(undefined);
    } catch (error) {
      if (error instanceof WorkerUnavailableError) return resultOf(error);
      // It is over already.
      if (error instanceof BatchSettledError) return resultOf(undefined);
      throw error;
    }
  }

  async #waitsFor(): Promise<string> {
    const row = await this.#batches.readRow(this.id);
    if (!row) throw new BatchNotFoundError(this.id);
    this.#record = toBatchRecord(row);
    const { progress, ...record } = this.#record;
    const { total, pending } = progress;
    const waiting = { ...record, total, pending, isSealed: row.sealed_at !== null };
    return this.#batches.read(() => whatItWaitsFor(this.#batches.database, waiting));
  }

  /** An opening of which it is open whether it is in the database has the block when it is tried again. */
  async #claimBlock(): Promise<ClaimedBlock> {
    const name = this.#unansweredOpening ?? randomUUID();
    this.#unansweredOpening = undefined;
    try {
      return await this.#batches.claimBlock(this.id, name);
    } catch (error) {
      if (error instanceof DatabaseUnavailableError) this.#unansweredOpening = name;
      throw error;
    }
  }

  /** See `EnrolOptions.once`. */
  async #enrollOnce(block: BlockFunction): Promise<{ total: number }> {
    const row = await this.#batches.readRow(this.id, CALLS.database);
    const total = totalOnceEnrolled(this.id, row);
    if (total !== undefined) return { total };
    if (!this.autoSeal) {
      return this.#addJobs(block).catch((error: unknown) => {
        if (error instanceof BatchSealedError) return this.#untilEnrolled();
        throw error;
      });
    }
    const claimed = await this.#claimOrTakeOver();
    if (!claimed) return this.#untilEnrolled();
    let enrollment: Enrollment | undefined;
    try {
      return await this.#runBlock(claimed, block, (opened) => (enrollment = opened));
    } catch (error) {
      // The other call enrolls the same jobs. That the block broke here, because it was refused, broke nothing there.
      if (enrollment?.isTakenOver) return this.#untilEnrolled();
      throw error;
    }
  }

  /** @returns undefined where another process has closed the block, or the batch has */
  async #claimOrTakeOver(): Promise<(ClaimedBlock & { readonly sharedFrom?: number }) | undefined> {
    try {
      // The first call needs no worker.
      return await this.#claimBlock();
    } catch (error) {
      if (!(error instanceof AlreadyEnrolledError)) throw error;
    }
    try {
      return await this.#takeOverBlock();
    } catch (error) {
      const isClosed =
        error instanceof AlreadyEnrolledError ||
        error instanceof BatchSettledError ||
        error instanceof EnrollmentTimedOutError;
      if (isClosed) return undefined;
      throw error;
    }
  }

  /**
   * Waits until the batch's enrollment is over, which another call has taken on. If that dies, the batch closes the block
   * itself, after `enrollmentTimeout`.
   */
  async #untilEnrolled(): Promise<{ total: number }> {
    for (let isRunning = true; ; await delay(ENROLLED_POLL_MS)) {
      const row = await this.#batches.readRow(this.id, CALLS.database);
      if (!row) throw this.#emptied('the block of another call started no job');
      const total = totalOnceEnrolled(this.id, row);
      if (total !== undefined) return { total };
      // Nothing would close it any more. The row was read after its workflow was seen to have ended.
      if (!isRunning) throw whyClosed(this.id, row, { token: row.enrollment_token ?? '' });
      // While Temporal is away that is open, and taken for granted.
      isRunning = await isWorkflowRunning(this.#batches.client, batchWorkflowId(this.id)).catch(() => true);
    }
  }

  /** From the process that has it, if one has. */
  async #takeOverBlock(): Promise<ClaimedBlock & { readonly sharedFrom: number }> {
    const token = randomUUID();
    const what = 'The enrolment block may not be taken over; call jobs() again once a worker runs';
    const { quietTimeMs, total } = await this.#update(what, (handle, updateId) =>
      handle.executeUpdate(openUpdate, { args: [{ token }], updateId }),
    );
    return { token, quietTimeMs, sharedFrom: total };
  }

  /** A block of an open-ended batch. */
  async #addJobs(block: BlockFunction): Promise<{ total: number }> {
    const { runId: token } = this.#record;
    const { quietTimeMs } = await this.#batches.joinBlock(this.id, token);
    const enrollment = this.#batches.openBlock({
      batchId: this.id,
      adder: { token },
      sharedFrom: 0,
      executions: executionsOf(this.#batches),
      database: this.#batches.database,
      channel: openEndedChannel(this.#batches, this.id, token),
      whyClosed: () => this.#whyClosed(token),
      logger: this.#batches.logger,
      enrollmentTimeoutMs: quietTimeMs,
    });
    return { total: await runBlock(this.#batches.logger, enrollment, block) };
  }

  /**
   * Waits for the runs of its workflow that its row names: the id may have been given to another batch that came to
   * nothing. A round that was asked for here may not be in the row yet, and others may open one meanwhile.
   */
  async #untilOver(): Promise<void> {
    let runId = this.#requestedRunId ?? this.#record.runId;
    for (;;) {
      const { client } = this.#batches;
      let failure: WorkflowFailedError | undefined;
      try {
        await client.workflow.getHandle(batchWorkflowId(this.id), runId).result();
      } catch (error) {
        if (!(error instanceof WorkflowFailedError)) throw error;
        failure = error;
      }
      this.#record = await this.#read({ isCurrent: true });
      if (this.#record.runId === runId) {
        if (!failure) return;
        // A round may have been asked for in place of the one that was terminated, and not be open yet.
        if (this.settledAt !== null || (await findLost(client, this.#record))) throw failure;
        await delay(ROUND_POLL_MS);
      }
      runId = this.#record.runId;
    }
  }

  #assertRetryable(cancelled: boolean): void {
    const { settledAt, progress } = this.#record;
    if (!settledAt) {
      throw new BatchRunningError(
        'BATCH_RUNNING',
        `Batch "${this.id}" is ${progress.status}: ${progress.pending} of its jobs are pending. Wait for its end, or cancel it.`,
      );
    }
    if (progress.failed > 0 || (cancelled && progress.cancelled > 0)) return;
    throw new BatchError(
      'NOTHING_TO_RETRY',
      `Batch "${this.id}" has no failed job${cancelled ? ' and no cancelled one' : ''} to run again.` +
        (progress.cancelled > 0 && !cancelled
          ? ' Its cancelled jobs run again with { cancelled: true }, or --cancelled.'
          : ''),
    );
  }

  /** One that the batch itself runs keeps its workflow open. */
  async #assertNoCallbackRunsAgain(): Promise<void> {
    const { database } = this.#batches;
    const [event] = await this.#batches.read(() => selectRetriedEvents(database, this.id));
    if (event === undefined) return;
    throw new BatchRunningError(
      'BATCH_RUNNING',
      `Batch "${this.id}" runs its callback on ${event} again. Wait for its end.`,
    );
  }

  /** Why jobs are refused while a block is open, or before. */
  async #whyClosed(token: string, cause?: unknown): Promise<BatchError> {
    const row = await this.#batches.readRow(this.id, CALLS.database);
    return whyGone(this.#batches, this.id, row, { token }, cause);
  }

  #emptied(why: string, hint = ''): EmptyBatchError {
    return new EmptyBatchError(
      'EMPTY_BATCH',
      `Batch "${this.id}" is empty: ${why}. It was removed and no callback runs.${hint}`,
    );
  }
}

function resultOf(unanswered: WorkerUnavailableError | undefined): SteerResult {
  return unanswered ? { queued: true, reason: unanswered.message } : { queued: false };
}
