import { describePolicy, isExceeded, type FailurePolicy } from './failure-policy.ts';
import type { FailedJob } from './failed-sample.ts';
import { isQueueName, laneKeysOf, namesOf, OWN_LANE } from './lanes.ts';
import { mergeJobLimits, type Limits } from './limits.ts';
import type { Pace } from './pacing.ts';
import { NO_COUNTS, type Counts, type Round } from './rounds.ts';
import { waitMs } from './timeouts.ts';

/**
 * The rules of a batch: pure functions from state and event to new state, without a Temporal import. The state is
 * plain JSON and bounded: it travels through continue-as-new, and nothing in it grows with the number of jobs.
 *
 * Every event may arrive late, twice or out of order: watermarks and cumulative counts only ever move up.
 */
export type BatchEvent = 'complete' | 'failure' | 'cancelled' | 'settled' | 'idle';
export const BATCH_EVENTS: readonly BatchEvent[] = ['complete', 'failure', 'cancelled', 'settled', 'idle'];
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
  /** As the row says: why jobs failed that never ran; absent: there are none. */
  readonly reason?: string;
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

/** Default of `maxHistoryEvents`. */
export const CONTINUE_AS_NEW_AFTER_EVENTS = 4_000;

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
    /**
     * The batch's first run, with which the token of its block begins: what is late, of an earlier batch of this id,
     * opens nothing. Null in a later round, which has no block.
     */
    readonly runId: string | null;
    /** Whether any number of blocks add jobs until somebody seals the batch. */
    readonly isOpenEnded: boolean;
    /**
     * Counts the processes that opened the block, of which one took it over from the other. The first one opens it in
     * the row.
     */
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

interface Lane {
  readonly dispatched: number;
  readonly pace?: Pace;
}

export interface Runner {
  readonly lane: string;
  readonly from: number;
  readonly to: number;
  readonly inline: boolean;
  readonly completed: number;
  readonly failed: number;
  readonly cancelled: number;
  /** All that is left of its range runs, or waits for a retry or a start delay. */
  readonly idle: boolean;
  /** Its positions, where it does not have all from `from` to `to`. See `formatSpans`. */
  readonly spans?: string;
  /** How often it gave back a part of its range. Its reports count the jobs of what it kept. */
  readonly returns: number;
}

interface InitialBatch {
  /** The batch's first run. */
  readonly runId?: string | null;
  /** Such a batch is open from its creation on, and who knows its run writes to it. */
  readonly isOpenEnded?: boolean;
  /** Names of jobs that have limits of their own, and so lanes of their own. */
  readonly limitedNames?: readonly string[];
  readonly callbacks?: readonly CallbackRegistration[];
}

