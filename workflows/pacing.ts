import type { Share } from './limits.ts';

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
  /** Of a lane with limits: which part of the positions are jobs of the lane; absent: all. */
  readonly density?: number;
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
/** With a rate, a chunk waits for a second before its first start: it is to have a multiple of that to do. */
const RATE_TARGET_MS = 10_000;
const MIN_RATE_MS = 2_000;
/** Of what is due, a chunk with a part of a limit takes one part in so many: the others that hold parts take some, too. */
const PARTS = 8;
const MIN_WINDOW = 2;
const MAX_WINDOW = 64;
const SHORT_QUEUE_MS = 100;
const LONG_QUEUE_MS = 1_500;

/** Before anything is known: enough jobs to learn from, few enough if each takes a minute. */
export const INITIAL_PACE: Pace = { size: 25, window: 8 };

/**
 * How many chunks go before one has told how long jobs take, by the time since the first one went. Few tell it as well
 * as many do; but those few may be with workers that died, and those that come next with another one.
 */
const FIRST_LOOKS = [
  { untilMs: 1_000, chunks: 4 },
  { untilMs: 3_000, chunks: 8 },
  { untilMs: Infinity, chunks: 16 },
];

/** How many chunks may hold jobs that have not started, so long after the first one went. */
export function windowAfter(pace: Pace, elapsedMs: number): number {
  return pace.jobMs === undefined ? lookAt(elapsedMs).chunks : pace.window;
}

/** When that grows by itself, in the same milliseconds; undefined: not any more. */
export function nextLookMs(pace: Pace, elapsedMs: number): number | undefined {
  const { untilMs } = lookAt(elapsedMs);
  return pace.jobMs === undefined && untilMs < Infinity ? untilMs : undefined;
}

function lookAt(elapsedMs: number) {
  return FIRST_LOOKS.find(({ untilMs }) => elapsedMs < untilMs)!;
}

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
  return { ...pace, size, window, jobMs };
}

/**
 * How many jobs a chunk runs that was given a part of its batch's limits: as long as another chunk, by that part.
 *
 * @param due positions that could go now
 */
export function jobsFor(pace: Pace, { maxConcurrentJobs, perSecond }: Share, due: number): number {
  const targetMs = perSecond === undefined ? TARGET_MS : RATE_TARGET_MS;
  const byRate = perSecond === undefined ? Infinity : (targetMs * perSecond) / 1_000;
  const bySlots =
    maxConcurrentJobs === undefined
      ? Infinity
      : pace.jobMs === undefined
        ? maxConcurrentJobs
        : Math.max(maxConcurrentJobs, (targetMs * maxConcurrentJobs) / Math.max(pace.jobMs, 0.001));
  const least = Math.max(maxConcurrentJobs ?? 1, ((perSecond ?? 0) * MIN_RATE_MS) / 1_000);
  const part = Math.max(least, (due * (pace.density ?? 1)) / PARTS);
  return Math.max(1, Math.min(MAX_SIZE, Math.ceil(Math.min(byRate, bySlots, part))));
}

/** In how many positions so many jobs of the lane are looked for. */
export function positionsFor({ density = 1 }: Pace, jobs: number): number {
  return Math.min(MAX_SIZE, Math.max(1, Math.ceil(jobs / density)));
}

/** The pace after a chunk of so many positions had so many jobs of its lane. */
export function adjustDensity(pace: Pace, jobs: number, positions: number): Pace {
  if (jobs === positions && pace.density === undefined) return pace;
  const density = (pace.density ?? 1) * 0.5 + (jobs / positions) * 0.5;
  return { ...pace, density: Math.max(1 / MAX_SIZE, density) };
}
