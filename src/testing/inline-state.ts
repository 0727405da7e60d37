import { randomUUID } from 'node:crypto';
import * as rules from '../../workflows/rules.ts';
import type { BatchEvent, BatchSettings, BatchState, Refusal } from '../../workflows/batch-state.ts';
import { describePolicy } from '../../workflows/failure-policy.ts';
import {
  endingOf,
  jobsAdded,
  wroteEnding,
  wroteSeal,
  type JobsAddedMessage,
} from '../../workflows/more-jobs.ts';
import type { ResolvedBatchOptions } from '../client/batch-options.ts';
import type { CallbackRecord } from '../client/batch.ts';
import type { ClaimedBlock } from '../database/batches.ts';
import type { BatchRow } from '../database/rows.ts';
import type { InlineJob } from './inline-job.ts';
import { MEMBER_BATCH } from '../jobs/member-batch.ts';

/** A callback of an inline batch, as its row would show it. */
export type InlineCallback = { -readonly [Key in keyof CallbackRecord]: CallbackRecord[Key] };

/** What is refused gets here as it would from the batch's workflow. */
export type Refuse = (refusal: Refusal) => never;

/**
 * A batch in memory: its rows, and its state with the same rules as its workflow has. Only what hands out jobs is
 * missing: they run one after the other.
 */
export class InlineState {
  readonly options: ResolvedBatchOptions;
  readonly runId: string = randomUUID();
  readonly jobs: InlineJob[] = [];
  readonly callbacks = new Map<BatchEvent, InlineCallback>();
  /** Events that have happened and whose callbacks wait for their turn. */
  readonly due: BatchEvent[] = [];
  readonly createdAt = new Date();
  readonly #jobsByKey = new Map<string, InlineJob>();
  readonly #parentId: string | undefined;
  readonly #refuse: Refuse;
  #state: BatchState;
  #updatedAt = this.createdAt;
  #sealedAt: Date | null = null;
  #completedAt: Date | null = null;
  #settledAt: Date | null = null;
  #pausedAt: Date | null = null;
  #stoppedAt: Date | null = null;

