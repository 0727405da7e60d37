/**
 * How large chunks are and how many wait to be run, learned from the chunks that ended.
 *
 * Size: a chunk should take about a second, so that its round trips to the server weigh little and its loss costs
 * little. Jobs of a chunk run side by side, so the mean job time allows `PARALLEL` times as many. Jobs of a
 * millisecond go by the thousand, a job of a minute goes alone.
 *
 * Window: chunks with jobs that have not started. Grows while they start at once, shrinks when they wait for a worker
 * or for its slots, so that a large batch keeps the workers busy and leaves no long queue before a small one.
 */
export interface Pace {
  /** Jobs of the next chunk. */
  readonly size: number;
  /** Chunks that hold jobs which have not started. */
  readonly window: number;
  /** Smoothed milliseconds a job; undefined until the first chunk ended. */
  readonly jobMs?: number;
}

export interface ChunkTiming {
  /** Jobs whose handlers ran. */
  readonly ran: number;
  /** Sum of the handlers' times. */
  readonly busyMs: number;
  /** From being scheduled to the start of the first job. */
  readonly queueMs: number;
}

const TARGET_MS = 1_000;
const PARALLEL = 8;
const MAX_SIZE = 2_000;
const MIN_WINDOW = 2;
const MAX_WINDOW = 64;
const SHORT_QUEUE_MS = 100;
const LONG_QUEUE_MS = 1_500;

/** Before anything is known: enough jobs to learn from, few enough if each takes a minute. */
export const INITIAL_PACE: Pace = { size: 25, window: 8 };

/** The pace after one more chunk. */
export function adjustPace(pace: Pace, timing: ChunkTiming): Pace {
  const window =
    timing.queueMs < SHORT_QUEUE_MS
      ? Math.min(MAX_WINDOW, pace.window + 1)
      : timing.queueMs > LONG_QUEUE_MS
        ? Math.max(MIN_WINDOW, Math.floor(pace.window * 0.8))
        : pace.window;
  if (timing.ran === 0) return { ...pace, window };
  const observed = timing.busyMs / timing.ran;
  const jobMs = pace.jobMs === undefined ? observed : pace.jobMs * 0.7 + observed * 0.3;
  const size = Math.max(1, Math.min(MAX_SIZE, Math.floor((TARGET_MS * PARALLEL) / Math.max(jobMs, 0.001))));
  return { size, window, jobMs };
}
