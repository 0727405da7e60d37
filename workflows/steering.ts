import {
  isCount,
  isSettled,
  limitedNames,
  policyOf,
  progressOf,
  stopped,
  type BatchPolicy,
  type BatchSettings,
  type BatchState,
  type Refusal,
  type Stop,
} from './batch-state.ts';
import { isFailurePolicy } from './failure-policy.ts';
import { hasLimits, isLimit, mergeJobLimits } from './limits.ts';
import { waitMs } from './timeouts.ts';

/**
 * The rules of pausing, changing and stopping a batch: pure functions, as in batch-state.ts. Each change has a number, by
 * which runners and, through the batch's row, workers tell a newer one from an older.
 */

/** What runners are told of how the batch stands; a higher number is newer. */
export interface Steering {
  readonly number: number;
  readonly isPaused: boolean;
  readonly isStopped: boolean;
  /** The batch hands out its limits itself: runners end, and give their ranges back. */
  readonly isLimited: boolean;
  /** How long a runner waits between reports at least, in milliseconds. Grows with the batch's history. */
  readonly reportIntervalMs: number;
}

/** What the batch's row says of pauses, changes and the stop. */
export interface SteeredRow {
  readonly steering: number;
  readonly stop: Stop | null;
}

export type CancelRequest = Pick<Stop, 'reason' | 'graceMs'>;

/** While the batch's history is short. */
export const REPORT_INTERVAL_MS = 1_000;

/** A pause, a resumption or a change of the policy that Temporal keeps until a worker is up. */
export interface SteerRequest {
  readonly isPaused?: boolean;
  readonly changes?: Partial<BatchPolicy>;
}

/** More changes than anybody makes, and far from what the row can hold: a report that names more is wrong. */
const MAX_NUMBER = 1_000_000_000;

/** How long a batch that was not stopped has until its deadline; undefined: for ever, or it is over. */
export function timeLeftMs(state: BatchState, settings: BatchSettings, now: number): number | undefined {
  const { deadlineAt } = policyOf(state, settings);
  if (deadlineAt === null || state.stop || isSettled(state)) return undefined;
  return Math.max(0, deadlineAt - now);
}

export function steeringOf(
  state: BatchState,
  settings: BatchSettings,
  reportIntervalMs = REPORT_INTERVAL_MS,
): Steering {
  const { steering, isPaused, stop } = state;
  const isLimited = hasLimits(policyOf(state, settings));
  return { number: steering, isPaused, isStopped: stop !== null, isLimited, reportIntervalMs };
}

/** Whether the batch can still be steered: its jobs are not all terminal, and it was not stopped. */
function refuseSteering(state: BatchState, verb: string): Refusal | undefined {
  if (!isSettled(state) && state.stop === null) return undefined;
  const { status } = progressOf(state);
  const why = state.stop ? `it was stopped (${state.stop.reason})` : `it has settled`;
  return {
    code: 'BATCH_SETTLED',
    message: `The batch is ${status}, and ${why}: it cannot be ${verb} any more.`,
  };
}

/** Whether the batch can be cancelled. One that was stopped already is: asking again changes nothing. */
export function refuseCancel(state: BatchState, request: CancelRequest): Refusal | undefined {
  const { reason, graceMs } = request;
  if (typeof reason !== 'string' || reason === '' || !isCount(graceMs)) {
    return {
      code: 'INVALID_OPTION',
      message: 'A cancellation must have reason, a text, and graceMs, a count.',
    };
  }
  return state.stop ? undefined : refuseSteering(state, 'cancelled');
}

export function cancelled(state: BatchState, request: CancelRequest): BatchState {
  if (refuseCancel(state, request)) return state;
  return stopped(state, { outcome: 'cancelled', reason: request.reason, graceMs: request.graceMs });
}

export function refusePause(state: BatchState): Refusal | undefined {
  return refuseSteering(state, 'paused');
}

export function refuseResume(state: BatchState): Refusal | undefined {
  return refuseSteering(state, 'resumed');
}

export function paused(state: BatchState, isPaused: boolean): BatchState {
  return state.isPaused === isPaused ? state : { ...state, isPaused, steering: state.steering + 1 };
}

