import { randomUUID } from 'node:crypto';
import type { Logger } from '@temporalio/common';
import knexFactory, { type Knex } from 'knex';
import type { AnyJob } from '../../activities/dependencies.ts';
import type { BatchEvent } from '../../workflows/batch-state.ts';
import { BatchClient, type BatchLogger, type ListOptions } from '../client/batch-client.ts';
import {
  assertBatchId,
  assertDeadlineAhead,
  differencesFrom,
  resolveBatchOptions,
  type BatchOptions,
} from '../client/batch-options.ts';
import type { Batch } from '../client/batch.ts';
import type { Enrollment, EnrollmentOptions } from '../client/enrollment.ts';
import { runOutsideEnrollment } from '../client/enrollment-context.ts';
import { parentOfNewBatch, runAsCallbackOf } from '../client/lineage.ts';
import type { JobTarget } from '../client/submit.ts';
import { whyClosed, whyNotOpened } from '../client/why-closed.ts';
import { BatchExistsError, BatchNotFoundError, InvalidOptionError, WaitTimedOutError } from '../errors.ts';
import type { ClaimedBlock } from '../database/batches.ts';
import { cyclesOver } from '../database/members.ts';
import type { BatchRecord, BatchRow } from '../database/rows.ts';
import type { Callback, TransactionCallbackContext } from '../jobs/define-callback.ts';
import { isJob } from '../jobs/define-job.ts';
import { MEMBER_BATCH } from '../jobs/member-batch.ts';
import { describeError, retryDelay, stackOf } from '../jobs/outcome.ts';
import { resultJson } from '../jobs/result.ts';
import { assertKnownKeys, assertPlainObject } from '../options.ts';
import { toExactJson } from '../json-value.ts';
import { byName } from '../worker/registry.ts';
import { InlineUnsupportedError } from './errors.ts';
import { InlineBatch } from './inline-batch.ts';
import { InlineBlock } from './inline-block.ts';
import { inlineClient, refuse } from './inline-client.ts';
import { InlineLimits } from './inline-limits.ts';
import type { InlineJob } from './inline-job.ts';
import { InlineState } from './inline-state.ts';
import { runHandler, SILENT } from './job-calls.ts';

export interface InlineBatchesOptions {
  /** Jobs that can run, as a worker gets them. Those that are only enrolled need not be here. @default [] */
  readonly jobs?: readonly AnyJob[];
  /** For callbacks with `transaction: true`: the app's own Knex instance. @default none: they are refused */
  readonly knex?: Knex;
  /** Told what goes wrong. @default warnings by `process.emitWarning` */
  readonly logger?: BatchLogger;
  /** What `currentJob().logger` writes to. @default nowhere */
  readonly jobLogger?: Logger;
  /**
   * What becomes of an attempt that failed and may be retried: `immediate` tries again at once, as often as the policy
   * says; `none` takes it for the last one.
   * @default 'immediate'
   */
  readonly retries?: 'immediate' | 'none';
}

/** What `drain` has done. */
export interface DrainResult {
  /** Jobs that have ended for good, plain ones included. */
  readonly jobs: number;
  /** Callbacks that have ended for good. */
  readonly callbacks: number;
}

/** A job that belongs to no batch and waits for its turn. */
interface PlainStart {
  readonly jid: string;
  readonly target: JobTarget;
  readonly argsJson: string;
}

/** A policy without a limit would retry what always fails for ever. */
const MAX_ATTEMPTS = 20;

/**
 * Batches without servers, for tests: a `BatchClient` that keeps batches in memory and runs their jobs in this process,
 * one after the other, when `drain` is called or a batch is waited for.
 *
 * @throws {@link InvalidOptionError}
 * @example
 * const batches = createInlineBatches({ jobs: [scoreEntry] });
 * const batch = await rescore(batches, [1, 2, 3]); // the app's own code
 * await assertEnrolled(batch, scoreEntry, [2]);
 * await batches.drain();
 * expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 3 });
 */
export function createInlineBatches(options: InlineBatchesOptions = {}): InlineBatches {
  return new InlineBatches(options);
}

