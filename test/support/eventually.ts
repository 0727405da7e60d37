import { setTimeout as delay } from 'node:timers/promises';
import { PATIENCE, SLOWNESS } from './patience.ts';

/**
 * Repeats an assertion until it holds; fails with its last error when the deadline passes.
 *
 * @param timeoutMs where the promise is about time; on the reference machine: a slower one gets more
 */
export async function eventually<T>(
  assertion: () => T | Promise<T>,
  timeoutMs = PATIENCE / SLOWNESS,
): Promise<T> {
  const deadline = Date.now() + timeoutMs * SLOWNESS;
  let pauseMs = 25;
  for (;;) {
    try {
      return await assertion();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      // Soon at first, then more rarely: many tests that ask often leave no time to what they wait for.
      await delay(pauseMs);
      pauseMs = Math.min(200, 1.25 * pauseMs);
    }
  }
}
