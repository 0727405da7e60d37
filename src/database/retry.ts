import { setTimeout as delay } from 'node:timers/promises';
import { DatabaseUnavailableError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';

/** SQLSTATE classes and codes after which the same statement can succeed later. */
const TRANSIENT_SQLSTATE = /^(08|53|57P|40001|40P01|55P03|XX000)/;
const TRANSIENT_SYSTEM = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT',
]);
const TRANSIENT_MESSAGE =
  /no answer within|query read timeout|connection terminated|connection ended|timeout acquiring a connection|client has encountered a connection error|server closed the connection|not queryable/i;

/** Whether the database may accept the same statement later: it is unreachable, restarting, or broke a deadlock. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && (TRANSIENT_SQLSTATE.test(code) || TRANSIENT_SYSTEM.has(code))) return true;
  if (error instanceof AggregateError && error.errors.some(isTransient)) return true;
  return TRANSIENT_MESSAGE.test(error.message);
}

export interface RetryOptions {
  /** Give up after this time. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onRetry?: (error: unknown, attempt: number) => void;
}

/**
 * Runs an idempotent statement until it succeeds, with growing pauses (50 ms to 2 s), while its errors are transient.
 * Our own loop, not a retry library's: an enrolling app and a running chunk must outlast a restart of Postgres while
 * they keep what they hold, and both need to stop at once when told to.
 *
 * @throws {@link DatabaseUnavailableError} when `timeoutMs` is over; any other error as it is
 */
export async function withRetry<T>(run: () => Promise<T>, options: RetryOptions): Promise<T> {
  const deadline = Date.now() + options.timeoutMs;
  for (let attempt = 1; ; attempt++) {
    try {
      return await answered(run());
    } catch (error) {
      if (!isTransient(error)) throw error;
      if (Date.now() >= deadline || options.signal?.aborted) throw unavailable(error, options.timeoutMs);
      options.onRetry?.(error, attempt);
      const pauseMs = Math.min(2_000, 50 * 2 ** Math.min(attempt, 10)) * (0.75 + Math.random() / 2);
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

function unavailable(error: unknown, timeoutMs: number): DatabaseUnavailableError {
  return new DatabaseUnavailableError(
    'DATABASE_UNAVAILABLE',
    `Postgres did not answer for ${Math.round(timeoutMs / 1000)} s: ${(error as Error).message}. ` +
      'Check that it runs and that the connection settings are right.',
    { cause: error },
  );
}
