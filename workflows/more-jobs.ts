import {
  eventsClosed,
  eventsThatNeverFire,
  eventOf,
  isSettled,
  isWatermark,
  withJobs,
  wrote,
  type BatchEvent,
  type BatchOutcome,
  type BatchState,
  type Growth,
  type Sealed,
} from './batch-state.ts';

/**
 * The rules of jobs that others than the batch's one block add: pure functions, as in batch-state.ts.
 *
 * Whoever adds jobs commits their rows and then tells the batch. In between it may die, so that the batch may believe
 * that all is done. Rows are what holds: before the end is written, the row is asked whether there are more.
 */
export interface JobsAddedMessage {
  /** The batch's first run, so that a late message does not reach a later batch of the same id. */
  readonly runId: string;
  readonly upTo: number;
  /** Task queues of these jobs other than the batch's own. */
  readonly queues: readonly string[];
}

/** A handler has added jobs to its batch. The last of them cannot have settled: its rows would have been refused. */
export function jobsAdded(
  state: BatchState,
  message: JobsAddedMessage,
  { runId, now }: { runId: string; now: number },
): BatchState {
  if (message.runId !== runId || !isWatermark(message)) return state;
  const isKnown = state.enrollment.phase !== 'unopened' && !state.isOpeningRound;
  if (state.stop || state.written.settled || !isKnown) return state;
  const next = grown(state, { total: message.upTo, queues: message.queues });
  const { isOpenEnded } = state.enrollment;
  return isOpenEnded ? { ...next, enrollment: { ...next.enrollment, heardAt: now } } : next;
}

/** There are jobs that were not known. An outcome that is not written yet was decided without them. */
export function grown(state: BatchState, { total, queues }: Growth): BatchState {
  if (total <= state.enrolled) return state;
  const next = withJobs(state, { upTo: total, queues });
  return state.written.outcome ? next : { ...next, outcome: null };
}

/**
 * The row is sealed, and says how many jobs there are, and whether their enrolment broke: a task that was lost with its
 * worker may have sealed it otherwise. Null: somebody deleted the row.
 */
export function wroteSeal(state: BatchState, sealed: Sealed | null): BatchState {
  const next = wrote(sealed ? grown(state, sealed) : state, 'sealed');
  const error = sealed ? sealed.error : next.enrollment.error;
  return { ...next, enrollment: { ...next.enrollment, phase: 'sealed', error } };
}

/** What is to be written of the end: which events happen with it, and which never will. */
export interface Ending {
  readonly outcome: BatchOutcome;
  readonly settled: boolean;
  readonly fires: readonly BatchEvent[];
  readonly never: readonly BatchEvent[];
  /**
   * The jobs that it is true for, however many there are by now: null. A batch that was stopped ends with whatever it
   * has, and a batch that is certain to fail has failed.
   */
  readonly total: number | null;
}

/** Undefined as long as the outcome is open. */
export function endingOf(state: BatchState): Ending | undefined {
  const { outcome } = state;
  if (outcome === null) return undefined;
  const settled = isSettled(state);
  const isJudgedByAll = state.stop === null && (settled || outcome === 'complete');
  return {
    outcome,
    settled,
    fires: [eventOf(outcome), ...(settled ? ['settled' as const] : [])],
    never: [...eventsThatNeverFire(outcome), ...(settled ? ['idle' as const] : [])],
    total: isJudgedByAll ? state.enrolled : null,
  };
}

/**
 * The row has another outcome: a task that was lost with its worker had written it, before things came that would have
 * decided it otherwise. Its callback may run already, so that it stays.
 */
export function decidedBefore(state: BatchState, outcome: BatchOutcome): BatchState {
  return { ...state, outcome };
}

/** The ending is written: what happened meanwhile does not change it, and its events take no callbacks any more. */
export function wroteEnding(state: BatchState, { outcome, settled, fires, never }: Ending): BatchState {
  const closed = eventsClosed({ ...state, outcome }, [...fires, ...never]);
  return wrote(settled ? wrote(closed, 'settled') : closed, 'outcome');
}
