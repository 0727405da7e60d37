import type { FailedJob, JobFailure } from './failed-sample.ts';
import { adjustPace, INITIAL_PACE, type ChunkTiming, type Pace } from './pacing.ts';
import {
  countOf,
  formatSpans,
  intersect,
  isSpans,
  parseSpans,
  subtract,
  take,
  union,
  type Span,
} from './spans.ts';
import { scaledMs, UNKNOWN_JOB_PAUSES_MS } from './timeouts.ts';

/**
 * The rules of running one range of jobs: pure functions from state and event to new state. The state is plain JSON:
 * it travels through continue-as-new. It never lists jobs one by one, only spans of them.
 */
export interface RangeState {
  /** Positions that can be dispatched now. */
  readonly ready: readonly Span[];
  /** Positions of chunks that were lost with their worker once. */
  readonly lost: readonly Span[];
  /** Positions of chunks that were lost twice or more. See {@link Chunk.losses}. */
  readonly suspect: readonly Span[];
  /** Positions that wait for their retry or their start delay. */
  readonly delayed: readonly Delayed[];
  readonly completed: number;
  readonly failed: number;
  /** Jobs that were cancelled in an earlier round and do not run in this one. */
  readonly cancelled: number;
  readonly pace: Pace;
  /**
   * Number of the newest chunk; absent: there was none. It goes on in later runs of the workflow, so that a late message
   * of a chunk is never taken for that of another one.
   */
  readonly newestChunk?: number;
}

interface Delayed {
  /** Workflow time in milliseconds. */
  readonly dueAt: number;
  readonly spans: readonly Span[];
  /** Of a postponed chunk: its losses. */
  readonly losses?: Losses;
  /** Since when no worker knew the names of these jobs, or found their rows. */
  readonly unknownSince?: number;
  /** It was their rows. */
  readonly isMissing?: true;
}

/** How often in a row a chunk with these jobs was lost with its worker; 2 stands for more, too. */
export type Losses = 0 | 1 | 2;

/** The jobs that one activity execution runs. */
export interface Chunk {
  readonly spans: readonly Span[];
  /**
   * A worker that dies once is an accident: its jobs run again as before. After a second time one of them may be the
   * culprit: each one's start is recorded, so that it is found.
   */
  readonly losses: Losses;
  readonly unknownSince?: number;
}

/** Jobs of a chunk that are to run in another one. */
export interface ChunkLeft {
  /** Spans that are to run again after so many milliseconds. */
  readonly delayed: readonly (readonly [delayMs: number, spans: string])[];
  /** Spans that were not started, for example because the worker shuts down. */
  readonly remaining: string;
  /** Spans of jobs whose names this worker does not know. */
  readonly unknown: string;
  /** Spans of jobs whose rows it did not find; absent: it found all. They wait like those of unknown names. */
  readonly missing?: string;
}

/** What a chunk activity returns. Every job of the chunk is in exactly one of its parts. */
export interface ChunkReport extends ChunkLeft {
  readonly completed: number;
  readonly failed: number;
  /** Jobs that were cancelled in an earlier round and do not run in this one; absent: none. */
  readonly cancelled?: number;
  /** Some of those that failed; absent: none. */
  readonly sample?: readonly FailedJob[];
  /** Why the first of those failed that are to be retried; absent: none failed. */
  readonly retried?: JobFailure;
  /** Number of the batch's newest change, by its row; absent: none was newer than the chunk's own. */
  readonly steering?: number;
  readonly timing: ChunkTiming;
}

/** Suspects run in chunks of at most this size, so that watching them costs little when one kills its worker again. */
const CAREFUL_SIZE = 100;

export function initialRange(spans: readonly Span[], pace: Pace = INITIAL_PACE): RangeState {
  return { ready: spans, lost: [], suspect: [], delayed: [], completed: 0, failed: 0, cancelled: 0, pace };
}

/** All positions that are not in flight and have not ended. */
export function leftOf({ ready, lost, suspect, delayed }: RangeState): Span[] {
  return union([ready, lost, suspect, ...delayed.map(({ spans }) => spans)]);
}

/** Whether a message from outside holds a range of these positions. */
export function isRangeOf(range: unknown, positions: readonly Span[]): range is RangeState {
  if (typeof range !== 'object' || range === null) return false;
  const {
    ready,
    lost,
    suspect,
    delayed,
    completed,
    failed,
    cancelled,
    pace,
    newestChunk = 0,
  } = range as Partial<RangeState>;
  const lists = [
    ready,
    lost,
    suspect,
    ...(Array.isArray(delayed) ? delayed.map((one) => one?.spans) : [undefined]),
  ];
  const isSpanList = (list: unknown) =>
    Array.isArray(list) &&
    list.every((span) => Array.isArray(span) && span.every(Number.isSafeInteger) && span[0] <= span[1]);
  if (!lists.every(isSpanList) || typeof pace?.size !== 'number' || typeof pace.window !== 'number')
    return false;
  if (subtract(union(lists as Span[][]), positions).length > 0) return false;
  const left = (lists as Span[][]).reduce((sum, list) => sum + countOf(list), 0);
  const counts = [completed, failed, cancelled];
  return (
    [...counts, newestChunk].every((count) => Number.isSafeInteger(count) && count! >= 0) &&
    completed! + failed! + cancelled! + left <= countOf(positions)
  );
}

