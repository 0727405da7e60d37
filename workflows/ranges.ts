import {
  isCount,
  isSealed,
  isSettled,
  policyOf,
  sum,
  withJobs,
  type BatchSettings,
  type BatchState,
  type Runner,
} from './batch-state.ts';
import { sampled, wellFormed, type FailedJob } from './failed-sample.ts';
import { hasLimits } from './limits.ts';
import { INITIAL_PACE, type Pace } from './pacing.ts';
import { isExhausted, isRangeOf, leftOf, type RangeState } from './range-state.ts';
import { NO_COUNTS, positionsIn } from './rounds.ts';
import { countOf, formatSpans, isSpans, parseSpans, subtract, take, type Span } from './spans.ts';
import { steeringHeardOf } from './steering.ts';

/**
 * The rules of handing out the jobs of a batch in ranges, and of counting what comes back: pure functions, as in
 * batch-state.ts. What happens within a range is in range-state.ts.
 */

/** Cumulative, so that repeated and reordered reports are harmless. */
export interface RunnerReport {
  readonly runner: string;
  readonly completed: number;
  readonly failed: number;
  /** Jobs of an earlier round that were cancelled there; absent: none. */
  readonly cancelled?: number;
  /** Some of the jobs that failed since its last report; absent: none. */
  readonly sample?: readonly FailedJob[];
  /** Every job of the range is terminal. */
  readonly ended: boolean;
  /** All that is left runs, or waits for a time to come: the runner does not hold up the ranges behind it. */
  readonly idle?: boolean;
  /** What the runner learned, for its successor. */
  readonly pace?: Pace;
  /** Number of a change that the batch's row says, and of which the runner was not told; absent: none. */
  readonly steering?: number;
  /** How often the runner gave back a part of its range before, see `ReturnedRange`; absent: never. */
  readonly returns?: number;
}

/** A range of positions to run, by a child workflow or by the batch workflow itself. */
export interface Assignment extends Pick<Runner, 'lane' | 'from' | 'to' | 'inline' | 'spans'> {
  readonly runner: string;
  readonly pace?: Pace;
}

/**
 * What a runner gives back of its range, because its history is long or the batch has limits now. It keeps what is in
 * flight, so that the slowest job holds up nothing but itself; another runner goes on with the rest, counts included.
 */
export interface ReturnedRange {
  readonly runner: string;
  /** How often it gave back a part before. */
  readonly returns: number;
  /** Its state, without what is in flight. */
  readonly range: RangeState;
  /** Positions in flight, see `formatSpans`; empty: the runner ends. */
  readonly kept: string;
  /** All jobs in flight have started. */
  readonly idle: boolean;
}

/** How the batch takes up what was given back. */
export interface TakeUp {
  /** The batch has limits, and hands them out itself. */
  readonly isLimited: boolean;
  /** The batch's own history is short enough that it can run a small range. */
  readonly mayRunInline: boolean;
}

/** A runner takes at most so many jobs: bounds its state, and how much one lost runner repeats. */
const MAX_RANGE = 25_000;
/** Runners of a lane at once. Two, so that one starts up while the other drains. */
const MAX_RUNNERS = 2;
/**
 * Ranges that take few chunks at the lane's pace run in the batch workflow itself: a child workflow, and its signals,
 * would cost more than they do. Batches of short jobs need no child at all: the first range is cut so that it runs
 * here, and tells how long jobs take. Few is one chunk for so many events of the longest history: 40 by default,
 * none where histories are to be shorter than this.
 */
const EVENTS_PER_INLINE_CHUNK = 100;

/** ... and so few jobs, in case that those that follow are slower. */
const MAX_INLINE_JOBS = 10_000;
/**
 * Hands out what can be run now. Each position of a lane is handed out once.
 *
 * @param mayRunInline whether the batch's own history is short enough for chunks
 */
