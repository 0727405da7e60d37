import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseUnavailableError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import { adviceOf, passingOf, reasonIn, sqlstateOf } from './database-errors.ts';

/** Whether the database may accept the same statement later: it is unreachable, restarting, or broke a deadlock. */
export function isTransient(error: unknown): boolean {
  return passingOf(error) !== undefined;
}

export interface RetryOptions {
  /** Give up after this time. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onRetry?: (error: unknown, attempt: number) => void;
}

/**
 * Runs an idempotent statement until it succeeds, while its errors are transient: with growing pauses (50 ms to 2 s)
 * where the database cannot serve, and at once, with jitter, where it rolled the statement back because of another
 * session. Our own loop, not a retry library's: an enrolling app and a running chunk must outlast a restart of Postgres
 * while they keep what they hold, and both need to stop at once when told to.
 *
 * @throws {@link DatabaseUnavailableError} when `timeoutMs` is over; any other error as it is
 */
export async function withRetry<T>(run: () => Promise<T>, options: RetryOptions): Promise<T> {
  const deadline = Date.now() + options.timeoutMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await answered(run());
    } catch (error) {
      const passing = passingOf(error);
      if (passing === undefined) throw error;
      if (Date.now() >= deadline || options.signal?.aborted) throw unavailable(error, options.timeoutMs);
      options.onRetry?.(error, attempt);
      const pauseMs = pauseAfter(passing, attempt);
      await delay(pauseMs, undefined, { signal: options.signal }).catch(() => {});
      if (options.signal?.aborted) throw unavailable(error, options.timeoutMs);
    }
  }
}

/** The statement may still reach the database: it has to be idempotent, as for a repetition. */
async function answered<T>(statement: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer within ${CALLS.statement / 1000} s`)),
      CALLS.statement,
    );
  });
  try {
    return await Promise.race([statement, silence]);
  } finally {
    clearTimeout(timer);
  }
}

/** After a rollback because of another session, any part of the pause: the sessions are not to meet again. */
export function pauseAfter(passing: 'wait' | 'retry', attempt: number): number {
  const fullMs = Math.min(2_000, 50 * 2 ** Math.min(attempt, 10));
  return fullMs * (passing === 'retry' ? Math.random() : 0.75 + Math.random() / 2);
}

function unavailable(error: unknown, timeoutMs: number): DatabaseUnavailableError {
  const cause = error instanceof DatabaseUnavailableError ? (error.cause ?? error) : error;
  return new DatabaseUnavailableError(
    'DATABASE_UNAVAILABLE',
    `Postgres did not answer for ${Math.round(timeoutMs / 1000)} s: ${reasonIn(cause as Error)}. ${adviceOf(cause)}`,
    { cause, sqlstate: sqlstateOf(error) },
  );
}
