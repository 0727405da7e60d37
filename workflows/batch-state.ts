import { describePolicy, isExceeded, isFailurePolicy, type FailurePolicy } from './failure-policy.ts';
import { sampled, wellFormed, type FailedJob } from './failed-sample.ts';
import { isQueueName, laneKeysOf, namesOf, OWN_LANE } from './lanes.ts';
import { hasLimits, isLimit, mergeJobLimits, type Limits } from './limits.ts';
import { INITIAL_PACE, type Pace } from './pacing.ts';
import { isRangeOf, type RangeState } from './range-state.ts';
import { NO_COUNTS, positionsIn, type Counts, type Round } from './rounds.ts';
import { countOf, take } from './spans.ts';

/**
 * The rules of a batch: pure functions from state and event to new state, without a Temporal import. The state is
 * plain JSON and bounded: it travels through continue-as-new, and nothing in it grows with the number of jobs.
 *
 * Every event may arrive late, twice or out of order: watermarks and cumulative counts only ever move up.
 */
export type BatchEvent = 'complete' | 'failure' | 'cancelled' | 'settled' | 'idle';
const EVENTS: readonly BatchEvent[] = ['complete', 'failure', 'cancelled', 'settled', 'idle'];
export type BatchStatus = 'pending' | 'running' | BatchOutcome;
export type BatchOutcome = 'complete' | 'failed' | 'cancelled';
const EVENT_OF = { complete: 'complete', failed: 'failure', cancelled: 'cancelled' } as const;

/** Where a batch stands, in jobs. */
export interface BatchProgress {
  readonly status: BatchStatus;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  /** Jobs that were neither complete nor failed when the batch settled, because it was stopped; or in an earlier round. */
  readonly cancelled: number;
  readonly pending: number;
}

/** A callback as the batch knows it: by name, with the options of its `defineCallback`. Times in milliseconds. */
export interface CallbackRegistration {
  readonly event: BatchEvent;
  readonly callback: string;
  readonly taskQueue?: string;
  readonly startToCloseTimeoutMs: number;
  readonly retry: RetryOptions;
}

/** Temporal's `RetryPolicy` with every time in milliseconds. */
export interface RetryOptions {
  readonly initialIntervalMs: number;
  readonly backoffCoefficient: number;
  readonly maximumIntervalMs: number;
  /** Absent means: no limit. */
  readonly maximumAttempts?: number;
  readonly nonRetryableErrorTypes: readonly string[];
}

/** What may change while the batch runs. Durations in milliseconds, times as epoch milliseconds. */
export interface BatchPolicy extends Limits {
  readonly failWhen: 'settled' | 'immediate';
  readonly failWhenFailed: FailurePolicy;
  /** What becomes of the rest once it is certain that the batch fails. */
  readonly afterFailure: 'continue' | 'cancelRemaining';
  /** What has not ended by then is stopped; null: no deadline. */
  readonly deadlineAt: number | null;
  /** What a batch is that was stopped by its deadline. */
  readonly afterDeadline: 'fail' | 'cancel';
  /** An alert is due when no job has ended for so long; null: never. */
  readonly alertAfterIdleMs: number | null;
}

/** Options of a batch, resolved: the client filled in the defaults. */
export interface BatchSettings extends BatchPolicy {
  /** Whether the end of the one block seals the batch. If not, it is open until somebody seals it. */
  readonly autoSeal: boolean;
  /** A block from which nothing was heard for so long is closed by the batch itself. */
  readonly enrollmentTimeoutMs: number;
  /** A batch whose block was never opened ends after so long, and one without auto-seal that was quiet for so long. */
  readonly openTimeoutMs: number;
  /** A job whose name no worker knows fails after so long. */
  readonly unknownJobTimeoutMs: number;
  /** A workflow that is a job is looked at this often, if nobody says that it has ended. Chunks read it in the row. */
  readonly workflowCheckIntervalMs: number;
  /** Continue as new after so many history events at the latest. The server may suggest it earlier. */
  readonly maxHistoryEvents: number;
  /** Id of a workflow that waits for the batch and is told when it is over. */
  readonly notify?: string;
  /** The trace in which it was started, for its jobs and callbacks: see `withActiveTrace`. */
  readonly trace?: Readonly<Record<string, string>>;
  /** Temporal's `Priority`, for the runs of later rounds. */
  readonly priority?: {
    readonly priorityKey?: number;
    readonly fairnessKey?: string;
    readonly fairnessWeight?: number;
  };
}

