import {
  markComplete,
  markFailures,
  type Failure,
  type RunningBatch,
  type Success,
} from '../src/database/chunks.ts';
import type { Database } from '../src/database/connect.ts';
import type { ByteBudget } from '../src/worker/byte-budget.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import {
  jobFailure,
  MAX_CHUNK_SAMPLE,
  sampled,
  type FailedJob,
  type JobFailure,
} from '../workflows/failed-sample.ts';
import { countThatFits, FLUSH_LENGTH, FLUSH_SIZE, lengthOf, MAX_WAITING_LENGTH } from './outbox-limits.ts';
import { patiently } from './patiently.ts';

/** An attempt that failed, with when to retry it in local time; null: failed for good. */
export interface FailedAttempt extends Omit<Failure, 'retryInMs'> {
  readonly retryAt: number | null;
}

export interface OutboxOptions {
  /** The worker's bound, which what waits to be written counts in. */
  readonly bytes: ByteBudget;
  /** Called after rows of jobs that failed for good are committed, with how many the batch has now. */
  readonly onFailed: (failed: number) => Promise<void>;
}

const FLUSH_DELAY_MS = 200;

/**
 * Outcomes on their way to the mirror, written in bulk while the chunk goes on. One write at a time; what comes
 * meanwhile goes with the next.
 */
export class Outbox {
  readonly #database: Database;
  readonly #batch: RunningBatch;
  readonly #bytes: ByteBudget;
  readonly #onFailed: OutboxOptions['onFailed'];
  #successes: Success[] = [];
  #failures: FailedAttempt[] = [];
  /** Characters of their results and errors. */
  #length = 0;
  /** Of those, and of what is being written. */
  #counted = 0;
  /** When the first of them ended, by `performance.now()`. */
  #waitingSince: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #error: unknown;
  #waiters: (() => void)[] = [];
  /** Jobs that another execution of the same chunk had decided before. */
  contested = 0;
  /** A few of the jobs that failed for good, without their names. */
  sample: readonly FailedJob[] = [];
  /** Why the first attempt failed of those that are to be retried. */
  retried: JobFailure | undefined;

  constructor(database: Database, batch: RunningBatch, { bytes, onFailed }: OutboxOptions) {
    this.#database = database;
    this.#batch = batch;
    this.#bytes = bytes;
    this.#onFailed = onFailed;
  }

  succeeded(success: Success): void {
    this.#successes.push(success);
    this.#count(lengthOf(success));
    this.#flushSoon();
  }

  failed(failure: FailedAttempt): void {
    this.#failures.push(failure);
    this.#count(lengthOf(failure));
    this.#show(failure);
    this.#flushSoon();
  }

  /** Goes on once the results that wait to be written leave room for more: at once, where they are not large. */
  whenRoom(goOn: () => void): void {
    if (this.#hasRoom()) goOn();
    else this.#waiters.push(goOn);
  }

  /** Writes everything that is there by now. @throws what the database threw */
  async drain(): Promise<void> {
    while (!this.#isEmpty() && this.#error === undefined) {
      this.#flush();
      await this.#writing;
    }
    await this.#writing;
    if (this.#error !== undefined) throw this.#error;
  }

  /** Drains, and counts nothing any more. @throws what the database threw */
  async close(): Promise<void> {
    try {
      await this.drain();
    } finally {
      this.#bytes.release(this.#counted);
      this.#counted = 0;
    }
  }

  #count(length: number): void {
    if (length === 0) return;
    this.#length += length;
    this.#counted += length;
    this.#bytes.add(length);
  }

  #written(length: number): void {
    if (length === 0) return;
    this.#counted -= length;
    this.#bytes.release(length);
  }

  /** For people; the report takes it to the workflow. */
  #show({ position, errorClass, errorMessage, retryAt }: FailedAttempt): void {
    if (retryAt !== null) {
      this.retried ??= jobFailure(errorClass, errorMessage);
      return;
    }
    const failed = { position, name: '', ...jobFailure(errorClass, errorMessage) };
    this.sample = sampled(this.sample, [failed], MAX_CHUNK_SAMPLE);
  }

  #flushSoon(): void {
    this.#waitingSince ??= performance.now();
    const count = this.#successes.length + this.#failures.length;
    const isUrgent = this.#length > 0 && this.#bytes.isTight;
    if (count >= FLUSH_SIZE || this.#length >= FLUSH_LENGTH || isUrgent) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_DELAY_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isEmpty()) this.#writing ??= this.#writeAll();
  }

  #isEmpty(): boolean {
    return this.#successes.length + this.#failures.length === 0;
  }

  /** Whoever waits is woken by a write of this outbox: with nothing to write, nobody may wait. */
  #hasRoom(): boolean {
    if (this.#counted === 0 || this.#error !== undefined) return true;
    return this.#length < MAX_WAITING_LENGTH && !this.#bytes.isExceeded;
  }

  /** The outcomes of the next statement: all, or those that fit. @returns them, and those that are left */
  #take<T extends Success | FailedAttempt>(all: T[]): [taken: T[], left: T[], length: number] {
    const count = this.#length > FLUSH_LENGTH ? countThatFits(all, FLUSH_LENGTH) : all.length;
    const taken = count === all.length ? all : all.slice(0, count);
    let length = 0;
    for (const outcome of taken) length += lengthOf(outcome);
    this.#length -= length;
    return [taken, count === all.length ? [] : all.slice(count), length];
  }

  #wakeWaiters(): void {
    while (this.#waiters.length > 0 && this.#hasRoom()) this.#waiters.shift()!();
  }

  async #writeAll(): Promise<void> {
    try {
      while (!this.#isEmpty()) {
        const [successes, otherSuccesses, successLength] = this.#take(this.#successes);
        this.#successes = otherSuccesses;
        const [failures, otherFailures, failureLength] = this.#take(this.#failures);
        this.#failures = otherFailures;
        const waitingSince = this.#waitingSince!;
        if (this.#isEmpty()) this.#waitingSince = undefined;
        await this.#write(successes, (rows) => markComplete(this.#database, this.#batch, rows));
        this.#written(successLength);
        const relative = failures.map(({ retryAt, ...failure }) => ({
          ...failure,
          retryInMs: retryAt === null ? null : Math.max(0, retryAt - Date.now()),
        }));
        let failed = 0;
        await this.#write(relative, async (rows) => {
          const written = await markFailures(this.#database, this.#batch, rows);
          ({ failed } = written);
          return written.changed;
        });
        this.#written(failureLength);
        instruments()?.mirrorLag.record((performance.now() - waitingSince) / 1_000);
        if (failed > 0 && failures.some(({ retryAt }) => retryAt === null)) await this.#onFailed(failed);
        this.#wakeWaiters();
      }
    } catch (error) {
      this.#error ??= error;
    } finally {
      // In the same step as the last look: what comes after that must find nobody writing.
      this.#writing = undefined;
      this.#wakeWaiters();
    }
  }

  async #write<T>(rows: readonly T[], write: (rows: readonly T[]) => Promise<number>): Promise<void> {
    if (rows.length === 0) return;
    const changed = await patiently(() => write(rows), 'Outcomes could not be written');
    this.contested += rows.length - changed;
  }
}
