import { setTimeout as delay } from 'node:timers/promises';

const POLL_INTERVAL_MS = 50;

/**
 * Repeats an attempt until it succeeds.
 *
 * @param until - `deadline` is a time stamp; `signal` ends the attempts early
 * @returns what the attempt resolved to
 * @throws the last attempt's error once the deadline has passed, or the reason of `signal`
 */
export async function poll<T>(
  attempt: () => Promise<T>,
  until: { readonly deadline: number; readonly signal: AbortSignal },
): Promise<T> {
  for (;;) {
    until.signal.throwIfAborted();
    try {
      const result = await attempt();
      // Something else may have answered in place of what has gone.
      until.signal.throwIfAborted();
      return result;
    } catch (error) {
      until.signal.throwIfAborted();
      if (Date.now() >= until.deadline) throw error;
    }
    await delay(POLL_INTERVAL_MS);
  }
}