export interface BatchState {
  readonly enrollment: {
    /** `sealing`: closed, and the row is to say how many jobs there are. */
    readonly phase: 'unopened' | 'open' | 'sealing' | 'sealed';
    /** Whose messages count. All enqueuers of an open-ended batch have the same one. */
    readonly token: string | null;
    /** Whether any number of blocks add jobs until somebody seals the batch. */
    readonly isOpenEnded: boolean;
    /** Counts the processes that opened the block, of which one took it over from the other. */
    readonly openings: number;
    readonly error: string | null;
    readonly timedOut: boolean;
    /** When the enqueuer was last heard, in workflow time. */
    readonly heardAt: number;
  };
  /** Jobs `1..enrolled` are members and have rows. */
  readonly enrolled: number;
  /** What this run of the workflow runs, if it is not the batch's first round. */
  readonly round: Round | null;
  /** A later round whose jobs are not known yet: the mirror opens it. Nothing can be decided meanwhile. */
  readonly isOpeningRound: boolean;
  /** By key (see lanes.ts): how far their jobs were handed to runners. */
  readonly lanes: Readonly<Record<string, Lane>>;
  /** Runners that still run, by id. */
  readonly runners: Readonly<Record<string, Runner>>;
  readonly runnersStarted: number;
  /** Jobs of runners that ended, and of earlier rounds. */
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  /** So many jobs have failed for good, as their rows say; they may not be counted yet. */
  readonly failuresNoticed: number;
  /** A few of the jobs that failed, for people. */
  readonly failedSample: readonly FailedJob[];
  /** What was changed of the settings since the batch was created. */
  readonly changes: Partial<BatchPolicy>;
  readonly isPaused: boolean;
  readonly movement: Movement;
  /** How often it was said that no job had ended for long. */
  readonly alerts: number;
  /** The alert whose callback runs, or ran last: a later one does not start another beside it. */
  readonly calledForAlert: number;
  /** From then on no job starts, and what has not ended is cancelled. Set once. */
  readonly stop: Stop | null;
  /** Counts what runners and workers must hear of: pauses, resumptions, the stop. */
  readonly steering: number;
  /** Up to which number of them the row says so. */
  readonly steeringWritten: number;
  readonly callbacks: Readonly<Partial<Record<BatchEvent, CallbackRegistration>>>;
  /**
   * Set once. Final when it is written: until then it is taken back when the rows show jobs that were not known, for
   * which `decided` could not wait (see `grown`).
   */
  readonly outcome: BatchOutcome | null;
  readonly written: {
    readonly created: boolean;
    readonly sealed: boolean;
    readonly outcome: boolean;
    readonly settled: boolean;
    /** Of a batch that was stopped: its workflows were asked to cancel. */
    readonly workflowsCancelled: boolean;
  };
  /** Events that were fired, or can no longer fire. */
  readonly closedEvents: readonly BatchEvent[];
  /** Events whose callback a workflow of its own runs: see `fire` in batch.ts. */
  readonly firing: readonly BatchEvent[];
  /** Events whose callback ran to its end. */
  readonly fired: readonly BatchEvent[];
}

/** What is known of when jobs ended. Workflow time. */
interface Movement {
  /** Jobs that have ended, as was reported or as rows said. */
  readonly ended: number;
  /** When one ended last, or jobs began to wait. */
  readonly movedAt: number;
  /** When the rows were asked last. */
  readonly checkedAt: number;
  /** The `movedAt` for which an alert was given. */
  readonly alertedFor: number | null;
}