  constructor(options: ResolvedBatchOptions, parentId: string | undefined, refuse: Refuse) {
    this.options = options;
    this.#parentId = parentId;
    this.#refuse = refuse;
    const { autoSeal, jobLimits } = options.settings;
    this.#state = rules.wrote(
      rules.initialBatch(Date.now(), {
        runId: this.runId,
        isOpenEnded: !autoSeal,
        limitedNames: Object.keys(jobLimits),
        callbacks: options.callbacks,
      }),
      'created',
    );
    for (const registration of options.callbacks)
      this.callbacks.set(registration.event, newCallback(registration));
  }

  get id(): string {
    return this.options.id;
  }

  /** Batches that are jobs of this one. */
  get memberIds(): string[] {
    return this.jobs
      .filter(({ workerClass }) => workerClass === MEMBER_BATCH.name)
      .map(({ argsJson }) => (JSON.parse(argsJson) as [string])[0]);
  }

  get isDiscarded(): boolean {
    return rules.isDiscarded(this.#state);
  }

  get isSettled(): boolean {
    return this.#settledAt !== null;
  }

  /** Whether its jobs may start. */
  get mayRun(): boolean {
    return !this.#state.isPaused && this.#state.stop === null && !this.isSettled;
  }

  /** Whether nothing of it is left to happen. */
  get isOver(): boolean {
    const waits = [...this.callbacks.values()].some(
      ({ status }) => status === 'scheduled' || status === 'running',
    );
    return this.isDiscarded || (this.isSettled && !waits);
  }

  /** Why it does not end by itself, for people. */
  get waitsFor(): string {
    if (!rules.isClosed(this.#state)) return 'its block was not closed, or it was not sealed';
    if (this.#state.isPaused) return 'it is paused';
    return 'a batch that is a job of it has not ended';
  }

  /** Answers an update as the batch's workflow would. */
  update(name: string, message: unknown): unknown {
    switch (name) {
      case 'created':
        return undefined;
      case 'open': {
        const { token } = message as { token: string };
        this.#refuseIf(rules.refuseOpen(this.#state));
        this.#apply(rules.takenOver(this.#state, token, Date.now()));
        return { quietTimeMs: 0, total: this.#state.enrolled };
      }
      case 'seal': {
        const seal = message as Parameters<typeof rules.sealed>[1];
        this.#refuseIf(rules.refuseSeal(this.#state, seal));
        this.#apply(rules.sealed(this.#state, seal, Date.now()));
        return { total: this.#state.enrolled };
      }
      case 'register': {
        const registration = message as rules.CallbackRegistration;
        this.#refuseIf(rules.refuseRegistration(this.#state, registration));
        const isNew = !this.#state.callbacks[registration.event];
        this.#apply(rules.registered(this.#state, registration));
        if (isNew) this.callbacks.set(registration.event, newCallback(registration));
        return undefined;
      }
      case 'cancel': {
        const request = message as rules.CancelRequest;
        this.#refuseIf(rules.refuseCancel(this.#state, request));
        return this.#apply(rules.cancelled(this.#state, request));
      }
      case 'pause':
        this.#refuseIf(rules.refusePause(this.#state));
        return this.#apply(rules.paused(this.#state, true));
      case 'resume':
        this.#refuseIf(rules.refuseResume(this.#state));
        return this.#apply(rules.paused(this.#state, false));
      case 'update': {
        const changes = message as Partial<rules.BatchPolicy>;
        this.#refuseIf(rules.refuseUpdate(this.#state, changes));
        return this.#apply(rules.updated(this.#state, changes));
      }
      default:
        throw new Error(`A batch has no update "${name}"`);
    }
  }

  /** Opens its block, if nobody has: as the row of a batch would. */
  claimBlock(): ClaimedBlock | undefined {
    if (this.#state.enrollment.phase !== 'unopened') return undefined;
    const token = `${this.runId}/${randomUUID()}`;
    this.#apply(rules.opened(this.#state, token, Date.now()));
    return { token, quietTimeMs: this.options.settings.enrollmentTimeoutMs };
  }

  /** Whether it is open-ended and takes blocks: as the row of a batch would say. */
  joinBlock(token: string): ClaimedBlock | undefined {
    const { phase, isOpenEnded } = this.#state.enrollment;
    if (!isOpenEnded || phase !== 'open' || token !== this.runId) return undefined;
    return { token, quietTimeMs: this.options.settings.openTimeoutMs };
  }

  /** Takes a signal as the batch's workflow would. */
  signal(name: string, message: unknown): void {
    if (name === 'enrolled') {
      this.#apply(rules.enrolled(this.#state, message as Parameters<typeof rules.enrolled>[1], Date.now()));
    } else if (name === 'jobsAdded') {
      const heard = { runId: this.runId, now: Date.now() };
      this.#apply(jobsAdded(this.#state, message as JobsAddedMessage, heard));
    }
  }

  /** Adds a job, or finds the one that has its key. It is announced at once. */
  add(key: string | null, job: Pick<InlineJob, 'workerClass' | 'argsJson' | 'overrides'>): InlineJob {
    const existing = key === null ? undefined : this.#jobsByKey.get(key);
    if (existing) return existing;
    const position = this.jobs.length + 1;
    const added: InlineJob = {
      ...job,
      position,
      jid: `${this.id}/${position}`,
      key,
      createdAt: new Date(),
      status: 'pending',
      attempts: 0,
      errorClass: null,
      errorMessage: null,
      errorStack: null,
      result: undefined,
      startedAt: null,
      finishedAt: null,
    };
    this.jobs.push(added);
    if (key !== null) this.#jobsByKey.set(key, added);
    this.#apply(rules.withJobs(this.#state, { upTo: position, queues: [] }));
    return added;
  }

  /** A job has ended for good: its row says so. */
  jobEnded({ status }: InlineJob): void {
    const { completed, failed } = this.#state;
    if (status === 'complete') this.#apply({ ...this.#state, completed: completed + 1 });
    else this.#apply({ ...this.#state, failed: failed + 1 });
  }

  /** An event's callback returned, or failed for good. */
  callbackEnded(event: BatchEvent): void {
    this.#apply(rules.fired(this.#state, event));
  }

  row(): BatchRow {
    const { description, context, definition, settings } = this.options;
    const { status, total, complete, failed } = rules.progressOf(this.#state);
    const policy: BatchSettings = { ...settings, ...rules.policyOf(this.#state, settings) };
    return {
      id: this.id,
      first_execution_run_id: this.runId,
      parent_batch_id: this.#parentId ?? null,
      description,
      context,
      definition: JSON.parse(JSON.stringify(definition)) as Record<string, unknown>,
      auto_seal: settings.autoSeal,
      status,
      total: Math.max(total, this.jobs.length),
      completed_count: complete,
      failed_count: failed,
      cancelled_count: 0,
      round: 1,
      enrollment_error: this.#state.enrollment.error,
      failure_reason: null,
      enrollment_token: this.#state.enrollment.token,
      sealed_at: this.#sealedAt,
      completed_at: this.#completedAt,
      settled_at: this.#settledAt,
      fail_when_failed: describePolicy(policy.failWhenFailed),
      deadline_at: policy.deadlineAt === null ? null : new Date(policy.deadlineAt),
      paused_at: this.#pausedAt,
      stopped_at: this.#stoppedAt,
      stop_reason: this.#state.stop?.reason ?? null,
      stop_outcome: this.#state.stop?.outcome ?? null,
      created_at: this.createdAt,
      updated_at: this.#updatedAt,
    };
  }

  #apply(next: BatchState): void {
    const now = new Date();
    this.#state = this.#decided(next);
    // An open-ended batch that is sealed asks its row how many jobs there are.
    if (rules.isClosed(this.#state) && !this.#state.written.sealed) {
      const { error } = this.#state.enrollment;
      const sealed = { total: this.jobs.length, queues: [], error };
      this.#state = this.#decided(wroteSeal(this.#state, this.#state.stop ? null : sealed));
      this.#sealedAt = now;
    }
    this.#updatedAt = now;
    this.#pausedAt = this.#state.isPaused ? (this.#pausedAt ?? now) : null;
    if (this.#state.stop) this.#stoppedAt ??= now;
    this.#writeEnding(now);
  }

  #decided(next: BatchState): BatchState {
    return rules.decided(rules.moved(this.#state, next, Date.now()), this.options.settings);
  }

  #writeEnding(now: Date): void {
    const ending = endingOf(this.#state);
    if (!ending || this.isDiscarded) return;
    const isNews = !this.#state.written.outcome || (ending.settled && !this.#state.written.settled);
    if (!isNews) return;
    this.#completedAt ??= now;
    if (ending.settled) this.#settledAt = now;
    for (const [event, callback] of this.callbacks) {
      if (callback.status !== 'registered') continue;
      if (ending.never.includes(event)) callback.status = 'skipped';
      if (!ending.fires.includes(event)) continue;
      callback.status = 'scheduled';
      callback.scheduledAt = now;
    }
    // The outcome's before `settled`.
    this.due.push(...ending.fires.filter((event) => this.callbacks.get(event)?.scheduledAt === now));
    this.#state = wroteEnding(this.#state, ending);
  }

  #refuseIf(refusal: Refusal | undefined): void {
    if (refusal) this.#refuse(refusal);
  }
}

function newCallback({ event, callback }: rules.CallbackRegistration): InlineCallback {
  return {
    event,
    callback,
    status: 'registered',
    attempts: 0,
    errorClass: null,
    errorMessage: null,
    scheduledAt: null,
    startedAt: null,
    finishedAt: null,
  };
}
