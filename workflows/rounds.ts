import { limitedNames, newLanes, type BatchState, type CallbackRegistration } from './batch-state.ts';
import { laneKeysOf } from './lanes.ts';
import { clip, parseSpans, union, type Span } from './spans.ts';

/**
 * Rounds of a batch: after it has settled, jobs that failed or were cancelled may run again. Each round after the first
 * is a run of the batch's workflow of its own, under the same workflow id. Pure, like batch-state.ts.
 */

/** How many jobs ended how. */
export interface Counts {
  readonly completed: number;
  readonly failed: number;
  /** Jobs that were cancelled in an earlier round and do not run again. */
  readonly cancelled: number;
}

export const NO_COUNTS: Counts = { completed: 0, failed: 0, cancelled: 0 };

/** What a round runs. */
export interface Round {
  /** From 2. */
  readonly number: number;
  /** Positions that hold its jobs, see `formatSpans`. Jobs that have ended may lie between them: they are counted. */
  readonly spans: string;
  /** Jobs of the batch when the round was opened. What is enrolled later belongs to it, too. */
  readonly total: number;
  /** How the jobs outside of `spans` ended. */
  readonly others: Counts;
  /** Jobs that stay cancelled, in `spans` or not. */
  readonly cancelled: number;
}

/** What a run of the workflow is started with to be a round. */
export interface RoundRequest {
  readonly number: number;
  /** Run cancelled jobs again, too, not only failed ones. */
  readonly cancelled: boolean;
  /** Those of the round before. */
  readonly callbacks: readonly CallbackRegistration[];
  /** Set where the round before has not settled, because its workflow was terminated: what it left is run, too. */
  readonly lost?: LostRound;
}

/** A round that nobody works on any more. */
export interface LostRound {
  /** Its run, as its row says: of two who find it lost, one opens the next. */
  readonly firstExecutionRunId: string;
  /** Why, for people. */
  readonly reason: string;
}

/** What the mirror says once it has opened a round. */
export interface OpenedRound extends Omit<Round, 'number'> {
  /** Task queues of its jobs other than the batch's own. */
  readonly queues: readonly string[];
  readonly enrollmentError: string | null;
}

export function roundNumberOf({ round }: BatchState): number {
  return round?.number ?? 1;
}

/** The mirror has opened the round: its jobs are pending again. */
export function roundOpened(state: BatchState, { number }: RoundRequest, opened: OpenedRound): BatchState {
  const { queues, enrollmentError, ...round } = opened;
  const names = limitedNames(state);
  const lanes = newLanes(
    queues.flatMap((queue) => laneKeysOf(queue, names)),
    0,
  );
  return {
    ...state,
    ...round.others,
    round: { ...round, number },
    isOpeningRound: false,
    enrolled: round.total,
    lanes: { ...state.lanes, ...lanes },
    enrollment: { ...state.enrollment, error: enrollmentError },
    written: { ...state.written, created: true, sealed: true },
  };
}

/** The positions of the batch's jobs in a range, as far as they run in this round. */
export function positionsIn(state: BatchState, from: number, to = state.enrolled): Span[] {
  if (to < from) return [];
  if (!state.round) return [[from, to]];
  const { spans, total } = state.round;
  const added: Span[] = state.enrolled > total ? [[total + 1, state.enrolled]] : [];
  return clip(union([parseSpans(spans), added]), from, to);
}