/** What a batch's row says of its jobs: `1..total` have rows, and are on these task queues and the batch's own. */
export interface Growth {
  readonly total: number;
  readonly queues: readonly string[];
}

/** ... and of their enrolment, once it is sealed: why it broke, if it did. */
export interface Sealed extends Growth {
  readonly error: string | null;
}

/** Why a batch was stopped before all its jobs were terminal. */
export interface Stop {
  readonly outcome: 'failed' | 'cancelled';
  readonly reason: string;
  /** How long handlers may go on after they were asked to stop. */
  readonly graceMs: number;
}

/** What the batch's row says of pauses, changes and the stop. */
export interface SteeredRow {
  readonly steering: number;
  readonly stop: Stop | null;
}

export type CancelRequest = Pick<Stop, 'reason' | 'graceMs'>;

/** What runners are told of how the batch stands; a higher number is newer. */
export interface Steering {
  readonly number: number;
  readonly isPaused: boolean;
  readonly isStopped: boolean;
  /** The batch hands out its limits itself: runners end, and hand their ranges back. */
  readonly isLimited: boolean;
}

interface Lane {
  readonly dispatched: number;
  readonly pace?: Pace;
}

interface Runner {
  readonly lane: string;
  readonly from: number;
  readonly to: number;
  readonly inline: boolean;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  /** All that is left of its range runs, or waits for a retry or a start delay. */
  readonly idle: boolean;
}

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
}

/** A range of positions to run, by a child workflow or by the batch workflow itself. */
export interface Assignment extends Pick<Runner, 'lane' | 'from' | 'to' | 'inline'> {
  readonly runner: string;
  readonly pace?: Pace;
}

/** What is left of the range of a runner that ends before it is exhausted. */
export interface ReturnedRange {
  readonly runner: string;
  readonly range: RangeState;
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

/** How long handlers may go on when a batch stops itself. */
export const STOP_GRACE_MS = 10_000;

interface InitialBatch {
  /** Of an open-ended batch, which is open from its creation on. */
  readonly openToken?: string | null;
  /** Names of jobs that have limits of their own, and so lanes of their own. */
  readonly limitedNames?: readonly string[];
}

export function initialBatch(
  now: number,
  { openToken = null, limitedNames: names = [] }: InitialBatch = {},
): BatchState {
  const isOpenEnded = openToken !== null;
  return {
    enrollment: {
      phase: isOpenEnded ? 'open' : 'unopened',
      token: openToken,
      isOpenEnded,
      openings: 0,
      error: null,
      timedOut: false,
      heardAt: now,
    },
    enrolled: 0,
    round: null,
    isOpeningRound: false,
    lanes: newLanes(laneKeysOf(OWN_LANE, names), 0),
    runners: {},
    runnersStarted: 0,
    ...NO_COUNTS,
    failuresNoticed: 0,
    failedSample: [],
    changes: {},
    isPaused: false,
    movement: { ended: 0, movedAt: now, checkedAt: now, alertedFor: null },
    alerts: 0,
    calledForAlert: 0,
    stop: null,
    steering: 0,
    steeringWritten: 0,
    callbacks: {},
    outcome: null,
    written: { created: false, sealed: false, outcome: false, settled: false, workflowsCancelled: false },
    closedEvents: [],
    firing: [],
    fired: [],
  };
}

/** A run of the workflow that is a later round, before its rows say so: nothing can be enrolled in it. */
export function initialRound(
  callbacks: readonly CallbackRegistration[],
  now: number,
  limitedNames: readonly string[] = [],
): BatchState {
  const state = initialBatch(now, { limitedNames });
  return {
    ...state,
    isOpeningRound: true,
    enrollment: { ...state.enrollment, phase: 'sealed' },
    callbacks: Object.fromEntries(callbacks.map((registration) => [registration.event, registration])),
  };
}

export function newLanes(keys: readonly string[], dispatched: number): BatchState['lanes'] {
  return Object.fromEntries(keys.map((key) => [key, { dispatched }])) as BatchState['lanes'];
}

/** Names of jobs that have lanes of their own. */
export function limitedNames(state: BatchState): string[] {
  return namesOf(Object.keys(state.lanes));
}

/** Why a message is refused: `code` is one of the library's error codes. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/**
 * Whether the block can be opened with this token. The same token twice is a retry, not a second block.
 *
 * @param resume take the block over from the process that has it
 */
export function refuseOpen(state: BatchState, token: string, resume = false): Refusal | undefined {
  const { phase, timedOut, isOpenEnded } = state.enrollment;
  const mayOpen = state.enrollment.token === token || (resume && !isOpenEnded);
  if (phase === 'unopened' || (phase === 'open' && mayOpen)) return undefined;
  if (state.stop) return closedByStop(state.stop);
  if (isOpenEnded && !timedOut) {
    return {
      code: 'BATCH_SEALED',
      message: 'The batch was sealed. Nothing can be added from outside any more.',
    };
  }
  return timedOut
    ? {
        code: 'ENROLLMENT_TIMED_OUT',
        message:
          'The batch closed its block itself after a quiet time; it ends failed. Create another batch.',
      }
    : {
        code: 'ALREADY_ENROLLED',
        message:
          'jobs() was called for this batch before. A batch has one enrolment block; create another batch.',
      };
}

function closedByStop({ reason }: Stop): Refusal {
  return {
    code: 'BATCH_CANCELLED',
    message: `The batch was stopped: ${reason}. Nothing can be enrolled any more.`,
  };
}

export function opened(state: BatchState, token: string, now: number): BatchState {
  const { enrollment } = state;
  const openings = enrollment.token === token ? enrollment.openings : enrollment.openings + 1;
  return { ...state, enrollment: { ...enrollment, phase: 'open', token, openings, heardAt: now } };
}

/** New rows, or a sign of life. Messages of another block, or after the seal, change nothing. */
export function enrolled(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[] },
  now: number,
): BatchState {
  if (state.enrollment.phase !== 'open' || state.enrollment.token !== message.token) return state;
  if (!isWatermark(message)) return state;
  return {
    ...withJobs(state, message),
    enrollment: { ...state.enrollment, heardAt: now },
  };
}

