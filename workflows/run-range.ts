import {
  ActivityCancellationType,
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  condition,
  log,
  metricMeter,
  proxyActivities,
  sleep,
  TimeoutFailure,
} from '@temporalio/workflow';
import type { ChunkInput, ChunkShare, HandlerActivities } from '../activities/contract.ts';
import type { ChunkDrainedMessage } from './messages.ts';
import type { ReturnedRange, RunnerReport } from './ranges.ts';
import type { Steering } from './steering.ts';
import { sampled, type FailedJob } from './failed-sample.ts';
import { describeFailure } from './failure.ts';
import { isStraggling } from './history.ts';
import { parseLane } from './lanes.ts';
import type { Share } from './limits.ts';
import { adjustDensity, jobsFor, nextLookMs, positionsFor, windowAfter } from './pacing.ts';
import {
  chunkEnded,
  chunkLeft,
  chunkLost,
  chunkPostponed,
  describeChunk,
  dueCount,
  hasDue,
  initialRange,
  isChunkLeft,
  isDue,
  isExhausted,
  jobsOf,
  nextChunk,
  nextDueAt,
  positionsLeft,
  rushed,
  type Chunk,
  type ChunkReport,
  type RangeState,
} from './range-state.ts';
import { RerunReasons } from './rerun-reasons.ts';
import { forSchema } from './schema.ts';
import { countOf, formatSpans, intersect, parseSpans, subtract, union, type Span } from './spans.ts';
import { waitMs, WORKFLOW_CALLS } from './timeouts.ts';

export interface RangeOptions {
  readonly batchId: string;
  /** Which round of the batch it is, from 1. */
  readonly round: number;
  readonly runner: string;
  /** See lanes.ts. */
  readonly lane: string;
  /** Names of jobs that have lanes of their own. */
  readonly limitedNames: readonly string[];
  readonly unknownJobTimeoutMs: number;
  /** Chunks tell the batch of a job that failed for good before they are over. */
  readonly noticeFailures: () => boolean;
  /** While the batch is paused nothing is dispatched; once it is stopped, what runs is cancelled and the rest left. */
  readonly steering: () => Steering;
  /**
   * When true, nothing new is dispatched and the loop returns once nothing is in flight.
   *
   * @param oldestAt when the oldest chunk in flight was dispatched, in workflow time; undefined: nothing is in flight
   */
  readonly shouldStop: (oldestAt: number | undefined) => boolean;
  /**
   * Gives all but what is in flight to another runner, once, when the range should stop and waits for a slow chunk.
   * Absent: it waits.
   */
  readonly giveBack?: (part: Pick<ReturnedRange, 'range' | 'kept' | 'idle'>) => Promise<void>;
  /** Chunks in flight, whether they still hold jobs that wait or not: a workflow may have 2,000 activities at most. */
  readonly maxInFlight: number;
  /** Hands out the batch's limits; absent: there are none. */
  readonly shares?: RangeShares;
  /** Takes the listener for `chunkDrained` signals of this range. */
  readonly onDrained: (listener: (message: ChunkDrainedMessage) => void) => void;
  /** Takes the listener for positions that are not to wait any more. */
  readonly onRushed: (listener: (spans: readonly Span[]) => void) => void;
  readonly report: (report: RunnerReport) => Promise<void> | void;
  /** Told after each step, with when the oldest chunk in flight was dispatched. */
  readonly onChange: (state: RangeState, oldestAt: number | undefined) => void;
}

/** The batch's limits as a range sees them: what each of its chunks may take of them. See `Shares`. */
export interface RangeShares {
  readonly isLimited: () => boolean;
  /** @returns undefined: not now */
  readonly take: (chunk: number) => Share | undefined;
  /** Whether `take` would give one. */
  readonly isFree: () => boolean;
  /** The range asks again, or has nothing to ask for. */
  readonly rest: () => void;
  readonly reduce: (chunk: number, running: number) => void;
  readonly release: (chunk: number, hasStarted: boolean) => void;
}

const NO_LIMIT: Share = {};

/**
 * Runs a range of jobs by chunk activities, several in flight: wiring between the rules in range-state.ts and
 * Temporal. Used by the runner workflow, and by the batch workflow for small ranges.
 *
 * @returns the state where it stopped: exhausted, or what is left, for the next run after continue-as-new or because
 * the batch was stopped
 */