export function assignRanges(
  state: BatchState,
  settings: BatchSettings,
  mayRunInline = true,
): { state: BatchState; assignments: Assignment[] } {
  if (state.isPaused || state.stop) return { state, assignments: [] };
  const maxInlineChunks = mayRunInline ? inlineChunks(settings) : 0;
  // One place hands out the limits: all chunks are the batch's own then.
  const isLimited = hasLimits(policyOf(state, settings));
  const assignments: Assignment[] = [];
  let next = state;
  for (const [lane, { pace }] of Object.entries(state.lanes)) {
    for (;;) {
      const active = Object.values(next.runners).filter((runner) => runner.lane === lane && !runner.idle);
      const positions = positionsIn(next, next.lanes[lane]!.dispatched + 1);
      const available = countOf(positions);
      if (available === 0) break;
      const { size, jobMs } = pace ?? INITIAL_PACE;
      // Until the first range has found out how long jobs take, the others would have to find out for themselves.
      const isKnown = jobMs !== undefined;
      // Less than a chunk beside a running range waits for company, unless no more will come.
      const waits = available < size && state.enrollment.phase !== 'sealed';
      if (active.length >= (waits || !isKnown ? 1 : MAX_RUNNERS)) break;
      const inlineLimit = maxInlineChunks * size;
      const isFirst = pace === undefined && inlineLimit > 0;
      const inlineJobs = Math.min(available, MAX_INLINE_JOBS, isFirst ? inlineLimit : Infinity);
      const isSmall = inlineJobs <= inlineLimit;
      const inline = isSmall || isLimited;
      const [taken] = take(positions, isSmall && !isLimited ? inlineJobs : MAX_RANGE);
      const from = taken[0]![0];
      const to = taken.at(-1)![1];
      const runner = nextRunner(next);
      assignments.push({ runner, lane, from, to, inline, ...(pace ? { pace } : {}) });
      next = {
        ...next,
        runnersStarted: next.runnersStarted + 1,
        lanes: { ...next.lanes, [lane]: { ...next.lanes[lane]!, dispatched: to } },
        runners: {
          ...next.runners,
          [runner]: { lane, from, to, inline, ...NO_COUNTS, idle: false, returns: 0 },
        },
      };
    }
  }
  return { state: next, assignments };
}

function inlineChunks({ maxHistoryEvents }: BatchSettings): number {
  return Math.floor(maxHistoryEvents / EVENTS_PER_INLINE_CHUNK);
}

/** The positions that a runner has. */
export function positionsOf(
  state: BatchState,
  { from, to, spans }: Pick<Runner, 'from' | 'to' | 'spans'>,
): Span[] {
  return spans === undefined ? positionsIn(state, from, to) : parseSpans(spans);
}

/** Its number, with that of the round in front: names of workflows are never used twice. */
function nextRunner({ round, runnersStarted }: BatchState): string {
  return `${round ? `${round.number}.` : ''}${runnersStarted + 1}`;
}

/** Whether jobs of the lane wait to be handed out. */
function isWaiting(state: BatchState, lane: string): boolean {
  return positionsIn(state, state.lanes[lane]!.dispatched + 1).length > 0;
}

/**
 * A runner tells how far it is. Reports of runners that ended, or that nobody knows, change nothing; nor do counts that
 * cannot be: anybody who may signal the workflow could end the batch too early with them.
 */
export function reported(before: BatchState, report: RunnerReport): BatchState {
  const runner = Object.hasOwn(before.runners, report.runner) ? before.runners[report.runner] : undefined;
  if (!runner || (report.returns ?? 0) !== runner.returns) return before;
  const { from, to, spans } = runner;
  const jobs = spans === undefined ? to - from + 1 : countOf(parseSpans(spans));
  if (!isPlausible(report, jobs)) return before;
  const state = steeringHeardOf(before, report.steering);
  const completed = Math.max(runner.completed, report.completed);
  const failed = Math.max(runner.failed, report.failed);
  const cancelled = Math.max(runner.cancelled, report.cancelled ?? 0);
  const lane = state.lanes[runner.lane]!;
  const lanes = report.pace ? { ...state.lanes, [runner.lane]: { ...lane, pace: report.pace } } : state.lanes;
  const failedSample = report.sample
    ? sampled(state.failedSample, wellFormed(report.sample))
    : state.failedSample;
  if (!report.ended) {
    const updated = { ...runner, completed, failed, cancelled, idle: report.idle ?? false };
    return { ...state, lanes, failedSample, runners: { ...state.runners, [report.runner]: updated } };
  }
  const { [report.runner]: _ended, ...runners } = state.runners;
  return { ...state, lanes, failedSample, runners, ...sum([state, { completed, failed, cancelled }]) };
}

function isPlausible({ completed, failed, cancelled = 0 }: RunnerReport, jobs: number): boolean {
  return [completed, failed, cancelled].every(isCount) && completed + failed + cancelled <= jobs;
}

/** Whether runners of their own workflows still run: each one ends, or hands its range back. */
export function hasChildRunners(state: BatchState): boolean {
  return Object.values(state.runners).some(({ inline }) => !inline);
}

