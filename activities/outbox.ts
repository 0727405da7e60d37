import {
  markComplete,
  markFailures,
  type Failure,
  type RunningBatch,
  type Success,
} from '../src/database/chunks.ts';
import type { Database } from '../src/database/connect.ts';
import { patiently } from './patiently.ts';

/** An attempt that failed, with when to retry it in local time; null: failed for good. */
export interface FailedAttempt extends Omit<Failure, 'retryInMs'> {
  readonly retryAt: number | null;
}

const FLUSH_SIZE = 1_000;
const FLUSH_DELAY_MS = 200;

/**
 * Outcomes on their way to the mirror, written in bulk while the chunk goes on. One write at a time; what comes
 * meanwhile goes with the next.
 */
export class Outbox {
  readonly #database: Database;
  readonly #batch: RunningBatch;
  readonly #onFailed: (failed: number) => Promise<void>;
  #successes: Success[] = [];
  #failures: FailedAttempt[] = [];
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #error: unknown;
  /** Jobs that another execution of the same chunk had decided before. */
  contested = 0;

  /** @param onFailed called after rows of jobs that failed for good are committed, with how many the batch has now */
  constructor(database: Database, batch: RunningBatch, onFailed: (failed: number) => Promise<void>) {
    this.#database = database;
    this.#batch = batch;
    this.#onFailed = onFailed;
  }

  succeeded(success: Success): void {
    this.#successes.push(success);
    this.#flushSoon();
  }

  failed(failure: FailedAttempt): void {
    this.#failures.push(failure);
    this.#flushSoon();
  }

  /** Writes everything that is there by now. @throws what the database threw */
  async drain(): Promise<void> {
    while (this.#successes.length + this.#failures.length > 0 && this.#error === undefined) {
      this.#flush();
      await this.#writing;
    }
    await this.#writing;
    if (this.#error !== undefined) throw this.#error;
  }

  #flushSoon(): void {
    if (this.#successes.length + this.#failures.length >= FLUSH_SIZE) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), FLUSH_DELAY_MS);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined));
  }

  async #writeAll(): Promise<void> {
    try {
      while (this.#successes.length + this.#failures.length > 0) {
        const successes = this.#successes;
        const failures = this.#failures;
        this.#successes = [];
        this.#failures = [];
        await this.#write(successes, (rows) => markComplete(this.#database, this.#batch, rows));
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
        if (failed > 0 && failures.some(({ retryAt }) => retryAt === null)) await this.#onFailed(failed);
      }
    } catch (error) {
      this.#error ??= error;
    }
  }

  async #write<T>(rows: readonly T[], write: (rows: readonly T[]) => Promise<number>): Promise<void> {
    if (rows.length === 0) return;
    const changed = await patiently(() => write(rows), 'Outcomes could not be written');
    this.contested += rows.length - changed;
  }
}