/** Jobs `1..upTo` are members, and all their task queues are named. */
export function withJobs(
  state: BatchState,
  { upTo, queues }: { upTo: number; queues: readonly string[] },
): BatchState {
  // A queue that is named for the first time has no jobs before the watermark that was known until now. Own keys
  // only, and computed ones: a queue may be named "constructor" or "__proto__".
  let { lanes } = state;
  for (const queue of queues) {
    if (!Object.hasOwn(lanes, queue))
      lanes = { ...lanes, ...newLanes(laneKeysOf(queue, limitedNames(state)), state.enrolled) };
  }
  return { ...state, lanes, enrolled: Math.max(state.enrolled, upTo) };
}

/** Signals come from whoever may send them: one that makes no sense must not do harm. */
export function isWatermark({ upTo, queues }: { upTo: number; queues: readonly string[] }): boolean {
  return isCount(upTo) && Array.isArray(queues) && queues.every(isQueueName);
}

/** Whether the block can be sealed with this message. The same one twice is a retry and gets the same answer. */
export function refuseSeal(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[] },
): Refusal | undefined {
  const { token } = message;
  const { phase, timedOut, isOpenEnded } = state.enrollment;
  if (!isWatermark(message)) {
    return {
      code: 'INVALID_OPTION',
      message: 'The seal must have upTo, a count, and queues, a list of names.',
    };
  }
  if (timedOut) {
    return {
      code: 'ENROLLMENT_TIMED_OUT',
      message:
        `The batch closed ${isOpenEnded ? 'itself, because nothing was heard for openTimeout. ' : 'its block itself, because nothing was heard from this process for enrollmentTimeout. '}` +
        'Jobs enrolled until then run; the batch ends failed.',
    };
  }
  if (state.stop && phase === 'sealed') return closedByStop(state.stop);
  if (phase === 'unopened' || state.enrollment.token !== token) {
    return { code: 'ALREADY_ENROLLED', message: 'Another block of this batch is open or was sealed.' };
  }
  return undefined;
}