/** See {@link createInlineBatches}. */
export class InlineBatches extends BatchClient {
  override readonly limits = new InlineLimits(this);
  readonly #options: InlineBatchesOptions;
  readonly #jobs: ReadonlyMap<string, AnyJob>;
  readonly #callbacks = new Map<string, Callback>();
  readonly #states: Map<string, InlineState>;
  readonly #plainJobs: PlainStart[] = [];
  /** Jobs that run now: one that waits for a batch runs others beside itself. */
  readonly #running = new Set<InlineJob>();

  /** @internal */
  constructor(options: InlineBatchesOptions) {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['jobLogger', 'jobs', 'knex', 'logger', 'retries']);
    const { jobs = [], knex, logger, retries = 'immediate' } = options;
    if (retries !== 'immediate' && retries !== 'none')
      throw new InvalidOptionError('retries', "'immediate' or 'none'", retries);
    if (knex !== undefined && typeof knex?.transaction !== 'function')
      throw new InvalidOptionError('knex', 'a Knex instance', knex);
    const states = new Map<string, InlineState>();
    let untilOver: (batch: InlineState) => Promise<void>;
    super({
      client: inlineClient({ find: (id) => found(states, id), untilOver: (batch) => untilOver(batch) }),
      // Never connected: nothing here asks it. Callbacks get transactions of the app's own, which may itself be one.
      database: knexFactory({ client: 'pg' }),
      ...(logger ? { logger } : {}),
    });
    untilOver = (batch) => this.#untilOver(batch);
    this.#states = states;
    this.#options = options;
    this.#jobs = byName('jobs', jobs, isJob, 'defineJob');
  }

  override async create(options: BatchOptions): Promise<Batch> {
    const resolved = resolveBatchOptions(options, randomUUID);
    const existing = found(this.#states, resolved.id);
    if (existing) {
      const differences = differencesFrom(existing.row(), resolved);
      if (differences.length > 0) throw new BatchExistsError(resolved.id, { differences });
      return new InlineBatch(this, existing);
    }
    assertDeadlineAhead(resolved);
    const callbacks = resolved.callbacks.map(({ event }) => options.callbacks![event]!);
    for (const callback of callbacks) await this.assertRunnable(callback);
    callbacks.forEach((callback) => this.remember(callback));
    const state = new InlineState(resolved, parentOfNewBatch(), refuse);
    this.#states.set(resolved.id, state);
    return new InlineBatch(this, state);
  }

  override async find(id: string): Promise<Batch> {
    assertBatchId(id);
    const state = found(this.#states, id);
    if (!state) throw new BatchNotFoundError(id);
    return new InlineBatch(this, state);
  }

  override async list({ limit = 100, offset = 0, parentId, status }: ListOptions = {}): Promise<Batch[]> {
    return [...this.#states.values()]
      .filter(({ isDiscarded }) => !isDiscarded)
      .toReversed()
      .map((state) => new InlineBatch(this, state))
      .filter((batch) => status === undefined || batch.status === status)
      .filter((batch) => parentId === undefined || batch.parentId === parentId)
      .slice(offset, offset + limit);
  }

  override async prune(): Promise<never> {
    throw new InlineUnsupportedError('prune()');
  }

  override async schedulePrune(): Promise<never> {
    throw new InlineUnsupportedError('schedulePrune()');
  }

  override async unschedulePrune(): Promise<never> {
    throw new InlineUnsupportedError('unschedulePrune()');
  }

  /**
   * Runs all jobs and callbacks that can run, and what these start, until nothing is left: jobs in the order of their
   * enrolment, a callback as soon as its event has happened.
   *
   * @throws {@link InvalidOptionError} when a job was enrolled that `jobs` does not have
   */
  async drain(): Promise<DrainResult> {
    const done = { jobs: 0, callbacks: 0 };
    while (await this.#step(done)) {
      // Until nothing is left.
    }
    return done;
  }

  /** @internal */
  override async readRow(id: string): Promise<BatchRow | undefined> {
    return found(this.#states, id)?.row();
  }

  /** @internal */
  override async claimBlock(batchId: string): Promise<ClaimedBlock> {
    const block = found(this.#states, batchId)?.claimBlock();
    if (!block) throw whyNotOpened(batchId, await this.readRow(batchId));
    return block;
  }

  /** @internal */
  override async joinBlock(batchId: string, token: string): Promise<ClaimedBlock> {
    const block = found(this.#states, batchId)?.joinBlock(token);
    if (!block) throw whyClosed(batchId, await this.readRow(batchId), { token });
    return block;
  }

  /** @internal */
  override openBlock(options: EnrollmentOptions): Enrollment {
    return new InlineBlock(options, this.#states.get(options.batchId)!, {
      cycleWith: (memberId) => this.#cycles(options.batchId, [memberId]).get(memberId),
      limitNames: () => this.limits.names,
    });
  }

  /** @internal */
  override async findCycles(batchId: string, memberIds: readonly string[]) {
    return this.#cycles(batchId, memberIds);
  }

  #cycles(batchId: string, memberIds: readonly string[]) {
    const owners = new Map<string, string[]>();
    for (const { id, memberIds: members } of this.#states.values())
      for (const member of members) owners.set(member, [...(owners.get(member) ?? []), id]);
    return cyclesOver(batchId, memberIds, owners);
  }

  /** @internal */
  override batchOf({ id }: BatchRecord): Batch {
    return new InlineBatch(this, this.#states.get(id)!);
  }

  /** @internal */
  override async startPlainJob(target: JobTarget, args: readonly unknown[]): Promise<string> {
    const jid = randomUUID();
    this.#plainJobs.push({ jid, target, argsJson: toExactJson('args', args) });
    return jid;
  }

  /** @internal */
  async assertRunnable({ name, options }: Callback): Promise<void> {
    if (options?.transaction && !this.#options.knex)
      throw new InlineUnsupportedError(
        `Callback "${name}", which has a transaction, without the option knex,`,
      );
  }

  /** @internal */
  remember(callback: Callback): void {
    this.#callbacks.set(callback.name, callback);
  }

  async #untilOver(batch: InlineState): Promise<void> {
    while (!batch.isOver) {
      if (await this.#step({ jobs: 0, callbacks: 0 })) continue;
      throw new WaitTimedOutError(
        'WAIT_TIMED_OUT',
        `Batch "${batch.id}" does not end: all that can run has run, and ${batch.waitsFor}.`,
      );
    }
  }

  /** @returns whether there was anything to do */
  async #step(done: { jobs: number; callbacks: number }): Promise<boolean> {
    for (const state of this.#states.values()) {
      const event = state.due.shift();
      if (event === undefined) continue;
      await this.#runCallback(state, event);
      done.callbacks++;
      return true;
    }
    for (const state of this.#states.values()) {
      const job = state.mayRun ? state.jobs.find((one) => this.#canRun(one)) : undefined;
      if (!job) continue;
      await this.#runJob(state, job);
      if (job.status !== 'pending') done.jobs++;
      return true;
    }
    const plain = this.#plainJobs.shift();
    if (!plain) return false;
    await this.#runPlainJob(plain);
    done.jobs++;
    return true;
  }

  #canRun(job: InlineJob): boolean {
    if (job.status !== 'pending' || this.#running.has(job)) return false;
    if (job.workerClass !== MEMBER_BATCH.name) return true;
    const inner = found(this.#states, innerId(job));
    return !inner || inner.isSettled;
  }

  async #runJob(state: InlineState, job: InlineJob): Promise<void> {
    this.#running.add(job);
    try {
      if (job.workerClass === MEMBER_BATCH.name) this.#endMember(job);
      else await this.#attempt(state, job);
    } finally {
      this.#running.delete(job);
    }
    job.finishedAt = new Date();
    // It may have settled meanwhile, by a cancellation: then the job is cancelled.
    if (state.isSettled) job.status = 'pending';
    else state.jobEnded(job);
  }

  #endMember(job: InlineJob): void {
    const inner = found(this.#states, innerId(job))?.row();
    if (inner?.status === 'complete') {
      job.status = 'complete';
      return;
    }
    job.status = 'failed';
    job.errorClass =
      inner === undefined
        ? 'BatchNotFoundError'
        : inner.status === 'cancelled'
          ? 'BatchCancelledError'
          : 'BatchFailedError';
    job.errorMessage = `Batch "${innerId(job)}" is ${inner?.status ?? 'gone'}.`;
  }

  async #attempt(state: InlineState, job: InlineJob): Promise<void> {
    const definition = this.#definition(job.workerClass);
    const { retry } = { ...definition.options, ...job.overrides };
    for (;;) {
      job.startedAt = new Date();
      const attempt = job.attempts + 1;
      try {
        const result = await runHandler(definition, job.argsJson, {
          ...this.#contextBase(),
          jid: job.jid,
          batchId: state.id,
          attempt,
        });
        job.attempts = attempt;
        if (definition.storesResult) job.result = resultJson(result);
        Object.assign(job, { status: 'complete', errorClass: null, errorMessage: null, errorStack: null });
        return;
      } catch (error) {
        job.attempts = attempt;
        const described = describeError(error);
        Object.assign(job, described, { errorStack: stackOf(error) ?? null });
        const isLast =
          this.#options.retries === 'none' ||
          attempt >= MAX_ATTEMPTS ||
          described.errorClass === 'InvalidResultError' ||
          retryDelay(retry, { number: attempt, error, errorClass: described.errorClass }, { ageMs: 0 }) ===
            null;
        // Of a batch that was stopped nothing is tried again.
        if (!isLast && !state.isSettled) continue;
        job.status = 'failed';
        return;
      }
    }
  }

  async #runPlainJob({ jid, target, argsJson }: PlainStart): Promise<void> {
    const definition = this.#definition(target.name);
    for (let attempt = 1; ; attempt++) {
      try {
        await runHandler(definition, argsJson, {
          ...this.#contextBase(),
          jid,
          batchId: undefined,
          attempt,
        });
        return;
      } catch (error) {
        const { errorClass, errorMessage } = describeError(error);
        const delay = retryDelay(target.options.retry, { number: attempt, error, errorClass }, { ageMs: 0 });
        if (this.#options.retries !== 'none' && attempt < MAX_ATTEMPTS && delay !== null) continue;
        this.logger.warn('A plain job failed for good', {
          jid,
          workerClass: target.name,
          errorClass,
          errorMessage,
        });
        return;
      }
    }
  }

  async #runCallback(state: InlineState, event: BatchEvent): Promise<void> {
    const record = state.callbacks.get(event)!;
    const callback = this.#callbacks.get(record.callback)!;
    const { retry } = callback.options;
    record.startedAt = new Date();
    record.status = 'running';
    for (;;) {
      record.attempts++;
      try {
        await runOutsideEnrollment(() =>
          runAsCallbackOf(state.id, () => this.#callOnce(callback, state.id, record.attempts)),
        );
        Object.assign(record, { status: 'completed', errorClass: null, errorMessage: null });
        break;
      } catch (error) {
        const described = describeError(error);
        Object.assign(record, described);
        const { attempts: number } = record;
        const delay = retryDelay(retry, { number, error, errorClass: described.errorClass }, { ageMs: 0 });
        if (this.#options.retries !== 'none' && number < MAX_ATTEMPTS && delay !== null) continue;
        record.status = 'failed';
        this.logger.warn('A callback failed for good', { batchId: state.id, event, ...described });
        break;
      }
    }
    record.finishedAt = new Date();
    state.callbackEnded(event);
  }

  async #callOnce(callback: Callback, batchId: string, attempt: number): Promise<void> {
    const { knex } = this.#options;
    const context = { batches: this, signal: new AbortController().signal, attempt };
    if (!callback.options.transaction) {
      // Only a callback with `transaction` reads `trx`: its overload of defineCallback says so.
      await callback.handler(batchId, context as unknown as TransactionCallbackContext);
      return;
    }
    await knex!.transaction(async (trx) => {
      await callback.handler(batchId, { ...context, trx });
    });
  }

  #definition(name: string): AnyJob {
    const definition = this.#jobs.get(name);
    if (definition) return definition;
    throw new InvalidOptionError('jobs', `given all jobs that are to run: "${name}" was started`, [
      ...this.#jobs.keys(),
    ]);
  }

  #contextBase() {
    return {
      round: 1,
      logger: this.#options.jobLogger ?? SILENT,
      signal: new AbortController().signal,
      batches: this,
    };
  }
}

/** An empty batch leaves nothing behind. */
function found(states: ReadonlyMap<string, InlineState>, id: string): InlineState | undefined {
  const state = states.get(id);
  return state?.isDiscarded ? undefined : state;
}

function innerId({ argsJson }: InlineJob): string {
  return (JSON.parse(argsJson) as [string])[0];
}