/**
 * A runner gives back its range without what is in flight: another one goes on with it. Both have fewer positions than
 * the one before, so that whichever is lost can be replaced by itself. What comes twice, or from a runner that was lost
 * meanwhile, changes nothing.
 *
 * @returns the range to go on with, if it is to
 */
export function rangeReturned(
  state: BatchState,
  settings: BatchSettings,
  message: ReturnedRange,
  { isLimited, mayRunInline }: TakeUp,
): { state: BatchState; assignment?: Assignment } {
  const { runner: id, range, kept: keptText } = message;
  const runner = Object.hasOwn(state.runners, id) ? state.runners[id] : undefined;
  if (!runner || runner.inline || message.returns !== runner.returns) return { state };
  const positions = positionsOf(state, runner);
  if (keptText !== '' && !isSpans(keptText)) return { state };
  const kept = parseSpans(keptText);
  const given = subtract(positions, kept);
  if (subtract(kept, positions).length > 0 || !isRangeOf(range, given)) return { state };
  const { lane } = runner;
  const { [id]: _before, ...others } = state.runners;
  const keeper: Runner = {
    ...runner,
    ...boundsOf(kept),
    ...NO_COUNTS,
    spans: keptText,
    idle: message.idle,
    returns: runner.returns + 1,
  };
  const withKeeper = kept.length === 0 ? others : { ...others, [id]: keeper };
  const { completed, failed, cancelled, pace } = range;
  if (isExhausted(range) || state.stop)
    return { state: { ...state, ...sum([state, range]), runners: withKeeper } };
  const isSmall = mayRunInline && countOf(leftOf(range)) <= inlineChunks(settings) * pace.size;
  const inline = isLimited || isSmall;
  const next = nextRunner(state);
  const part = { lane, ...boundsOf(given), inline, spans: formatSpans(given) };
  const taker: Runner = { ...part, completed, failed, cancelled, idle: false, returns: 0 };
  return {
    state: {
      ...state,
      runnersStarted: state.runnersStarted + 1,
      runners: { ...withKeeper, [next]: taker },
    },
    assignment: { ...part, runner: next },
  };
}

function boundsOf(spans: readonly Span[]): Pick<Runner, 'from' | 'to'> {
  return { from: spans[0]?.[0] ?? 0, to: spans.at(-1)?.[1] ?? 0 };
}

/**
 * A runner was terminated or deleted before it ended: another one takes its range. It counts from zero, over rows of
 * which some are terminal already, so nothing is counted twice.
 *
 * @param isLimited the batch has limits now: it takes the range itself
 */
export function runnerLost(
  state: BatchState,
  id: string,
  isLimited = false,
): { state: BatchState; assignment?: Assignment } {
  const lost = state.runners[id];
  if (!lost) return { state };
  const { [id]: _lost, ...others } = state.runners;
  if (state.stop) {
    return { state: { ...state, runners: others, ...sum([state, lost]) } };
  }
  const runner = nextRunner(state);
  const { lane, from, to, spans } = lost;
  const inline = lost.inline || isLimited;
  return {
    state: {
      ...state,
      runnersStarted: state.runnersStarted + 1,
      runners: { ...others, [runner]: { ...lost, inline, ...NO_COUNTS, idle: false, returns: 0 } },
    },
    assignment: { runner, lane, from, to, inline, ...(spans === undefined ? {} : { spans }) },
  };
}

/**
 * Whether jobs are missing from the counts though all were handed out and every runner has ended: a report was wrong,
 * or somebody changed rows. Without repair the batch would wait for ever.
 */
export function isStranded(state: BatchState): boolean {
  return (
    isSealed(state) &&
    Object.keys(state.runners).length === 0 &&
    Object.keys(state.lanes).every((lane) => !isWaiting(state, lane)) &&
    !isSettled(state)
  );
}

/**
 * Counts again from the rows: what is terminal is counted without being run, what is not runs.
 *
 * @param queues task queues that the rows name, known or not
 */
export function recounted(state: BatchState, queues: readonly string[]): BatchState {
  const known = withJobs(state, { upTo: state.enrolled, queues });
  const lanes = Object.entries(known.lanes).map(([lane, { pace }]) => [
    lane,
    { dispatched: 0, ...(pace ? { pace } : {}) },
  ]);
  const counts = state.round?.others ?? NO_COUNTS;
  return { ...state, ...counts, lanes: Object.fromEntries(lanes) as BatchState['lanes'] };
}