/** The next chunk to dispatch, or undefined if nothing is due. */
export function nextChunk(
  range: RangeState,
  now: number,
  size = range.pace.size,
): { state: RangeState; chunk: Chunk } | undefined {
  const { unknown, state } = whatIsDue(range, now);
  if (unknown) {
    const { spans, unknownSince } = unknown;
    return { state, chunk: { spans, losses: 0, unknownSince: unknownSince! } };
  }
  const { suspect, lost, ready } = state;
  if (suspect.length > 0) {
    const [spans, rest] = take(suspect, Math.min(CAREFUL_SIZE, size));
    return { state: { ...state, suspect: rest }, chunk: { spans, losses: 2 } };
  }
  if (lost.length > 0) {
    const [spans, rest] = take(lost, size);
    return { state: { ...state, lost: rest }, chunk: { spans, losses: 1 } };
  }
  if (ready.length > 0) {
    const [spans, rest] = take(ready, size);
    return { state: { ...state, ready: rest }, chunk: { spans, losses: 0 } };
  }
  return undefined;
}

/** Moves what is due to where it is dispatched from. Jobs of unknown names go by themselves, one entry at a time. */
function whatIsDue(state: RangeState, now: number): { state: RangeState; unknown?: Delayed } {
  const due = state.delayed.filter(({ dueAt }) => dueAt <= now);
  if (due.length === 0) return { state };
  const unknown = due.find(({ unknownSince }) => unknownSince !== undefined);
  if (unknown) {
    return { unknown, state: { ...state, delayed: state.delayed.filter((other) => other !== unknown) } };
  }
  const join = (spans: readonly Span[], losses: Losses) =>
    union([spans, ...due.filter((entry) => (entry.losses ?? 0) === losses).map((entry) => entry.spans)]);
  return {
    state: {
      ...state,
      ready: join(state.ready, 0),
      lost: join(state.lost, 1),
      suspect: join(state.suspect, 2),
      delayed: state.delayed.filter(({ dueAt }) => dueAt > now),
    },
  };
}

/** A chunk ended with a report. What it left before is not its own any more, though its report says so again. */
export function chunkEnded(state: RangeState, chunk: Chunk, report: ChunkReport, now: number): RangeState {
  return {
    ...chunkLeft(state, chunk, report, now),
    completed: state.completed + report.completed,
    failed: state.failed + report.failed,
    cancelled: state.cancelled + (report.cancelled ?? 0),
    pace: adjustPace(state.pace, report.timing),
  };
}

/** Of the chunk's jobs these are to run in another one, whether the chunk itself has ended or not. */
export function chunkLeft(state: RangeState, chunk: Chunk, left: ChunkLeft, now: number): RangeState {
  const ofChunk = (spans: string) => intersect(parseSpans(spans), chunk.spans);
  const remaining = ofChunk(left.remaining);
  const unknown = ofChunk(left.unknown);
  const missing = ofChunk(left.missing ?? '');
  const delayed = [...state.delayed];
  for (const [delayMs, spans] of left.delayed) {
    const again = ofChunk(spans);
    if (again.length > 0) delayed.push({ dueAt: now + delayMs, spans: again });
  }
  if (unknown.length + missing.length > 0) {
    const unknownSince = chunk.unknownSince ?? now;
    const waited = now - unknownSince;
    const pauses = UNKNOWN_JOB_PAUSES_MS.map(scaledMs);
    const delayMs = pauses.find((ms) => ms > waited / 2) ?? pauses.at(-1)!;
    const entry = { dueAt: now + delayMs, unknownSince };
    if (unknown.length > 0) delayed.push({ ...entry, spans: unknown });
    if (missing.length > 0) delayed.push({ ...entry, spans: missing, isMissing: true });
  }
  return {
    ...state,
    // What a chunk did not get to was not running when its worker stopped: no suspicion sticks to it.
    ready: remaining.length === 0 ? state.ready : union([state.ready, remaining]),
    delayed: coalesce(delayed),
  };
}

/** The positions that a chunk leaves to others. */
export function positionsLeft({ delayed, remaining, unknown, missing = '' }: ChunkLeft): Span[] {
  return union([remaining, unknown, missing, ...delayed.map(([, spans]) => spans)].map(parseSpans));
}