export function initialBatch(
  now: number,
  { runId = null, isOpenEnded = false, limitedNames: names = [], callbacks = [] }: InitialBatch = {},
): BatchState {
  return {
    enrollment: {
      phase: isOpenEnded ? 'open' : 'unopened',
      token: isOpenEnded ? runId : null,
      runId,
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
    callbacks: Object.fromEntries(callbacks.map((registration) => [registration.event, registration])),
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
  const state = initialBatch(now, { limitedNames, callbacks });
  return { ...state, isOpeningRound: true, enrollment: { ...state.enrollment, phase: 'sealed' } };
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

/** Whether the batch's one block can be taken over. */
export function refuseOpen(state: BatchState): Refusal | undefined {
  const { phase, timedOut, isOpenEnded } = state.enrollment;
  if (isOpenEnded) {
    return { code: 'ALREADY_ENROLLED', message: 'An open-ended batch has no single block to take over.' };
  }
  if (phase === 'unopened' || phase === 'open') return undefined;
  if (state.stop) return closedByStop(state.stop);
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

function closedByStop({ outcome, reason }: Stop): Refusal {
  return {
    code: outcome === 'failed' ? 'BATCH_FAILED' : 'BATCH_CANCELLED',
    message: `The batch was stopped: ${reason}. Nothing can be enrolled any more.`,
  };
}

/** The process that has the block was heard. */
export function opened(state: BatchState, token: string, now: number): BatchState {
  const { enrollment } = state;
  const openings = Math.max(1, enrollment.openings);
  return { ...state, enrollment: { ...enrollment, phase: 'open', token, openings, heardAt: now } };
}

/**
 * Another process has the block from now on. The one before may have opened it and not been heard yet. With the token
 * that the batch knows, as all have of an open-ended one, it is only heard again.
 */
export function takenOver(state: BatchState, token: string, now: number): BatchState {
  const { enrollment, ...rest } = opened(state, token, now);
  const openings = enrollment.openings + (state.enrollment.token === token ? 0 : 1);
  return { ...rest, enrollment: { ...enrollment, openings } };
}

/** Whether a message is of the block, which its first message opens: that it has the block is in the row. */
function isOfBlock({ enrollment: { phase, token, runId } }: BatchState, message: { token: string }): boolean {
  if (phase !== 'unopened') return token === message.token;
  return runId !== null && typeof message.token === 'string' && message.token.startsWith(`${runId}/`);
}

/** New rows, or a sign of life. Messages of another block, or after the seal, change nothing. */
export function enrolled(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[] },
  now: number,
): BatchState {
  if (isClosed(state) || !isOfBlock(state, message) || !isWatermark(message)) return state;
  return withJobs(opened(state, message.token, now), message);
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
  if (!isOfBlock(state, message)) {
    return { code: 'ALREADY_ENROLLED', message: 'Another block of this batch is open or was sealed.' };
  }
  return undefined;
}

export function sealed(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[]; error?: string },
  now: number,
): BatchState {
  if (isClosed(state)) return sealedAfterStop(state, message);
  const next = enrolled(state, message, now);
  return { ...next, enrollment: { ...closed(next), error: message.error ?? null } };
}

/**
 * A batch was cancelled while no worker was up, and then its block enrolled and sealed: its process was told that these
 * jobs are members. They are, and are cancelled with the others.
 */
function sealedAfterStop(
  state: BatchState,
  message: { token: string; upTo: number; queues: readonly string[] },
): BatchState {
  const { enrollment, stop, written } = state;
  const wasOpen = enrollment.token === null ? { ...enrollment, phase: 'unopened' as const } : enrollment;
  const isMissed = stop !== null && !written.sealed && !enrollment.isOpenEnded;
  if (!isMissed || !isWatermark(message) || !isOfBlock({ ...state, enrollment: wasOpen }, message))
    return state;
  return withJobs(state, message);
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

/**
 * How long until the row of a batch whose block is not known to be open is asked whether it is: its process may have
 * died before it was heard. Ever more rarely, and at last after `openTimeout`.
 */
export function nextBlockLookMs(
  { enrollment: { heardAt } }: BatchState,
  { enrollmentTimeoutMs, openTimeoutMs }: BatchSettings,
  now: number,
): number {
  const age = now - heardAt;
  let lookAt = enrollmentTimeoutMs;
  while (lookAt <= age) lookAt *= 2;
  return Math.max(0, Math.min(lookAt, openTimeoutMs) - age);
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

/** Whether a failed job may matter before its chunk is over. */
export function noticesFailures(state: BatchState, settings: BatchSettings): boolean {
  const { failWhen, afterFailure } = policyOf(state, settings);
  return failWhen === 'immediate' || afterFailure === 'cancelRemaining';
}

export function sum(counts: readonly Counts[]): Counts {
  let { completed, failed, cancelled } = NO_COUNTS;
  for (const part of counts) {
    completed += part.completed;
    failed += part.failed;
    cancelled += part.cancelled;
  }
  return { completed, failed, cancelled };
}

export function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
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
export function isSealed({ enrollment, isOpeningRound }: BatchState): boolean {
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
      ? stopped(state, { outcome: 'failed', reason: failure, graceMs: waitMs('stopGrace') })
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
    BATCH_EVENTS.includes(event) &&
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
