import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/connect.ts';
import { insertJobs, type EnrolledJob } from '../database/enroll.ts';
import { DATABASE_TIMEOUT_MS, withRetry } from '../database/retry.ts';
import {
  BatchCancelledError,
  BatchError,
  EnrollmentClosedError,
  EnrollmentTimedOutError,
} from '../errors.ts';
import { describeError } from '../jobs/outcome.ts';
import type { BatchLogger } from './batch-client.ts';
import type { JobTarget } from './submit.ts';

/** How an enrolment block tells the batch's workflow what it did. */
export interface EnrollmentChannel {
  /** Jobs `1..upTo` have rows; or a sign of life. Must be durable when it resolves. */
  announce(upTo: number, queues: readonly string[]): Promise<void>;
  /** The block is over. @returns the total */
  seal(upTo: number, queues: readonly string[], error: string | undefined): Promise<number>;
}

export interface EnrollmentOptions {
  readonly batchId: string;
  readonly database: Database;
  readonly channel: EnrollmentChannel;
  /** Asked when rows are refused: the batch has closed the block. @returns what to throw */
  readonly whyClosed: () => Promise<BatchError>;
  readonly logger: BatchLogger;
  /** A sign of life is sent four times in this. */
  readonly enrollmentTimeoutMs: number;
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
const ANNOUNCE_RETRY_MS = 1_000;

/**
 * One enrolment block at work. Numbers jobs as they come, writes their rows in bulk, and announces to the workflow
 * how far the rows reach. Rows first, then the announcement: no job can start before its row exists.
 */
export class Enrollment {
  readonly #options: EnrollmentOptions;
  readonly #queues = new Set<string>();
  readonly #signOfLife: NodeJS.Timeout;
  #buffer: EnrolledJob[] = [];
  #bufferedBytes = 0;
  /** Jobs numbered, rows durable, rows announced: all are watermarks. */
  #numbered = 0;
  #durable = 0;
  #announced = 0;
  #announceRows = FIRST_ANNOUNCE_ROWS;
  #isClosed = false;
  #isSealed = false;
  #error: unknown;
  #writing: Promise<void> | undefined;
  #announcing: Promise<void> | undefined;
  #writeTimer: NodeJS.Timeout | undefined;
  #announceTimer: NodeJS.Timeout | undefined;
  #waiters: (() => void)[] = [];

  constructor(options: EnrollmentOptions) {
    this.#options = options;
    this.#signOfLife = setInterval(() => this.#announce(), Math.max(100, options.enrollmentTimeoutMs / 4));
    this.#signOfLife.unref();
  }

  get batchId(): string {
    return this.#options.batchId;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Makes a job a member, synchronously, so that its number is its place in the program's order.
   *
   * @returns the jid
   */
  enroll(target: JobTarget, argsJson: string): string {
    if (this.#isClosed) {
      throw new EnrollmentClosedError(
        'ENROLLMENT_CLOSED',
        `${target.name}.performAsync was called after the enrolment block of batch "${this.batchId}" had closed. ` +
          'Await all work inside the block; the job was not started.',
      );
    }
    if (this.#error !== undefined) throw this.#error;
    const { taskQueue = null, startDelayMs = null } = target.options;
    if (taskQueue !== null) this.#queues.add(taskQueue);
    const overrides = target.isOverridden ? overridesJson(target) : null;
    this.#buffer.push([target.name, argsJson, overrides, taskQueue, startDelayMs]);
    this.#bufferedBytes += argsJson.length + (overrides?.length ?? 0);
    this.#numbered++;
    if (this.#buffer.length >= this.#flushRows() || this.#bufferedBytes >= FLUSH_BYTES) this.#write();
    else this.#writeTimer ??= setTimeout(() => this.#write(), FLUSH_DELAY_MS);
    return `${this.batchId}/${this.#numbered}`;
  }

  /** True, or a promise that resolves when there is room for more, and other work of this process had its turn. */
  hasRoom(): true | Promise<void> {
    if (this.#buffer.length < MAX_BUFFERED_ROWS && this.#bufferedBytes < MAX_BUFFERED_BYTES) {
      if (this.#numbered % YIELD_AFTER_ROWS > 0) return true;
      return new Promise(setImmediate);
    }
    return new Promise((resolve, reject) => {
      this.#waiters.push(() => (this.#error === undefined ? resolve() : reject(this.#error)));
    });
  }

  /**
   * Ends the block: writes what is buffered and seals the batch.
   *
   * @param blockError what the block threw, if it did
   * @returns the total
   * @throws what broke the enrolment, after the batch was sealed with the jobs that are durable
   */
  async close(blockError?: unknown): Promise<number> {
    this.#isClosed = true;
    this.#write();
    while (this.#writing) await this.#writing;
    // The seal says all that an announcement would.
    clearTimeout(this.#announceTimer);
    this.#announceTimer = undefined;
    await this.#announcing;
    try {
      const isClosedFor =
        this.#error instanceof EnrollmentTimedOutError || this.#error instanceof BatchCancelledError;
      if (isClosedFor) throw this.#error;
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
    const { batchId, database, logger } = this.#options;
    while (this.#buffer.length > 0 && this.#error === undefined) {
      const jobs = this.#takeRows();
      const startedAt = performance.now();
      try {
        const isOpen = await withRetry(() => insertJobs(database, batchId, this.#durable + 1, jobs), {
          timeoutMs: DATABASE_TIMEOUT_MS,
          onRetry: (error, attempt) =>
            logger.warn('Rows could not be written; trying again', {
              batchId,
              attempt,
              error: messageOf(error),
            }),
        });
        if (!isOpen) throw await this.#options.whyClosed();
        this.#durable += jobs.length;
        this.#announceSoon();
      } catch (error) {
        this.#fail(error);
      }
      this.#wakeWaiters();
      const isLarge = this.#durable > REST_AFTER_ROWS;
      if (isLarge && !this.#isClosed) await delay((performance.now() - startedAt) * REST_RATIO);
    }
    this.#wakeWaiters();
  }

  #flushRows(): number {
    return this.#durable === 0 ? FIRST_FLUSH_ROWS : FLUSH_ROWS;
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
        if (error instanceof BatchError && error.code !== 'TEMPORAL_UNAVAILABLE') {
          // From now on the seal decides. It may have been taken, and the batch be over.
          if (!this.#isClosed) this.#fail(error);
          return;
        }
        // A later announcement, a sign of life or the seal says the same and more.
        logger.warn('Enrolled jobs could not be announced yet', { batchId, upTo, error: messageOf(error) });
        if (!this.#isSealed) this.#announceTimer ??= setTimeout(() => this.#announce(), ANNOUNCE_RETRY_MS);
        return;
      }
    } while (this.#durable - this.#announced >= this.#announceRows && !this.#isClosed);
  }

  #fail(error: unknown): void {
    this.#error ??= error;
    this.#wakeWaiters();
  }

  #wakeWaiters(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const wake of waiters) wake();
  }
}

function overridesJson({ options }: JobTarget): string {
  const { retry, startToCloseTimeoutMs, scheduleToCloseTimeoutMs } = options;
  return JSON.stringify({ retry, startToCloseTimeoutMs, scheduleToCloseTimeoutMs });
}

function messageOf(error: unknown): string {
  const { errorClass, errorMessage } = describeError(error);
  return `${errorClass}: ${errorMessage}`;
}
