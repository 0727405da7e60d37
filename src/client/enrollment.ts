import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/connect.ts';
import { insertJobs, type EnrolledJob } from '../database/enroll.ts';
import type { Adder, StartedExecution } from '../database/enroll-numbered.ts';
import type { Execution, ExecutionKind } from '../database/executions.ts';
import { selectLimitNames } from '../database/limits.ts';
import { overridesOf, type ExecutionStart } from '../database/starts.ts';
import { withRetry } from '../database/retry.ts';
import {
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchError,
  BatchFailedError,
  BatchSealedError,
  BatchTerminatedError,
  EnrollmentClosedError,
  EnrollmentTimedOutError,
  InvalidOptionError,
  TemporalUnavailableError,
  UnknownLimitError,
} from '../errors.ts';
import { describeError } from '../jobs/outcome.ts';
import { instruments } from '../telemetry/instruments.ts';
import { HeardPromise, type Failure } from './heard-promise.ts';
import { list, MIXED_CONTEXT, othersOpen, type Beside } from './open-blocks.ts';
import { CALLS } from '../timeouts.ts';
import type { BatchLogger } from './batch-client.ts';
import { NumberedQueue, type Identity } from './numbered-queue.ts';
import { isRefusedStart } from './start-errors.ts';
import { StartQueue } from './start-queue.ts';
import type { JobTarget } from './submit.ts';

/** How an enrolment block tells the batch's workflow what it did. */
export interface EnrollmentChannel {
  /** Jobs `1..upTo` have rows; or a sign of life. Must be durable when it resolves. */
  announce(upTo: number, queues: readonly string[]): Promise<void>;
  /** The block is over, and all that it enrolled is to be announced. @returns the total */
  seal(upTo: number, queues: readonly string[], error: string | undefined): Promise<number>;
}

export interface EnrollmentOptions {
  readonly batchId: string;
  readonly adder: Adder;
  /** What concerns workflows and activities that are started in the block. */
  readonly executions: {
    /** Of the batch's client: those of another one cannot be jobs. */
    readonly namespace: string;
    /** Asks one to cancel that the batch did not know of when it was stopped. */
    readonly cancel: (execution: StartedExecution & { readonly runId: string }) => Promise<void>;
  };
  /** Jobs that the batch has, and the block does not number itself because others may add some, too. */
  readonly sharedFrom?: number;
  readonly database: Database;
  readonly channel: EnrollmentChannel;
  /** Asked when rows are refused: the batch has closed the block. @returns what to throw */
  readonly whyClosed: () => Promise<BatchError>;
  readonly logger: BatchLogger;
  /** @throws {@link BatchError} once the block's client is closed */
  readonly assertClientOpen?: () => void;
  /** A sign of life is sent four times in this; undefined: none is needed. */
  readonly enrollmentTimeoutMs: number | undefined;
}

/** A workflow or an activity that a client starts inside the block. */
export interface RequestedStart<Started> extends ExecutionStart {
  readonly namespace: string;
  /** Whether an update is sent with it. */
  readonly hasUpdate: boolean;
  /** Sends the request, with a mark of the batch in it. */
  readonly send: () => Promise<Started>;
  readonly runIdOf: (started: Started) => string;
}

/** Rows of one insert; of the first one fewer, so that the first jobs, which tell how long jobs take, start early. */
const FLUSH_ROWS = 1_000;
const FIRST_FLUSH_ROWS = 200;
const FLUSH_BYTES = 1024 * 1024;
/** A few jobs wait so long for company. */
const FLUSH_DELAY_MS = 50;
/** A loop that only awaits `performAsync` would keep the event loop of its process to itself. */
const YIELD_AFTER_ROWS = 250;
/**
 * A large block rests after each insert for this part of the time that the insert took, so that it never has the
 * database, and the processors that it shares, to itself: the steps of a small batch wait for each of them.
 */
const REST_RATIO = 0.8;
const REST_AFTER_ROWS = 20_000;
/** Jobs that the database numbers are waited for: they wait no longer than for what is started beside them. */
const NUMBERED_FLUSH_DELAY_MS = 1;
/** `performAsync` waits while more than this is on its way: bounds the enqueuer's memory. */
const MAX_BUFFERED_ROWS = 5_000;
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/**
 * Jobs that are durable and not announced: at most so many, for at most so long. A small block only seals; in a large
 * one the first jobs start soon, and later messages say more each.
 */
