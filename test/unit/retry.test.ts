import { afterAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { RetryOptions } from '../../src/database/retry.ts';

// Fake timers reach the global setTimeout, and not the one of node:timers/promises.
vi.mock('node:timers/promises', () => ({
  setTimeout: (ms: number, value: unknown, { signal }: { signal?: AbortSignal } = {}) =>
    new Promise((resolve, reject) => {
      const timer = globalThis.setTimeout(resolve, ms, value);
      signal?.addEventListener('abort', () => {
        clearTimeout(timer);
        reject(signal.reason as Error);
      });
    }),
}));
// Other files share the modules that are loaded: this one needs a copy of its own, and leaves none behind.
vi.resetModules();
const { isTransient, withRetry } = await import('../../src/database/retry.ts');
afterAll(() => void vi.resetModules());

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code });

describe('an error passes', () => {
  test.each([
    ['08006', 'connection failure'],
    ['08P01', 'protocol violation'],
    ['53300', 'too many connections'],
    ['57P01', 'admin shutdown'],
    ['57P03', 'cannot connect now'],
    ['40001', 'serialization failure'],
    ['40P01', 'deadlock detected'],
    ['55P03', 'lock not available'],
    ['57014', 'query canceled'],
    ['25006', 'read-only transaction'],
    ['25P03', 'idle in transaction for too long'],
    ['25P04', 'transaction timeout'],
    ['53100', 'disk full'],
    ['58030', 'i/o error'],
    ['ECONNREFUSED', 'a server that is down'],
    ['ECONNRESET', 'a server that went away'],
    ['EPIPE', 'a closed socket'],
    ['ETIMEDOUT', 'a silent network'],
    ['ENOTFOUND', 'a name that is not known'],
    ['EAI_AGAIN', 'a name server that is away'],
    ['ENOENT', 'a socket file that is not there yet'],
  ])('with the code %s: %s', (code) => {
    expect(isTransient(withCode(code))).toBe(true);
  });

  test.each([
    'Connection terminated unexpectedly',
    'Connection terminated due to connection timeout',
    'Knex: Timeout acquiring a connection. The pool is probably full.',
    'Client has encountered a connection error and is not queryable',
  ])('with the message "%s"', (message) => {
    expect(isTransient(new Error(message))).toBe(true);
  });

  test('when one of several addresses refused the connection', () => {
    expect(isTransient(new AggregateError([new Error('x'), withCode('ECONNREFUSED')]))).toBe(true);
  });
});

describe('an error stays', () => {
  test.each([
    ['23505', 'unique violation'],
    ['42P01', 'undefined table'],
    ['28P01', 'invalid password'],
    ['3D000', 'unknown database'],
    ['22P02', 'invalid text'],
    ['57P04', 'database dropped'],
    ['XX001', 'data corrupted'],
    ['EACCES', 'permission denied'],
  ])('with the code %s: %s', (code) => {
    expect(isTransient(withCode(code))).toBe(false);
  });

  test.each([
    ['a plain error', new Error('no')],
    ['an aggregate of errors that stay', new AggregateError([withCode('EACCES')])],
    ['a numeric code', Object.assign(new Error('x'), { code: 53_300 })],
    ['text', 'ECONNREFUSED'],
    ['no error', { code: 'ECONNREFUSED' }],
    ['nothing', undefined],
  ])('when it is %s', (_what, error) => {
    expect(isTransient(error)).toBe(false);
  });
});

describe('a statement', () => {
  /** A statement that fails so often with an error that passes. */
  function setup(failures: number, options: Partial<RetryOptions> = {}) {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const error = withCode('ECONNREFUSED', 'connect ECONNREFUSED');
    const startedAt = Date.now();
    const runs: number[] = [];
    const onRetry = vi.fn<NonNullable<RetryOptions['onRetry']>>();
    const run = async () => {
      runs.push(Date.now() - startedAt);
      if (runs.length <= failures) throw error;
      return 'result';
    };
    const result = withRetry(run, { timeoutMs: 60_000, onRetry, ...options });
    // Its rejection is looked at later.
    result.catch(() => {});
    return { error, runs, onRetry, result };
  }

  test('that succeeds runs once', async () => {
    const { result, runs, onRetry } = setup(0);
    expect(await result).toBe('result');
    expect(runs).toEqual([0]);
    expect(onRetry).not.toHaveBeenCalled();
  });

  test('runs again until it succeeds, and each failure is told', async () => {
    const { result, runs, onRetry, error } = setup(3);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(await result).toBe('result');
    expect(runs).toHaveLength(4);
    expect(onRetry.mock.calls).toEqual([
      [error, 1],
      [error, 2],
      [error, 3],
    ]);
  });

  test('runs again after growing pauses of 50 ms to 2 s, give or take', async () => {
    const { runs } = setup(Infinity);
    await vi.advanceTimersByTimeAsync(30_000);
    const pauses = runs.slice(1).map((time, index) => time - runs[index]!);
    expect(pauses[0]).toBeGreaterThanOrEqual(50);
    expect(pauses[0]).toBeLessThan(250);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(2_500);
    expect(Math.min(...pauses.slice(8))).toBeGreaterThanOrEqual(1_500);
  });

  test('is given up when its time is over, with the cause', async () => {
    const { result, runs, error } = setup(Infinity, { timeoutMs: 5_000 });
    await vi.advanceTimersByTimeAsync(10_000);
    await expect(result).rejects.toMatchObject({
      name: 'DatabaseUnavailableError',
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringMatching(/did not answer for 5 s: connect ECONNREFUSED/),
      cause: error,
    });
    expect(runs.at(-1)).toBeGreaterThanOrEqual(5_000);
    expect(runs.at(-1)).toBeLessThan(8_000);
  });

  test('is not repeated after an error that stays, which is passed on as it is', async () => {
    vi.useFakeTimers();
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const error = withCode('23505');
    const run = vi.fn<() => Promise<never>>(() => Promise.reject(error));
    await expect(withRetry(run, { timeoutMs: 60_000 })).rejects.toBe(error);
    expect(run).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('stops after its first failure when it was told to stop before', async () => {
    const { result, runs } = setup(Infinity, { signal: AbortSignal.abort() });
    await expect(result).rejects.toMatchObject({ code: 'DATABASE_UNAVAILABLE' });
    expect(runs).toHaveLength(1);
  });

  test('stops at once when it is told to stop during a pause', async () => {
    const controller = new AbortController();
    const { result, runs, onRetry } = setup(Infinity, { signal: controller.signal });
    await vi.advanceTimersByTimeAsync(10_000);
    const runsBefore = runs.length;
    controller.abort();
    await vi.advanceTimersByTimeAsync(0);
    expect(vi.getTimerCount(), 'timers left').toBe(0);
    await expect(result).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      cause: onRetry.mock.lastCall![0],
    });
    expect(runs).toHaveLength(runsBefore);
  });
});
