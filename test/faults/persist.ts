import { setTimeout as delay } from 'node:timers/promises';

/** What an app would do with one of {@link PASSING}. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 500;
/** Codes that say: try again later. */
export const PASSING = [
  'DATABASE_MISMATCH',
  'WORKER_BUSY',
  'WORKER_FAILING',
  'WORKER_UNAVAILABLE',
  'TEMPORAL_OVERLOADED',
  'TEMPORAL_UNAVAILABLE',
  'DATABASE_UNAVAILABLE',
];

/**
 * Repeats what can be repeated while the servers or the workers are away.
 *
 * @param mayRepeat asked before each repetition
 */
export async function persist<T>(run: () => Promise<T>, mayRepeat: () => boolean = () => true): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!isPassing(error) || Date.now() > deadline || !mayRepeat()) throw error;
      await delay(PAUSE_MS);
    }
  }
}

/** Whether the call may have done its work all the same, and will if it is repeated. */
export function isPassing(error: unknown): boolean {
  return PASSING.includes(codeOf(error));
}

/** Its code, or its class. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : error.name;
}