const FIRST_ANNOUNCE_ROWS = FIRST_FLUSH_ROWS;
const MAX_ANNOUNCE_ROWS = 4_000;
const ANNOUNCE_DELAY_MS = 250;
/** A block that is not over by then tells its batch, which has not heard of it before: most blocks only seal. */
const FIRST_SIGN_MS = 50;
/** Bounds the failures of starts that are kept until the end of the block: the first that is unheard by then counts. */
const MAX_FAILURES = 100;
/** A timer that outlived its block may start a job each second: its warnings are this far apart at least. */
const LATE_WARNING_MS = 60_000;

/** Who was warned that contexts are mixed in this process: once each. */
const warnedOfMixing = new WeakSet<BatchLogger>();

/**
 * One enrolment block at work. Numbers jobs as they come, writes their rows in bulk, and announces to the workflow
 * how far the rows reach. Rows first, then the announcement: no job can start before its row exists.
 *
 * Where others may add jobs to the batch, and from the first job with a key on, the database numbers the jobs: see
 * {@link NumberedQueue}.
 */
export class Enrollment {
  readonly #options: EnrollmentOptions;
  readonly #queues = new Set<string>();
  readonly #signOfLife: NodeJS.Timeout | undefined;
  readonly #numberedQueue: NumberedQueue;
  readonly #startQueue: StartQueue;
  /** Workflows and activities of which it is open whether they are jobs. */
  readonly #starting = new Set<Promise<unknown>>();
  /** Bulks that the block stays open for. */
  readonly #held = new Set<Promise<unknown>>();
  /** Limits that the block has checked, or is checking. */
  readonly #limits = new Map<string, 'known' | Promise<void>>();
  /** Jobs and blocks of this process beside the block, for messages about lost contexts. */
  readonly beside: Beside = { blocks: new Map(), plainJids: new Set() };
  #failures: Failure[] = [];
  #isExplicit = false;
  #lateWarning = { at: -Infinity, unsaid: 0 };
  #buffer: EnrolledJob[] = [];
  #bufferedBytes = 0;
  #isShared: boolean;
  /** Rows that this block has written. */
  #written = 0;
  /** Jobs numbered, rows durable, rows announced: all are watermarks. */
  #numbered = 0;
  #durable = 0;
  #announced = 0;
  #announceRows = FIRST_ANNOUNCE_ROWS;
  #isClosed = false;
  #isSealed = false;
  #error: unknown;
  #closeError: unknown;
  #writing: Promise<void> | undefined;
  #announcing: Promise<void> | undefined;
  #writeTimer: NodeJS.Timeout | undefined;
  #announceTimer: NodeJS.Timeout | undefined;
  #waiters: (() => void)[] = [];

  constructor(options: EnrollmentOptions) {
    this.#options = options;
    this.#isShared = options.sharedFrom !== undefined;
    this.#durable = this.#announced = options.sharedFrom ?? 0;
    const queueOptions = {
      ...options,
      onRetry: (error: unknown, attempt: number) => this.#warnOfRetry(error, attempt),
    };
    this.#numberedQueue = new NumberedQueue(queueOptions);
    this.#startQueue = new StartQueue(queueOptions);
    if (options.enrollmentTimeoutMs === undefined) return;
    this.#announceTimer = setTimeout(() => this.#announce(), FIRST_SIGN_MS);
    this.#signOfLife = setInterval(() => this.#announce(), Math.max(100, options.enrollmentTimeoutMs / 4));
    this.#signOfLife.unref();
  }