/** Whether a message from outside says what a chunk leaves. */
export function isChunkLeft(left: unknown): left is ChunkLeft {
  if (typeof left !== 'object' || left === null) return false;
  const { delayed, remaining, unknown, missing = '' } = left as Partial<ChunkLeft>;
  const isText = (spans: unknown) => spans === '' || isSpans(spans);
  return (
    isText(remaining) &&
    isText(unknown) &&
    isText(missing) &&
    Array.isArray(delayed) &&
    delayed.every((entry) => Array.isArray(entry) && entry[0] >= 0 && isText(entry[1]))
  );
}

/** A chunk's worker died, hung or vanished. Nobody is charged an attempt; its jobs run again. */
export function chunkLost(state: RangeState, chunk: Chunk): RangeState {
  return chunk.losses === 0
    ? { ...state, lost: union([state.lost, chunk.spans]) }
    : { ...state, suspect: union([state.suspect, chunk.spans]) };
}

/** A chunk could not run for a reason outside its jobs, for example an unreachable database: again, a bit later. */
export function chunkPostponed(state: RangeState, chunk: Chunk, now: number, delayMs: number): RangeState {
  const { spans, losses, unknownSince } = chunk;
  if (spans.length === 0) return state;
  const delayed: Delayed = {
    dueAt: now + delayMs,
    spans,
    ...(losses === 0 ? {} : { losses }),
    ...(unknownSince === undefined ? {} : { unknownSince }),
  };
  return { ...state, delayed: coalesce([...state.delayed, delayed]) };
}

/** Jobs that wait for a time to come are not to wait any more. What else these positions hold is left alone. */
export function rushed(state: RangeState, spans: readonly Span[], now: number): RangeState {
  const delayed = state.delayed.flatMap((entry): Delayed[] => {
    const hurried = intersect(entry.spans, spans);
    if (hurried.length === 0 || entry.dueAt <= now) return [entry];
    const rest = subtract(entry.spans, hurried);
    const due = { ...entry, spans: hurried, dueAt: now };
    return rest.length === 0 ? [due] : [due, { ...entry, spans: rest }];
  });
  return { ...state, delayed };
}

/** When the next delayed job is due, or undefined if none is delayed. */
export function nextDueAt(state: RangeState): number | undefined {
  return state.delayed.length === 0 ? undefined : Math.min(...state.delayed.map(({ dueAt }) => dueAt));
}

/** Whether nothing is left to dispatch, now or later. What is in flight is the caller's to know. */
export function isExhausted(state: RangeState): boolean {
  return !hasDue(state) && state.delayed.length === 0;
}

/** Whether {@link nextChunk} has a chunk. */
export function isDue(state: RangeState, now: number): boolean {
  return hasDue(state) || (nextDueAt(state) ?? Infinity) <= now;
}

/** Positions that can be dispatched now. */
export function dueCount({ ready, lost, suspect }: RangeState): number {
  return countOf(ready) + countOf(lost) + countOf(suspect);
}

/** Jobs of the lane that a chunk had. */
export function jobsOf({
  completed,
  failed,
  delayed,
  remaining,
  unknown,
  missing = '',
}: ChunkReport): number {
  const spans = [remaining, unknown, missing, ...delayed.map(([, text]) => text)].map(parseSpans);
  return completed + failed + spans.reduce((total, list) => total + countOf(list), 0);
}

/** Whether something can be dispatched without waiting for a time to come. */
export function hasDue({ ready, lost, suspect }: RangeState): boolean {
  return ready.length + lost.length + suspect.length > 0;
}

/**
 * One line for the Web UI: which jobs a chunk holds, and why it runs again.
 *
 * @param why what else is known of that, if not that a worker was lost
 */
export function describeChunk(chunk: Chunk, why?: string): string {
  const count = countOf(chunk.spans);
  const text = formatSpans(chunk.spans);
  const jobs = `${count === 1 ? 'job' : 'jobs'} ${text.length > 60 ? `${text.slice(0, 57)}...` : text}`;
  if (chunk.losses === 1) return `${jobs} (again: the worker that ran them was lost)`;
  if (chunk.losses === 2) return `${jobs} (watched: two workers that ran them were lost)`;
  if (chunk.unknownSince !== undefined)
    return `${jobs} (again: no worker knew their names, or found their rows)`;
  return why === undefined ? jobs : `${jobs} (${why})`;
}

/** Retries of a chunk come in bursts: what is due in the same tenth of a second shares one entry and one timer. */
function coalesce(delayed: readonly Delayed[]): Delayed[] {
  const result = new Map<string, Delayed>();
  for (const entry of delayed) {
    // Rounded up: a job never runs before it is due.
    const dueAt = Math.ceil(entry.dueAt / 100) * 100;
    const key = `${dueAt}/${entry.losses ?? 0}/${entry.unknownSince ?? ''}/${entry.isMissing ?? ''}`;
    const other = result.get(key);
    result.set(key, { ...entry, dueAt, spans: other ? union([other.spans, entry.spans]) : entry.spans });
  }
  return [...result.values()];
}
