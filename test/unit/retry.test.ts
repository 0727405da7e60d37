import { syncBuiltinESMExports } from 'node:module';
import { expect, test, vi, onTestFinished } from 'vitest';
import { withRetry } from '../../src/database/retry.ts';
test('x', async () => {
  vi.useFakeTimers();
  syncBuiltinESMExports();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  let n = 0;
  const p = withRetry(
    () => {
      n++;
      return n < 3
        ? Promise.reject(Object.assign(new Error('x'), { code: 'ECONNREFUSED' }))
        : Promise.resolve(n);
    },
    { timeoutMs: 10000 },
  );
  await vi.advanceTimersByTimeAsync(10);
  expect(n).toBe(1);
  console.log(vi.getTimerCount());
  await vi.advanceTimersByTimeAsync(5000);
  expect(await p).toBe(3);
});