export async function runRange(initial: RangeState, options: RangeOptions): Promise<RangeState> {
  let state = initial;
  /** The chunks that run, by their numbers, oldest first; and the numbers of those whose jobs have all started. */
  const inFlight = new Map<number, { readonly chunk: Chunk; readonly dispatchedAt: number }>();
  const drained = new Set<number>();
  let wake = true;
  let timerAt = Infinity;
  let reportedAt = 0;
  let reported = {
    completed: 0,
    failed: 0,
    idle: false,
    steering: 0,
    knowsPace: initial.pace.jobMs !== undefined,
  };
  /** Number of the newest change that chunks have found in the batch's row. They give everything back until it is known. */
  let steeringFound = 0;
  /** Jobs are due, and wait for a part of the batch's limits. */
  let isShort = false;
  let restsUntil = 0;
  let hasGivenBack = false;
  const { queue, name } = parseLane(options.lane);
  const { shares, limitedNames } = options;
  const activities = activitiesFor(queue);
  const chunks = new CancellationScope();
  const reasons = new RerunReasons();
  /** This workflow's worker has opened another schema: Temporal is not to hand it the chunks at once. */
  let isElsewhere = false;
  /** Some of the jobs that failed, and those of them that the batch was told of. */
  let sample: readonly FailedJob[] = [];
  let toldSample: readonly FailedJob[] = [];

  const nextNumber = () => (state.newestChunk ?? 0) + 1;
  const flying = () => union([...inFlight.values()].map(({ chunk }) => chunk.spans));
  const oldestAt = () => inFlight.values().next().value?.dispatchedAt;

  // Timers are not cancelled when something else wakes the loop: an event less for each, and a late one is harmless.
  const wakeAt = (time: number) => {
    if (time >= timerAt) return;
    timerAt = time;
    void sleep(Math.max(1, time - Date.now()), { summary: 'Until retries or a report are due' }).then(() => {
      if (timerAt === time) timerAt = Infinity;
      wake = true;
    });
  };

  // Called at once with what came before the first task.
  options.onDrained(({ chunk: number, running, left }) => {
    const flight = inFlight.get(number);
    if (!flight) return;
    drained.add(number);
    shares?.reduce(number, running);
    if (isChunkLeft(left)) {
      state = chunkLeft(state, flight.chunk, left, Date.now());
      const spans = subtract(flight.chunk.spans, positionsLeft(left));
      inFlight.set(number, { ...flight, chunk: { ...flight.chunk, spans } });
    }
    wake = true;
  });

  /** Of chunks that run: a look may have come too early to see what it is to see. */
  let rushedInFlight: readonly Span[] = [];
  options.onRushed((spans) => {
    state = rushed(state, spans, Date.now());
    rushedInFlight = union([rushedInFlight, intersect(flying(), spans)]);
    wake = true;
  });

  const run = async (dispatched: Chunk, share: ChunkShare | undefined) => {
    const number = nextNumber();
    state = { ...state, newestChunk: number };
    inFlight.set(number, { chunk: dispatched, dispatchedAt: Date.now() });
    // Without what it has left to others by then.
    const ended = () => inFlight.get(number)!.chunk;
    let hasStarted = true;
    try {
      const { spans, losses, unknownSince } = dispatched;
      const unknownFor = unknownSince === undefined ? 0 : Date.now() - unknownSince;
      const input: ChunkInput = {
        batchId: options.batchId,
        round: options.round,
        runner: options.runner,
        chunk: number,
        spans: formatSpans(spans),
        taskQueue: queue,
        ...(name === null ? {} : { name }),
        ...(name === null && limitedNames.length > 0 ? { otherNames: limitedNames } : {}),
        ...(share ? { share } : {}),
        careful: losses === 2,
        noticeFailures: options.noticeFailures(),
        failUnknown: unknownSince !== undefined && unknownFor >= options.unknownJobTimeoutMs,
        ...(unknownSince === undefined ? {} : { unknownForMs: unknownFor }),
        steering: options.steering().number,
      };
      const overrides = {
        summary: describeChunk(dispatched, reasons.of(spans)),
        ...(share && queue !== null ? { scheduleToStartTimeout: waitMs('untakenChunk') } : {}),
        ...(isElsewhere ? { allowEagerDispatch: false } : {}),
      };
      const report = await chunks.run(() =>
        activities.runChunk.executeWithOptions(overrides, [forSchema(input)]),
      );
      hasStarted = report.timing.ran > 0;
      state = chunkEnded(state, ended(), report, Date.now());
      if (rushedInFlight.length > 0) {
        state = rushed(state, intersect(spans, rushedInFlight), Date.now());
        rushedInFlight = subtract(rushedInFlight, spans);
      }
      if (report.sample) sample = sampled(sample, report.sample);
      steeringFound = Math.max(steeringFound, report.steering ?? 0);
      noteReruns(reasons, report);
      if (share) {
        const pace = adjustDensity(state.pace, jobsOf(report), countOf(spans));
        state = { ...state, pace };
      }
    } catch (error) {
      if (isUntaken(error)) {
        hasStarted = false;
        restsUntil = Date.now() + waitMs('untakenQueue');
        wakeAt(restsUntil);
      }
      isElsewhere ||= isOfOtherSchema(error);
      // Of a batch that was stopped, nothing runs again.
      if (!options.steering().isStopped) state = afterFailure(state, ended(), error, options.batchId);
      reasons.note(dispatched.spans, describeLoss(error));
    } finally {
      inFlight.delete(number);
      drained.delete(number);
      shares?.release(number, hasStarted);
      wake = true;
    }
  };

  /**
   * Not in the task that scheduled them. Temporal never hears of an activity that is cancelled in its own task: nothing
   * in the history says when its end was told to the workflow, before or after a local activity's, and a replay tells it
   * at another place. When the timer fires, they are in the history.
   */
  let isCancelling = false;
  const cancelChunks = () => {
    if (isCancelling) return;
    isCancelling = true;
    void sleep(1, { summary: 'Then cancels the chunks' }).then(() => chunks.cancel());
  };

  // All that is left runs, or waits for a time to come: ranges behind this one need not wait with it.
  const isIdle = () => inFlight.size === drained.size && !hasDue(state);

  const isBehind = () => steeringFound > options.steering().number;

  const report = async (ended: boolean) => {
    reportedAt = Date.now();
    const { completed, failed, cancelled, pace } = state;
    const idle = isIdle();
    const steering = isBehind() ? { steering: steeringFound } : {};
    reported = { completed, failed, idle, steering: steeringFound, knowsPace: pace.jobMs !== undefined };
    const news = sample.filter((job) => !toldSample.includes(job));
    toldSample = sample;
    await options.report({
      runner: options.runner,
      completed,
      failed,
      cancelled,
      ...(news.length > 0 ? { sample: news } : {}),
      idle,
      ended,
      pace,
      ...steering,
    });
  };

  /** What is in flight ends in this run. What it leaves to be retried stays here, too. */
  const giveBack = async () => {
    const part = { range: state, kept: formatSpans(flying()), idle: inFlight.size === drained.size };
    hasGivenBack = true;
    // At once: what ends while the message is sent is not in it.
    state = { ...state, ...initialRange([], state.pace) };
    reported = { ...reported, completed: 0, failed: 0, idle: part.idle };
    await options.giveBack!(part);
  };

  const startedAt = Date.now();
  const hasRoom = () => {
    if (shares?.isLimited()) return inFlight.size < options.maxInFlight;
    const window = windowAfter(state.pace, Date.now() - startedAt);
    return inFlight.size - drained.size < window && inFlight.size < options.maxInFlight;
  };

  const mayDispatch = () => {
    const { isPaused, isStopped } = options.steering();
    if (isPaused || isStopped || isBehind()) return false;
    return !options.shouldStop(oldestAt()) && Date.now() >= restsUntil && hasRoom();
  };

  for (;;) {
    wake = false;
    const { number, isStopped } = options.steering();
    if (isStopped && inFlight.size > 0) cancelChunks();
    isShort = false;
    shares?.rest();
    while (isDue(state, Date.now()) && mayDispatch()) {
      const share = shares ? shares.take(nextNumber()) : NO_LIMIT;
      if (!share) {
        isShort = true;
        break;
      }
      const { pace } = state;
      const isLimited = shares?.isLimited() ?? false;
      const jobs = isLimited ? jobsFor(pace, share, dueCount(state)) : pace.size;
      const next = nextChunk(state, Date.now(), isLimited ? positionsFor(pace, jobs) : pace.size)!;
      state = next.state;
      void run(next.chunk, isLimited ? { ...share, maxJobs: jobs } : undefined);
    }
    const oldest = oldestAt();
    options.onChange(state, oldest);
    const isDraining = oldest !== undefined && !isStopped && options.shouldStop(oldest);
    if (isDraining && !isStraggling(oldest)) wakeAt(oldest + waitMs('drain'));
    else if (isDraining && options.giveBack && !hasGivenBack && !isExhausted(state)) {
      await giveBack();
      continue;
    }
    if (inFlight.size === 0 && (isStopped || isExhausted(state))) {
      await report(true);
      return state;
    }
    if (inFlight.size === 0 && options.shouldStop(undefined)) {
      await report(false);
      return state;
    }
    if (isIdle() !== reported.idle || (isBehind() && reported.steering !== steeringFound)) {
      await report(false);
    } else if (state.completed !== reported.completed || state.failed !== reported.failed) {
      // The first failure at once: with failWhen 'immediate' it decides the batch. And how long jobs take, so that
      // the next range need not find out for itself.
      const isNews =
        (reported.failed === 0 && state.failed > 0) ||
        (!reported.knowsPace && state.pace.jobMs !== undefined);
      const { reportIntervalMs } = options.steering();
      if (isNews || Date.now() - reportedAt >= reportIntervalMs) await report(false);
      else wakeAt(reportedAt + reportIntervalMs);
    }
    const lookMs = hasDue(state) ? nextLookMs(state.pace, Date.now() - startedAt) : undefined;
    if (lookMs !== undefined) wakeAt(startedAt + lookMs);
    const dueAt = nextDueAt(state);
    if (dueAt !== undefined) wakeAt(dueAt);
    await condition(
      () =>
        wake ||
        options.steering().number !== number ||
        (inFlight.size === 0 && options.shouldStop(undefined)) ||
        (isShort && shares!.isFree()),
    );
  }
}