export function sealed(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[]; error?: string },
  now: number,
): BatchState {
  if (isClosed(state)) return state;
  const next = enrolled(state, message, now);
  return { ...next, enrollment: { ...closed(next), error: message.error ?? null } };
}

/** Whether enrolment is over; of an open-ended batch the row is to say with how many jobs. */
export function isClosed({ enrollment: { phase } }: BatchState): boolean {
  return phase === 'sealing' || phase === 'sealed';
}

/** What an enqueuer announced may be less than what others have added to an open-ended batch: its row is asked. */
function closed({ enrollment }: BatchState): BatchState['enrollment'] {
  return { ...enrollment, phase: enrollment.isOpenEnded ? 'sealing' : 'sealed' };
}

/** The batch closes the block itself: nobody was heard for too long. */
export function enrollmentTimedOut(state: BatchState, settings: BatchSettings): BatchState {
  const { phase, isOpenEnded } = state.enrollment;
  const wasOpen = phase === 'open' && !isOpenEnded;
  const seconds = (wasOpen ? settings.enrollmentTimeoutMs : settings.openTimeoutMs) / 1000;
  const error = wasOpen
    ? `The enrolment block was not closed: nothing was heard from its process for ${seconds} s (enrollmentTimeout).`
    : isOpenEnded
      ? `The batch was not sealed: nothing was heard of it for ${seconds} s (openTimeout).`
      : `No enrolment block was opened for ${seconds} s (openTimeout).`;
  return { ...state, enrollment: { ...closed(state), timedOut: true, error } };
}

/** How long the block may stay quiet; undefined once it is sealed. */
export function quietTimeMs(state: BatchState, settings: BatchSettings): number | undefined {
  if (isClosed(state)) return undefined;
  const { phase, isOpenEnded } = state.enrollment;
  return phase === 'unopened' || isOpenEnded ? settings.openTimeoutMs : settings.enrollmentTimeoutMs;
}

/** An empty block without an error leaves nothing behind: the batch is to be removed. */
export function isDiscarded(state: BatchState): boolean {
  const { enrollment, enrolled: total, stop } = state;
  return isSealed(state) && total === 0 && enrollment.error === null && stop === null;
}

/** The policy that holds now. */
export function policyOf(state: BatchState, settings: BatchSettings): BatchPolicy {
  const { changes } = state;
  const policy = { ...settings, ...changes };
  if (!changes.jobLimits) return policy;
  return { ...policy, jobLimits: mergeJobLimits(settings.jobLimits, changes.jobLimits) };
}

/** How long a batch that was not stopped has until its deadline; undefined: for ever, or it is over. */
export function timeLeftMs(state: BatchState, settings: BatchSettings, now: number): number | undefined {
  const { deadlineAt } = policyOf(state, settings);
  if (deadlineAt === null || state.stop || isSettled(state)) return undefined;
  return Math.max(0, deadlineAt - now);
}

/** How long until its rows are to be asked whether it stands still; undefined: for ever, or until something changes. */
export function idleTimeLeftMs(state: BatchState, settings: BatchSettings, now: number): number | undefined {
  const { alertAfterIdleMs } = policyOf(state, settings);
  const { ended, movedAt, checkedAt } = state.movement;
  if (alertAfterIdleMs === null || state.isPaused || state.stop || ended >= state.enrolled) return undefined;
  return Math.max(0, Math.max(movedAt, checkedAt) + alertAfterIdleMs - now);
}

/** The state with the time of what moved since the one before: jobs ended, the first ones came, or it was resumed. */
export function moved(before: BatchState, state: BatchState, now: number): BatchState {
  const { completed, failed } = terminalCounts(state);
  const ended = Math.max(state.movement.ended, completed + failed);
  const isWaitingAgain =
    (before.isPaused && !state.isPaused) ||
    (before.enrolled <= before.movement.ended && state.enrolled > state.movement.ended);
  if (ended === state.movement.ended && !isWaitingAgain) return state;
  return { ...state, movement: { ...state.movement, ended, movedAt: now } };
}