  get batchId(): string {
    return this.#options.batchId;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether another process has the block by now, which refuses the jobs or the end of this one. */
  get isTakenOver(): boolean {
    return [this.#error, this.#closeError].some((error) => error instanceof AlreadyEnrolledError);
  }

  /** The block came to its end, and that was refused. */
  noteCloseError(error: unknown): void {
    this.#closeError = error;
  }

  /** Whether jobs were started with the block itself, and not by the context of the caller. */
  get isExplicit(): boolean {
    return this.#isExplicit;
  }

  /**
   * A job is started with the block itself. The context of the caller may name another block, which is open: then it
   * names the wrong one for jobs and workflows that are started without the block, too.
   */
  noteExplicit(ambient: Enrollment | undefined): void {
    this.#isExplicit = true;
    const { batchId, logger } = this.#options;
    if (!ambient || ambient.batchId === batchId || ambient.isClosed || warnedOfMixing.has(logger)) return;
    warnedOfMixing.add(logger);
    logger.warn(
      `A job of batch "${batchId}" was started in the context of the block of batch "${ambient.batchId}". It is where it ` +
        'belongs, because it was started with its block. Jobs and workflows that the same code starts without a block ' +
        `become jobs of batch "${ambient.batchId}". In this process, ${MIXED_CONTEXT}`,
      { batchId, contextBatchId: ambient.batchId },
    );
  }

  /**
   * Lets the app leave a start unawaited: its error never ends the process. `jobs()` rejects with an unheard error. After
   * the end of the block, when `jobs()` has no caller any more, the error is a warning.
   */
  hear<T>(start: Promise<T>): Promise<T> {
    const isLate = this.isClosed;
    return HeardPromise.of(start, (failure) => {
      if (isLate) setImmediate(() => this.#warnOfLate(failure));
      // The block rejects with the error that broke the enrollment anyway.
      else if (this.#error === undefined) this.#noteFailure(failure);
    });
  }

  /** Keeps the block open until this has ended. */
  hold<T>(start: Promise<T>): Promise<T> {
    const ended = () => this.#held.delete(start);
    this.#held.add(start);
    start.then(ended, ended);
    return start;
  }

  /**
   * Waits for bulks that the app does not await.
   *
   * @throws the error of a start that the app does not await: the block ends as if it had thrown that
   */
  async settleStarts(): Promise<void> {
    do {
      while (this.#held.size > 0) await Promise.allSettled(this.#held);
      // After all microtasks: by then who waits for a failed start has said so.
      await new Promise<void>((resolve) => process.nextTick(resolve));
    } while (this.#held.size > 0);
    const failure = this.#failures.find(({ isHeard }) => !isHeard());
    if (failure) throw failure.error;
  }

  #noteFailure(failure: Failure): void {
    if (this.#failures.length >= MAX_FAILURES)
      this.#failures = this.#failures.filter(({ isHeard }) => !isHeard());
    if (this.#failures.length < MAX_FAILURES) this.#failures.push(failure);
  }

  #warnOfLate({ error, isHeard }: Failure): void {
    if (isHeard()) return;
    const now = performance.now();
    const { at, unsaid } = this.#lateWarning;
    if (now - at < LATE_WARNING_MS) {
      this.#lateWarning = { at, unsaid: unsaid + 1 };
      return;
    }
    this.#lateWarning = { at: now, unsaid: 0 };
    const { batchId, logger } = this.#options;
    logger.warn(
      `A start that the app does not await was refused: ${error instanceof Error ? error.message : String(error)}`,
      { batchId, ...(unsaid > 0 ? { alsoSinceTheLastWarning: unsaid } : {}) },
    );
  }

  /**
   * Checks that a limit exists, once per block and name.
   *
   * @returns undefined when it was checked before. Rejects with {@link UnknownLimitError}
   */
  knowsLimit(name: string): Promise<void> | undefined {
    const found = this.#limits.get(name) ?? this.#askForLimit(name);
    if (found === 'known') return undefined;
    this.#limits.set(name, found);
    return found;
  }

  async #askForLimit(name: string): Promise<void> {
    const { database } = this.#options;
    try {
      const known = await withRetry(() => selectLimitNames(database), {
        timeoutMs: CALLS.database,
        onRetry: (error, attempt) => this.#warnOfRetry(error, attempt),
      });
      if (!known.includes(name)) throw new UnknownLimitError(name, known);
      this.#limits.set(name, 'known');
    } catch (error) {
      this.#limits.delete(name);
      throw error;
    }
  }

  /**
   * Makes a job a member, synchronously, so that its number is its place in the program's order.
   *
   * @returns the jid; where the database gives it, once the job's row is committed. Rejects with a
   * {@link BatchCycleError} where the job is a batch that waits for this one
   */
  enroll(target: JobTarget, argsJson: string): string | Promise<string> {
    this.assertOpen(`${target.name}.performAsync was called`, 'job');
    const { memberId, options } = target;
    const { key, taskQueue = null, startDelayMs = null } = options;
    const overrides = target.isOverridden || options.limit ? overridesJson(target) : null;
    const job = [target.name, argsJson, overrides, taskQueue, startDelayMs] as const;
    if (key !== undefined || memberId !== undefined) this.#isShared = true;
    if (this.#isShared) return this.#enrollNumbered(job, { key, memberId });
    if (taskQueue !== null) this.#queues.add(taskQueue);
    this.#buffer.push(job);
    this.#bufferedBytes += argsJson.length + (overrides?.length ?? 0);
    this.#numbered++;
    if (this.#buffer.length >= this.#flushRows() || this.#bufferedBytes >= FLUSH_BYTES) this.#write();
    else this.#writeTimer ??= setTimeout(() => this.#write(), FLUSH_DELAY_MS);
    return `${this.batchId}/${this.#numbered}`;
  }

  /**
   * Makes a workflow or an activity a job: the database knows of it before the request leaves. What the request was
   * refused with, or why nobody knows whether it was done, reaches the caller as it was; in the latter case it is a job.
   *
   * @throws {@link WorkflowEnrolledError} {@link ActivityEnrolledError} {@link EnrollmentClosedError}
   * {@link InvalidOptionError}
   */
  startExecution<Started>(start: RequestedStart<Started>): Promise<Started> {
    const starting = this.#startExecution(start);
    this.#starting.add(starting);
    const ended = () => this.#starting.delete(starting);
    starting.then(ended, ended);
    return starting;
  }

  async #startExecution<Started>(start: RequestedStart<Started>): Promise<Started> {
    const { kind, id, namespace, hasUpdate } = start;
    this.assertOpen(`${named(start)} was started`, kind);
    const { executions } = this.#options;
    if (namespace !== executions.namespace)
      throw new InvalidOptionError('namespace', `"${executions.namespace}", as that of its batch`, namespace);
    this.#isShared = true;
    const requested = this.#startQueue.add(start);
    this.#writeSoon();
    const token = await requested;
    let started: Started;
    try {
      started = await start.send();
    } catch (error) {
      await this.#afterFailedStart(start, token, isRefusedStart(error, { hasUpdate }));
      throw error;
    }
    const runId = start.runIdOf(started);
    try {
      await this.#enrollExecution(start, runId);
    } catch (error) {
      if (error instanceof BatchCancelledError || error instanceof BatchFailedError)
        await executions.cancel({ kind, id, runId });
      throw error;
    }
    return started;
  }

  /** The error of the start is the caller's: what goes wrong on top of it must not replace it. */
  async #afterFailedStart(start: ExecutionStart, token: string, isRefused: boolean): Promise<void> {
    try {
      if (isRefused) await this.#startQueue.takeBack(token);
      else await this.#enrollExecution(start, null);
    } catch (error) {
      const { batchId, logger } = this.#options;
      logger.warn('It could not be recorded how a start ended; looking will tell', {
        batchId,
        [`${start.kind}Id`]: start.id,
        error: messageOf(error),
      });
    }
  }

  /** @param runId null: nobody knows whether it was started */
  #enrollExecution(start: ExecutionStart, runId: string | null): Promise<string> {
    if (this.#error !== undefined) throw this.#error;
    const { kind, id, type, argsJson } = start;
    const job = [type, argsJson, overridesOf(start), null, null] as const;
    const jid = this.#numberedQueue.addExecution(job, { kind, id, runId });
    this.#writeSoon();
    return jid;
  }

  /** @throws {@link EnrollmentClosedError}, or what broke the enrolment */
  protected assertOpen(what: string, kind: 'job' | ExecutionKind): void {
    if (this.isClosed) {
      throw new EnrollmentClosedError(
        'ENROLLMENT_CLOSED',
        `${what} after the enrollment block of batch "${this.batchId}" had closed; the ${kind} was not started. ` +
          'Await all work inside the block. A timer, queue, pool or listener that is created in a block keeps its ' +
          `context: create it in outsideBlock(() => …), and start its jobs with block.perform(job, ...args).${this.#whoElse()}`,
      );
    }
    if (this.#error !== undefined) throw this.#error;
    this.#options.assertClientOpen?.();
  }

  /** The work may belong to one of these. */
  #whoElse(): string {
    const others = othersOpen(this.batchId);
    return others.length === 0 ? '' : ` Open in this process: the blocks of batches ${list(others)}.`;
  }

  /** What was numbered before is written first: from then on the total of the row is the number of the last job. */
  #enrollNumbered(job: EnrolledJob, identity: Identity): Promise<string> {
    const jid = this.#numberedQueue.add(job, identity);
    this.#numbered++;
    this.#writeSoon();
    return jid;
  }

  /** With what is started beside it. */
  #writeSoon(): void {
    if (this.#numberedQueue.size >= FLUSH_ROWS || this.#numberedQueue.bytes >= FLUSH_BYTES) this.#write();
    else this.#writeTimer ??= setTimeout(() => this.#write(), NUMBERED_FLUSH_DELAY_MS);
  }

  #isFull(): boolean {
    const rows = this.#buffer.length + this.#numberedQueue.size;
    const bytes = this.#bufferedBytes + this.#numberedQueue.bytes;
    return rows >= MAX_BUFFERED_ROWS || bytes >= MAX_BUFFERED_BYTES;
  }

  /** True, or a promise that resolves when there is room for more, and other work of this process had its turn. */
  hasRoom(): true | Promise<void> {
    if (!this.#isFull()) {
      if (this.#numbered % YIELD_AFTER_ROWS > 0) return true;
      return new Promise(setImmediate);
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push(() => (this.#error === undefined ? resolve() : reject(this.#error)));
    });
  }

  /**
   * Ends the block: writes what is buffered and seals the batch, or announces it to one that goes on.
   *
   * @param blockError what the block threw, if it did
   * @returns the total
   * @throws what broke the enrolment, after the batch was sealed with the jobs that are durable
   */
  async close(blockError?: unknown): Promise<number> {
    this.#isClosed = true;
    this.#write();
    // Of those that are under way it is not known yet whether they are jobs.
    while (this.#starting.size > 0) await Promise.allSettled(this.#starting);
    while (this.#writing) await this.#writing;
    // The seal says all that an announcement would.
    clearTimeout(this.#announceTimer);
    this.#announceTimer = undefined;
    await this.#announcing;
    try {
      if (isClosedFor(this.#error)) throw this.#error;
      const error = this.#error ?? blockError;
      // Signs of life go on meanwhile: Temporal may be away for longer than the block may be quiet.
      const total = await this.#options.channel.seal(
        this.#durable,
        [...this.#queues],
        error === undefined ? undefined : messageOf(error),
      );
      if (this.#error !== undefined) throw this.#error;
      return total;
    } finally {
      this.#isSealed = true;
      clearInterval(this.#signOfLife);
      clearTimeout(this.#announceTimer);
      // The caller may close its connection now: a call that is still tried again would throw where nobody catches it.
      await this.#announcing;
    }
  }

  /** Writes buffered rows, one insert at a time, until none is left: what comes meanwhile goes with the next. */
  #write(): void {
    clearTimeout(this.#writeTimer);
    this.#writeTimer = undefined;
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined));
  }

  async #writeAll(): Promise<void> {
    while (this.#waitingRows() > 0 && this.#error === undefined) {
      const startedAt = performance.now();
      try {
        if (this.#buffer.length > 0) await this.#writeOwn();
        else if (this.#startQueue.size > 0)
          await this.#startQueue.write(FLUSH_ROWS, FLUSH_BYTES, this.#queues);
        else await this.#writeNumbered();
        this.#announceSoon();
      } catch (error) {
        this.#fail(error);
      }
      this.#wakeWaiters();
      const isLarge = this.#written > REST_AFTER_ROWS;
      if (isLarge && !this.#isClosed) await delay((performance.now() - startedAt) * REST_RATIO);
    }
    this.#wakeWaiters();
  }

  #waitingRows(): number {
    return this.#buffer.length + this.#startQueue.size + this.#numberedQueue.size;
  }

  #flushRows(): number {
    return this.#durable === 0 ? FIRST_FLUSH_ROWS : FLUSH_ROWS;
  }

  /** Rows that the block has numbered itself. */
  async #writeOwn(): Promise<void> {
    const { adder, batchId, database } = this.#options;
    const jobs = this.#takeRows();
    const token = 'token' in adder ? adder.token : null;
    const isOpen = await withRetry(() => insertJobs(database, batchId, this.#durable + 1, jobs, token), {
      timeoutMs: CALLS.database,
      onRetry: (error, attempt) => this.#warnOfRetry(error, attempt),
    });
    if (!isOpen) throw await this.#options.whyClosed();
    this.#durable += jobs.length;
    this.#noteWritten(jobs.length, jobs.length);
  }

  /** Rows that the database numbers. The total is that of all who add some, and so are the task queues. */
  async #writeNumbered(): Promise<void> {
    const { positions, added, total, queues } = await this.#numberedQueue.write(
      FLUSH_ROWS,
      FLUSH_BYTES,
      this.#queues,
    );
    for (const queue of queues) this.#queues.add(queue);
    this.#durable = Math.max(this.#durable, total);
    this.#noteWritten(positions.length, added);
  }

  /** @param added those of them that had no row before */
  #noteWritten(jobs: number, added: number): void {
    this.#written += jobs;
    instruments()?.jobsEnrolled.add(added);
  }

  #warnOfRetry(error: unknown, attempt: number): void {
    const { batchId, logger } = this.#options;
    logger.warn('Rows could not be written; trying again', { batchId, attempt, error: messageOf(error) });
  }

  #takeRows(): EnrolledJob[] {
    let bytes = 0;
    let count = 0;
    const most = this.#flushRows();
    while (count < this.#buffer.length && count < most && bytes < FLUSH_BYTES) {
      const job = this.#buffer[count++]!;
      bytes += job[1].length + (job[2]?.length ?? 0);
    }
    this.#bufferedBytes -= bytes;
    return this.#buffer.splice(0, count);
  }

  #announceSoon(): void {
    if (this.#durable === this.#announced) return;
    if (this.#durable - this.#announced >= this.#announceRows) this.#announce();
    else this.#announceTimer ??= setTimeout(() => this.#announce(), ANNOUNCE_DELAY_MS);
  }

  #announce(): void {
    clearTimeout(this.#announceTimer);
    this.#announceTimer = undefined;
    this.#announcing ??= this.#announceAll().finally(() => (this.#announcing = undefined));
  }

  async #announceAll(): Promise<void> {
    const { channel, logger, batchId } = this.#options;
    do {
      const upTo = this.#durable;
      try {
        await channel.announce(upTo, [...this.#queues]);
        this.#announced = upTo;
        this.#announceRows = Math.min(MAX_ANNOUNCE_ROWS, Math.max(FLUSH_ROWS, this.#announceRows * 2));
      } catch (error) {
        if (error instanceof BatchError && !(error instanceof TemporalUnavailableError)) {
          // From now on the seal decides. It may have been taken, and the batch be over.
          if (!this.#isClosed) this.#fail(error);
          return;
        }
        // A later announcement, a sign of life or the seal says the same and more.
        logger.warn('Enrolled jobs could not be announced yet', { batchId, upTo, error: messageOf(error) });
        if (!this.#isSealed) this.#announceTimer ??= setTimeout(() => this.#announce(), CALLS.announceRetry);
        return;
      }
    } while (this.#durable - this.#announced >= this.#announceRows && !this.#isClosed);
    // What was written meanwhile, and is too little for an announcement at once.
    if (!this.#isClosed) this.#announceSoon();
  }

  #fail(error: unknown): void {
    this.#error ??= this.#closedClient() ?? error;
    this.#numberedQueue.fail(this.#error);
    this.#startQueue.fail(this.#error);
    this.#wakeWaiters();
  }

  /** A pool that was closed throws errors of its own. */
  #closedClient(): unknown {
    try {
      this.#options.assertClientOpen?.();
      return undefined;
    } catch (error) {
      return error;
    }
  }

  /** Not after each write: many that wait would each add a job to a buffer that is still full. */
  #wakeWaiters(): void {
    if (this.#isFull() && this.#error === undefined) return;
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

/** `Workflow "order-1"`. */
export function named({ kind, id }: Execution): string {
  return `${kind === 'workflow' ? 'Workflow' : 'Activity'} "${id}"`;
}

const CLOSED = [
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchFailedError,
  BatchSealedError,
  BatchTerminatedError,
  EnrollmentTimedOutError,
];

/** The batch takes nothing from this block any more, and needs no seal from it. */
function isClosedFor(error: unknown): boolean {
  return CLOSED.some((closed) => error instanceof closed);
}

/** Always with the limit, so that rows show it and every worker follows it, whatever its definition says. */
function overridesJson({ isOverridden, options }: JobTarget): string {
  const { limit, retry, startToCloseTimeoutMs, scheduleToCloseTimeoutMs } = options;
  if (!isOverridden) return JSON.stringify({ limit });
  return JSON.stringify({ limit, retry, startToCloseTimeoutMs, scheduleToCloseTimeoutMs });
}

function messageOf(error: unknown): string {
  const { errorClass, errorMessage } = describeError(error);
  return `${errorClass}: ${errorMessage}`;
}