export function refuseUpdate(state: BatchState, changes: Partial<BatchPolicy>): Refusal | undefined {
  const {
    afterDeadline,
    afterFailure,
    alertAfterIdleMs,
    deadlineAt,
    failWhen,
    failWhenFailed,
    jobLimits = {},
    maxConcurrentJobs = null,
    perSecond = null,
    ...others
  } = changes;
  const isWellFormed =
    [undefined, 'fail', 'cancel'].includes(afterDeadline) &&
    [undefined, 'continue', 'cancelRemaining'].includes(afterFailure) &&
    [alertAfterIdleMs, deadlineAt].every((time) => time === undefined || time === null || isCount(time)) &&
    [undefined, 'settled', 'immediate'].includes(failWhen) &&
    (failWhenFailed === undefined || isFailurePolicy(failWhenFailed)) &&
    isLimit({ maxConcurrentJobs, perSecond }) &&
    typeof jobLimits === 'object' &&
    jobLimits !== null &&
    Object.values(jobLimits).every(isLimit) &&
    Object.keys(others).length === 0;
  if (!isWellFormed) {
    return { code: 'INVALID_OPTION', message: 'The change is not one that Batch.update makes.' };
  }
  const names = limitedNames(state);
  const unlimited = Object.keys(jobLimits).find((name) => !names.includes(name));
  if (unlimited !== undefined) {
    return {
      code: 'JOB_NOT_LIMITED',
      message:
        `jobLimits names "${unlimited}", which had no entry when the batch was created` +
        `${names.length > 0 ? ` (those that had: ${names.join(', ')})` : ''}. Name each job that may be limited ` +
        'later in jobLimits of create, with null for no limit.',
    };
  }
  return refuseSteering(state, 'changed');
}

export function updated(state: BatchState, changes: Partial<BatchPolicy>): BatchState {
  const jobLimits = changes.jobLimits && mergeJobLimits(state.changes.jobLimits ?? {}, changes.jobLimits);
  return {
    ...state,
    changes: { ...state.changes, ...changes, ...(jobLimits && { jobLimits }) },
    steering: state.steering + 1,
  };
}

/** Makes a change that was asked for by a signal. Signals are untrusted: malformed ones change nothing. */
export function steerRequested(state: BatchState, { isPaused, changes }: SteerRequest): BatchState {
  let next = state;
  if (typeof isPaused === 'boolean' && !refusePause(next)) next = paused(next, isPaused);
  const isChange = typeof changes === 'object' && changes !== null;
  return isChange && !refuseUpdate(next, changes) ? updated(next, changes) : next;
}

export function wroteSteering(state: BatchState, number: number): BatchState {
  return { ...state, steeringWritten: Math.max(state.steeringWritten, number) };
}

/**
 * The row is as new as what was to be written: a task that was lost with its worker had written it, and other things
 * came before the task ran again. A stop stays, as workers have heard of it. Of the rest, what is true now is written.
 */
export function steeredBefore(state: BatchState, row: SteeredRow): BatchState {
  const next = row.stop ? stopped(state, row.stop) : state;
  return { ...next, steering: Math.max(next.steering, row.steering) + 1 };
}

/**
 * The row says more than this workflow has written: what is true here is written under the row's number. That finds out
 * what the row says: see `steeredBefore`. Or that it is gone.
 */
export function steeringHeardOf(state: BatchState, number = 0): BatchState {
  if (!isCount(number) || number > MAX_NUMBER || number <= state.steering) return state;
  return { ...state, steering: number };
}

export function isSteeringWritten(state: BatchState): boolean {
  return state.steeringWritten >= state.steering;
}

/** The deadline is over. */
export function deadlinePassed(state: BatchState, settings: BatchSettings, now: number): BatchState {
  if (timeLeftMs(state, settings, now) !== 0) return state;
  const { afterDeadline, deadlineAt } = policyOf(state, settings);
  return stopped(state, {
    outcome: afterDeadline === 'fail' ? 'failed' : 'cancelled',
    reason: `its deadline has passed (${new Date(deadlineAt!).toISOString()})`,
    graceMs: waitMs('stopGrace'),
  });
}