/**
 * What the rows say when nothing was reported for long: jobs of a chunk may have ended whose others still run.
 *
 * @returns `isAlertDue` once each time that it stands still
 */
export function idleChecked(
  state: BatchState,
  settings: BatchSettings,
  rows: { readonly ended: number; readonly idleMs: number },
  now: number,
): { state: BatchState; isAlertDue: boolean } {
  if (idleTimeLeftMs(state, settings, now) !== 0) return { state, isAlertDue: false };
  const { movement } = state;
  if (rows.ended > movement.ended) {
    const movedAt = now - Math.max(0, rows.idleMs);
    return {
      state: { ...state, movement: { ...movement, ended: rows.ended, movedAt, checkedAt: movedAt } },
      isAlertDue: false,
    };
  }
  const isAlertDue = movement.alertedFor !== movement.movedAt;
  const next = { ...movement, checkedAt: now, alertedFor: movement.movedAt };
  return { state: { ...state, movement: next, alerts: state.alerts + (isAlertDue ? 1 : 0) }, isAlertDue };
}

export function steeringOf(state: BatchState, settings: BatchSettings): Steering {
  const { steering, isPaused, stop } = state;
  const isLimited = hasLimits(policyOf(state, settings));
  return { number: steering, isPaused, isStopped: stop !== null, isLimited };
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

/**
 * Stops the batch: nothing starts any more. A block that is open closes with the jobs that were announced. The first
 * stop wins, and a batch that has settled stays as it is.
 */
export function stopped(state: BatchState, stop: Stop): BatchState {
  if (state.stop || isSettled(state)) return state;
  return {
    ...state,
    stop,
    isPaused: false,
    steering: state.steering + 1,
    enrollment: { ...state.enrollment, phase: 'sealed' },
  };
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

/** The row says more than this workflow has written: writing once more finds out what. See `steeredBefore`. */
function steeringHeardOf(state: BatchState, number = 0): BatchState {
  return number > state.steering ? { ...state, steering: state.steering + 1 } : state;
}

export function isSteeringWritten(state: BatchState): boolean {
  return state.steeringWritten >= state.steering;
}

/** Whether a failed job may matter before its chunk is over. */
export function noticesFailures(state: BatchState, settings: BatchSettings): boolean {
  const { failWhen, afterFailure } = policyOf(state, settings);
  return failWhen === 'immediate' || afterFailure === 'cancelRemaining';
}

/** The deadline is over. */
export function deadlinePassed(state: BatchState, settings: BatchSettings, now: number): BatchState {
  if (timeLeftMs(state, settings, now) !== 0) return state;
  const { afterDeadline, deadlineAt } = policyOf(state, settings);
  return stopped(state, {
    outcome: afterDeadline === 'fail' ? 'failed' : 'cancelled',
    reason: `its deadline has passed (${new Date(deadlineAt!).toISOString()})`,
    graceMs: STOP_GRACE_MS,
  });
}

/** Hands out what can be run now. Each position of a lane is handed out once. */
export function assignRanges(
  state: BatchState,
  settings: BatchSettings,
): { state: BatchState; assignments: Assignment[] } {
  if (state.isPaused || state.stop) return { state, assignments: [] };
  const maxInlineChunks = Math.floor(settings.maxHistoryEvents / EVENTS_PER_INLINE_CHUNK);
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
          [runner]: { lane, from, to, inline, ...NO_COUNTS, idle: false },
        },
      };
    }
  }
  return { state: next, assignments };
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
  if (!runner || !isPlausible(report, runner.to - runner.from + 1)) return before;
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