/** Says of the jobs that are to run again why. */
function noteReruns(reasons: RerunReasons, { delayed, remaining, retried }: ChunkReport): void {
  reasons.note(
    union(delayed.map(([, spans]) => parseSpans(spans))),
    retried ? `${retried.errorClass}: ${retried.message}` : 'what they waited for is due',
  );
  reasons.note(parseSpans(remaining), 'they were given back before they had ended');
}

/** Why a chunk ended without a report. */
function describeLoss(error: unknown): string {
  if (isUntaken(error)) return 'no worker took them up';
  const { errorClass, message } = describeFailure(error);
  return `${errorClass}: ${message}`;
}

/** A worker with another database or schema was given the chunk: see activities/schema-guard.ts. */
function isOfOtherSchema(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.type === 'DATABASE_MISMATCH';
}

/** No worker took the chunk up. */
function isUntaken(error: unknown): boolean {
  return (
    error instanceof ActivityFailure &&
    error.cause instanceof TimeoutFailure &&
    error.cause.timeoutType === 'SCHEDULE_TO_START'
  );
}

function afterFailure(state: RangeState, chunk: Chunk, error: unknown, batchId: string): RangeState {
  if (isUntaken(error)) return chunkPostponed(state, chunk, Date.now(), waitMs('untakenQueue'));
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) {
    log.warn('A chunk was lost with its worker', {
      batchId,
      jobs: formatSpans(chunk.spans),
      timeout: cause.timeoutType,
    });
    metricMeter
      .createCounter('batch_chunks_lost', 'chunks', 'Chunks whose worker died or hung: their jobs run again')
      .add(1);
    return chunkLost(state, chunk);
  }
  const message = cause instanceof ApplicationFailure ? `${cause.type}: ${cause.message}` : String(cause);
  log.warn('A chunk could not run; trying again', {
    batchId,
    jobs: formatSpans(chunk.spans),
    error: message,
  });
  return chunkPostponed(state, chunk, Date.now(), waitMs('postponedChunk'));
}

function activitiesFor(queue: string | null) {
  return proxyActivities<HandlerActivities>({
    ...(queue === null ? {} : { taskQueue: queue }),
    startToCloseTimeout: WORKFLOW_CALLS.chunk,
    heartbeatTimeout: waitMs('heartbeat'),
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    // One attempt: what is to be done after a loss is decided here, with what is known of the jobs.
    retry: { maximumAttempts: 1 },
  });
}