function sum(counts: readonly Counts[]): Counts {
  let { completed, failed, cancelled } = NO_COUNTS;
  for (const part of counts) {
    completed += part.completed;
    failed += part.failed;
    cancelled += part.cancelled;
  }
  return { completed, failed, cancelled };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/** Whether runners of their own workflows still run: each one ends, or hands its range back. */
export function hasChildRunners(state: BatchState): boolean {
  return Object.values(state.runners).some(({ inline }) => !inline);
}

/**
 * A runner has ended and left its range to the batch. What comes twice, or of a runner that was lost meanwhile, changes
 * nothing.
 *
 * @returns the range to go on with, if it is to
 */
export function rangeReturned(
  state: BatchState,
  { runner: id, range }: ReturnedRange,
): { state: BatchState; assignment?: Assignment } {
  const runner = Object.hasOwn(state.runners, id) ? state.runners[id] : undefined;
  if (!runner || runner.inline || !isRangeOf(range, runner)) return { state };
  const { lane, from, to } = runner;
  return {
    state: { ...state, runners: { ...state.runners, [id]: { ...runner, inline: true } } },
    assignment: { runner: id, lane, from, to, inline: true },
  };
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
  const { lane, from, to } = lost;
  const inline = lost.inline || isLimited;
  return {
    state: {
      ...state,
      runnersStarted: state.runnersStarted + 1,
      runners: { ...others, [runner]: { ...lost, inline, ...NO_COUNTS, idle: false } },
    },
    assignment: { runner, lane, from, to, inline },
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

/** Counts again from the rows: what is terminal is counted without being run, what is not runs. */
export function recounted(state: BatchState): BatchState {
  const lanes = Object.entries(state.lanes).map(([lane, { pace }]) => [
    lane,
    { dispatched: 0, ...(pace ? { pace } : {}) },
  ]);
  const counts = state.round?.others ?? NO_COUNTS;
  return { ...state, ...counts, lanes: Object.fromEntries(lanes) as BatchState['lanes'] };
}

/** How many jobs ended how, running ranges included. */
export function terminalCounts(state: BatchState): Counts {
  return sum([state, ...Object.values(state.runners)]);
}

/** What the rows say at the end of a batch that was stopped: a lost chunk may have written more than it reported. */
export function counted(
  state: BatchState,
  { completed, failed, total }: { completed: number; failed: number; total: number },
): BatchState {
  return { ...state, runners: {}, completed, failed, enrolled: total };
}

/** Jobs failed for good, ahead of their chunks' reports. */
export function failuresNoticed(state: BatchState, { failed }: { failed: number }): BatchState {
  if (!isCount(failed) || failed > state.enrolled) return state;
  return { ...state, failuresNoticed: Math.max(state.failuresNoticed, failed) };
}

/** Whether it is known which jobs the batch has, or this round of it. */
function isSealed({ enrollment, isOpeningRound }: BatchState): boolean {
  return enrollment.phase === 'sealed' && !isOpeningRound;
}

/** Whether the block is sealed and every job is terminal: of a batch that was stopped, none runs any more. */
export function isSettled(state: BatchState): boolean {
  const { completed, failed, cancelled } = terminalCounts(state);
  const isOver = state.stop !== null && Object.keys(state.runners).length === 0;
  return isSealed(state) && (isOver || completed + failed + cancelled >= state.enrolled);
}

/**
 * Decides the outcome, once. Never before the block is sealed. `failWhen: 'immediate'` needs no more than it being
 * certain: too many failed jobs, or a broken enrolment; otherwise all jobs are waited for. A batch that is cancelled is
 * so at once.
 */
export function decided(state: BatchState, settings: BatchSettings): BatchState {
  if (state.outcome !== null || !isSealed(state)) return state;
  if (state.stop?.outcome === 'cancelled') return { ...state, outcome: 'cancelled' };
  const { failWhen, afterFailure } = policyOf(state, settings);
  const failure = failureOf(state, settings);
  if (failure === undefined) {
    // 'complete' would say that every job has succeeded.
    const outcome = terminalCounts(state).cancelled > 0 ? 'cancelled' : 'complete';
    return isSettled(state) ? { ...state, outcome } : state;
  }
  const next =
    afterFailure === 'cancelRemaining'
      ? stopped(state, { outcome: 'failed', reason: failure, graceMs: STOP_GRACE_MS })
      : state;
  return failWhen === 'immediate' || isSettled(next) ? { ...next, outcome: 'failed' } : next;
}

/** Why the batch fails, whatever its other jobs do; undefined as long as that is open. */
function failureOf(state: BatchState, settings: BatchSettings): string | undefined {
  const { failWhenFailed } = policyOf(state, settings);
  if (state.enrollment.error !== null) return 'its enrolment broke';
  const failed = Math.max(terminalCounts(state).failed, state.failuresNoticed);
  if (isExceeded(failWhenFailed, failed, state.enrolled))
    return `too many jobs failed (failWhenFailed: ${describePolicy(failWhenFailed)})`;
  return state.stop?.outcome === 'failed' ? state.stop.reason : undefined;
}

/** Whether a callback can be registered. The same one twice is a retry, not a second callback. */
export function refuseRegistration(
  state: BatchState,
  registration: CallbackRegistration,
): Refusal | undefined {
  const { event, callback, startToCloseTimeoutMs, retry } = registration;
  const isWellFormed =
    EVENTS.includes(event) &&
    typeof callback === 'string' &&
    callback !== '' &&
    startToCloseTimeoutMs > 0 &&
    typeof retry === 'object' &&
    retry !== null;
  if (!isWellFormed) {
    return { code: 'INVALID_OPTION', message: 'The registration is not one that defineCallback makes.' };
  }
  const existing = state.callbacks[event];
  if (existing?.callback === callback) return undefined;
  if (state.closedEvents.includes(event)) {
    return {
      code: 'BATCH_SETTLED',
      message: `The batch is ${state.outcome ?? 'over'}: '${event}' has fired or can no longer fire. Register callbacks before.`,
    };
  }
  if (existing) {
    return {
      code: 'CALLBACK_ALREADY_REGISTERED',
      message: `'${event}' has the callback "${existing.callback}". A batch has one callback an event; call both from one.`,
    };
  }
  return undefined;
}

export function registered(state: BatchState, registration: CallbackRegistration): BatchState {
  return { ...state, callbacks: { ...state.callbacks, [registration.event]: registration } };
}

/** The event of an outcome. */
export function eventOf(outcome: BatchOutcome): BatchEvent {
  return EVENT_OF[outcome];
}

/** The events of the outcomes that the batch does not have. */
export function eventsThatNeverFire(outcome: BatchOutcome): BatchEvent[] {
  return Object.values(EVENT_OF).filter((event) => event !== eventOf(outcome));
}

/** No callback can be registered for these any more. */
export function eventsClosed(state: BatchState, events: readonly BatchEvent[]): BatchState {
  return { ...state, closedEvents: [...new Set([...state.closedEvents, ...events])] };
}

/** A workflow of its own runs the event's callback. */
export function firing(state: BatchState, event: BatchEvent): BatchState {
  const calledForAlert = event === 'idle' ? state.alerts : state.calledForAlert;
  return { ...state, calledForAlert, firing: [...new Set([...state.firing, event])] };
}

/** The event's callback returned, or failed for good. */
export function fired(state: BatchState, event: BatchEvent): BatchState {
  return {
    ...state,
    firing: state.firing.filter((other) => other !== event),
    // An alert may be given again.
    fired: event === 'idle' ? state.fired : [...new Set([...state.fired, event])],
  };
}

export function wrote(state: BatchState, what: keyof BatchState['written']): BatchState {
  return { ...state, written: { ...state.written, [what]: true } };
}

export function progressOf(state: BatchState): BatchProgress {
  const { completed, failed } = terminalCounts(state);
  const left = state.enrolled - completed - failed;
  const cancelled = isSettled(state) ? left : (state.round?.cancelled ?? 0);
  return {
    status: state.outcome ?? (state.enrollment.phase === 'sealed' ? 'running' : 'pending'),
    total: state.enrolled,
    complete: completed,
    failed,
    cancelled,
    pending: left - cancelled,
  };
}
