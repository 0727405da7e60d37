import {
  allHandlersFinished,
  ApplicationFailure,
  condition,
  continueAsNew,
  log,
  metricMeter,
  setCurrentDetails,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import * as rules from './rules.ts';
import type { Assignment } from './ranges.ts';
import type { BatchEvent, BatchSettings, BatchState, CallbackRegistration, Refusal } from './batch-state.ts';
import { batchCallback } from './callback.ts';
import {
  OUTLIVES_RUN,
  runnerWorkflowId,
  startWatched,
  tell,
  tellEnd,
  tellRushed,
  watchChildOfEarlierRun,
  type ChildOfEarlierRun,
} from './children.ts';
import { batchDetails, callbackSummary, runnerSummary } from './details.ts';
import { gatherMs, NONE_ENDED, takeEnded, workflowsEnded } from './ended-workflows.ts';
import { isHistoryFull, isHistoryLong, isStraggling, reportIntervalMs } from './history.ts';
import { onSignal, refuseIf, shielded, untilTrue } from './handlers.ts';
import { parseLane } from './lanes.ts';
import { isLimitedFor, Shares, type Asker } from './limits.ts';
import * as messages from './messages.ts';
import { fence, mirror } from './mirror.ts';
import { decidedBefore, endingOf, grown, jobsAdded, wroteEnding, wroteSeal } from './more-jobs.ts';
import { callbackWorkflowId } from './names.ts';
import { initialRange, isExhausted, type RangeState } from './range-state.ts';
import { callbackFailed, runCallback } from './run-callback.ts';
import * as rounds from './rounds.ts';
import type { RoundRequest } from './rounds.ts';
import { openRound } from './open-round.ts';
import { runRange, type RangeShares } from './run-range.ts';
import { batchRunner } from './runner.ts';
import { describeFailure } from './failure.ts';
import { forSchema, workFor, type ForSchema } from './schema.ts';
import { clip, formatSpans, parseSpans, type Span } from './spans.ts';
import { requestCancellations } from './cancel-workflow-jobs.ts';
import { waitMs } from './timeouts.ts';

export interface BatchInput extends ForSchema {
  readonly batchId: string;
  readonly description: string;
  readonly context: unknown;
  /** The batch whose code created this one. */
  readonly parentBatchId?: string;
  /** The other options, as `create` compares them; not of a later round. */
  readonly definition?: Readonly<Record<string, unknown>>;
  /** With which it is created; those of a later round come with that. */
  readonly callbacks?: readonly CallbackRegistration[];
  readonly settings: BatchSettings;
  /** Set where this is not the batch's first round. */
  readonly round?: RoundRequest;
  /** Set by continue-as-new. */
  readonly carried?: Carried;
}

interface Carried {
  readonly state: BatchState;
  readonly inline: readonly InlineRange[];
  /** When children of earlier runs were asked last whether they are there, by workflow id. */
  readonly askedAt: Readonly<Record<string, number>>;
  /** How often runners of earlier runs report. */
  readonly reportIntervalMs: number;
}

export interface BatchResult extends rules.BatchProgress {
  readonly enrollmentError: string | null;
  /** The block was empty: the batch left no row behind. */
  readonly discarded: boolean;
}

interface InlineRange {
  readonly assignment: Assignment;
  readonly range: RangeState;
}

/** Of each range that runs here. Temporal lets a workflow have 2,000 activities, and there may be several ranges. */
const MAX_INLINE_IN_FLIGHT = 400;

const DRAIN_TIMER = { summary: 'Then treats chunks in flight as slow, and goes on beside them' };
const QUIET_TIMER = { summary: 'Closes the enrolment if nothing is heard' };

/**
 * One batch, from its creation to its callbacks. Messages change the state through the rules in rules.ts; the
 * function below waits for what the state says and writes it to the mirror.
 */
export async function batch(input: BatchInput): Promise<BatchResult> {
  return shielded(() => runBatch(input));
}

async function runBatch(input: BatchInput): Promise<BatchResult> {
  const { batchId, settings, callbacks = [] } = input;
  workFor(input.schema);
  const { firstExecutionRunId, startTime } = workflowInfo();
  const round = input.round?.number ?? 1;
  const names = Object.keys(settings.jobLimits);
  let state =
    input.carried?.state ??
    (input.round
      ? rules.initialRound(input.round.callbacks, Date.now(), names)
      : rules.initialBatch(Date.now(), {
          runId: firstExecutionRunId,
          isOpenEnded: !settings.autoSeal,
          limitedNames: names,
          callbacks,
        }));
  const limitedNames = rules.limitedNames(state);
  const limits = () => rules.policyOf(state, settings);
  const shares = new Shares(input.carried ? Date.now() : -Infinity);
  const inline = new Map<string, InlineRange>();
  /** Of ranges that run here: when the oldest chunk in flight was dispatched. */
  const oldestAt = new Map<string, number>();
  const inlineRunning = new Set<string>();
  const earlierChildren: ChildOfEarlierRun[] = [];
  const drainedListeners = new Map<string, (message: messages.ChunkDrainedMessage) => void>();
  const rushedListeners = new Map<string, (spans: readonly Span[]) => void>();
  let ended = NONE_ENDED;
  let isLookingUp = false;
  let isCancellingWorkflows = false;
  let startingChildren = 0;
  let registering = 0;
  let isEnding = false;
  let isRecounting = false;
  let isSteering = false;
  /** How often runners were told to report. */
  let toldIntervalMs = input.carried?.reportIntervalMs ?? rules.REPORT_INTERVAL_MS;
  let refusal: Refusal | undefined;

  const start = (
    assignment: Assignment,
    range = initialRange(rules.positionsOf(state, assignment), assignment.pace),
  ) => {
    void shielded(() =>
      assignment.inline ? runInline({ assignment, range }) : startRunner(assignment, range),
    );
  };
  const assign = (mayRunInline: boolean) => {
    const { state: dispatched, assignments } = rules.assignRanges(state, settings, mayRunInline);
    state = dispatched;
    for (const assignment of assignments) start(assignment);
  };
  const apply = (next: BatchState) => {
    state = rules.decided(rules.moved(state, next, Date.now()), settings);
    if (!wantsContinueAsNew()) assign(true);
    setCurrentDetails(batchDetails(input, state));
    if (rules.isStranded(state) && !isRecounting) void shielded(recount);
    if (state.written.created && !rules.isSteeringWritten(state) && !isSteering) void shielded(steer);
  };

  onSignal(messages.enrolledSignal, (message) => {
    const isSeal =
      'sealed' in message && (state.stop !== null || rules.refuseSeal(state, message) === undefined);
    apply((isSeal ? rules.sealed : rules.enrolled)(state, message, Date.now()));
  });
  onSignal(messages.jobsAddedSignal, (message) =>
    apply(jobsAdded(state, message, { runId: firstExecutionRunId, now: Date.now() })),
  );
  const report = (message: rules.RunnerReport) => {
    if (message.ended) shares.disturbed(Date.now());
    apply(rules.reported(state, message));
  };
  onSignal(messages.completedSignal, report);
  onSignal(messages.failedSignal, report);
  onSignal(messages.chunkDrainedSignal, (message) => drainedListeners.get(message.runner)?.(message));
  onSignal(messages.workflowsEndedSignal, (message) => {
    if (wantsContinueAsNew()) return;
    ended = workflowsEnded(ended, message);
    if (!isLookingUp) void shielded(lookUpEnded);
  });
  onSignal(messages.rangeReturnedSignal, (message) => {
    const { isLimited } = steering();
    const takeUp = { isLimited, mayRunInline: !wantsContinueAsNew() };
    const { state: next, assignment } = rules.rangeReturned(state, settings, message, takeUp);
    if (next === state) return;
    shares.disturbed(Date.now());
    apply(next);
    if (assignment) start(assignment, message.range);
  });
  // Each round has this workflow id: what was sent to the one before may arrive in this one.
  onSignal(messages.callbackEndedSignal, (message) => {
    if (message.round === round) callbackEnded(message.event, message.alert);
  });
  onSignal(messages.jobFailedSignal, (message) => {
    if (message.round === round) apply(rules.failuresNoticed(state, message));
  });
  setHandler(messages.progressQuery, () => rules.progressOf(state));
  setHandler(messages.stateQuery, () => state);
  setHandler(messages.rangesQuery, () =>
    Object.fromEntries([...inline].map(([runner, { range }]) => [runner, range])),
  );
  setHandler(messages.createdUpdate, () =>
    shielded(async () => {
      await untilTrue(() => state.written.created || refusal !== undefined);
      refuseIf(refusal);
      return forSchema({});
    }),
  );
  setHandler(
    messages.openUpdate,
    ({ token }) =>
      shielded(async () => {
        apply(rules.takenOver(state, token, Date.now()));
        const { openings: opening } = state.enrollment;
        await untilTrue(() => state.written.created);
        const row = await mirror.takeOverBlock({ batchId, token, opening, announced: state.enrolled });
        // Yet another process may have taken it over meanwhile, or the batch have closed the block.
        refuseIf(rules.refuseOpen(state));
        if (row) apply(grown(state, row));
        return { quietTimeMs: rules.quietTimeMs(state, settings) ?? 0, total: state.enrolled };
      }),
    { validator: (_message: messages.OpenMessage) => refuseIf(rules.refuseOpen(state)) },
  );
  setHandler(
    messages.sealUpdate,
    (message) =>
      shielded(async () => {
        apply(rules.sealed(state, message, Date.now()));
        await untilTrue(() => state.written.sealed);
        return { total: state.enrolled };
      }),
    { validator: (message) => refuseIf(rules.refuseSeal(state, message)) },
  );
  setHandler(
    messages.registerUpdate,
    (registration) =>
      shielded(async () => {
        // Whether the event has happened is open while the end is being written.
        await untilTrue(() => !isEnding);
        refuseIf(rules.refuseRegistration(state, registration));
        apply(rules.registered(state, registration));
        registering++;
        await untilTrue(() => state.written.created);
        await mirror.registerCallback({ batchId, round, ...registration });
        registering--;
      }),
    { validator: (registration) => refuseIf(rules.refuseRegistration(state, registration)) },
  );

  const steered = (next: () => BatchState) =>
    shielded(async () => {
      apply(next());
      await untilTrue(() => rules.isSteeringWritten(state));
    });
  onSignal(messages.cancelRequestedSignal, (request) => apply(rules.cancelled(state, request)));
  onSignal(messages.steerRequestedSignal, (request) => apply(rules.steerRequested(state, request)));
  setHandler(messages.cancelUpdate, (request) => steered(() => rules.cancelled(state, request)), {
    validator: (request) => refuseIf(rules.refuseCancel(state, request)),
  });
  setHandler(messages.pauseUpdate, () => steered(() => rules.paused(state, true)), {
    validator: () => refuseIf(rules.refusePause(state)),
  });
  setHandler(messages.resumeUpdate, () => steered(() => rules.paused(state, false)), {
    validator: () => refuseIf(rules.refuseResume(state)),
  });
  setHandler(messages.updateUpdate, (changes) => steered(() => rules.updated(state, changes)), {
    validator: (changes) => refuseIf(rules.refuseUpdate(state, changes)),
  });

  for (const range of input.carried?.inline ?? []) void runInline(range);
  if (toldIntervalMs > rules.REPORT_INTERVAL_MS) void shielded(tellReportInterval);
  for (const [runner, { inline: isInline }] of Object.entries(state.runners)) {
    if (isInline) continue;
    const isNeeded = () => state.runners[runner]?.inline === false;
    watchEarlier(runnerWorkflowId(runner), isNeeded, (error) => replace(runner, error));
  }
  for (const event of state.firing) {
    const currentId = () => callbackIdOf(event);
    const workflowId = currentId();
    // A later alert has another callback, of which the end of this one says nothing.
    const isNeeded = () => state.firing.includes(event) && currentId() === workflowId;
    watchEarlier(workflowId, isNeeded, (error) => giveUpCallback(event, error));
  }
  apply(state);

  if (!state.written.created) {
    if (input.round) {
      const opened = await openRound({ batchId, firstExecutionRunId, settings, ...input.round });
      // Not a failure: this run must not look like the end of the batch.
      if (!opened) refusal = roundTaken(input.round);
      else apply(rounds.roundOpened(state, input.round, opened));
    } else {
      const { description, context, parentBatchId = null, definition = {} } = input;
      const { created } = await mirror.createBatch({
        batchId,
        firstExecutionRunId,
        startedAt: startTime.getTime(),
        description,
        context,
        parentBatchId,
        definition,
        callbacks,
        settings,
      });
      if (!created) refusal = idTaken(batchId);
      else apply(rules.wrote(state, 'created'));
    }
    if (refusal) {
      await untilTrue(allHandlersFinished);
      if (input.round) return finished(false);
      throw ApplicationFailure.nonRetryable(refusal.message, refusal.code);
    }
  }
  void watchEnrollment();
  void watchDeadline();
  void watchIdleness();
  void shielded(cancelWorkflowsOnceStopped);

  await until(() => rules.isClosed(state));
  if (!state.written.sealed && !rules.isDiscarded(state)) {
    const { error } = state.enrollment;
    const growth = await mirror.sealBatch({ batchId, total: state.enrolled, error });
    apply(wroteSeal(state, growth));
  }
  if (rules.isDiscarded(state)) {
    await mirror.discardBatch({ batchId, firstExecutionRunId });
    apply(rules.wrote(state, 'sealed'));
    return finished(true);
  }

  while (!state.written.outcome) {
    await until(() => state.outcome !== null);
    await writeEnding();
  }
  // A batch is cancelled at once; its callback finds that nothing runs any more.
  if (state.outcome === 'cancelled') await settle();
  await fire(rules.eventOf(state.outcome!));

  await settle();
  await fire('settled');
  if (state.stop) await until(() => state.written.workflowsCancelled);
  return finished(false);

  /** Waits for a condition, and continues as new when the history has grown too long meanwhile. */
  async function until(isTrue: () => boolean): Promise<void> {
    await untilTrue(() => isTrue() || wantsContinueAsNew());
    if (isTrue()) return;
    // Nothing may be in the middle: a handler's answer, a chunk of ours, the start of a runner. A handler may also be
    // waiting for what this function does once the condition is true, so that goes first.
    const isQuiet = () =>
      allHandlersFinished() &&
      inlineRunning.size === 0 &&
      startingChildren === 0 &&
      !isSteering &&
      !isLookingUp &&
      !isCancellingWorkflows;
    while (!(await condition(() => isTrue() || isQuiet(), drainPauseMs(), DRAIN_TIMER))) goOnBeside();
    if (isTrue()) return;
    const watched = earlierChildren.filter((child) => child.isNeeded());
    const askedAt = Object.fromEntries(watched.map((child) => [child.workflowId, child.askedAt]));
    await continueAsNew<typeof batch>({
      ...input,
      carried: { state, inline: [...inline.values()], askedAt, reportIntervalMs: toldIntervalMs },
    });
  }

  /**
   * A chunk of ours is slow: meanwhile runners take what waits, and report less often. Of a batch with limits, which has
   * no runners, this workflow takes it.
   */
  function goOnBeside(): void {
    if (!isHeldUp() || isHistoryFull()) return;
    // Ranges that had stopped with jobs left go on, too.
    for (const [runner, range] of inline)
      if (!inlineRunning.has(runner)) void shielded(() => runInline(range));
    assign(false);
    setCurrentDetails(batchDetails(input, state));
    void shielded(tellReportInterval);
  }

  function drainPauseMs(): number {
    return Math.max(waitMs('drain'), reportIntervalMs(settings.maxHistoryEvents));
  }

  /** Whether a slow chunk of ours keeps this run from its end. */
  function isHeldUp(): boolean {
    return [...oldestAt.values()].some(isStraggling);
  }

  async function tellReportInterval(): Promise<void> {
    const { reportIntervalMs: ms } = steering();
    if (ms === toldIntervalMs) return;
    toldIntervalMs = ms;
    startingChildren++;
    await Promise.all(childRunners().map((runner) => tell(runnerWorkflowId(runner), steering())));
    startingChildren--;
  }

  function childRunners(): string[] {
    return Object.entries(state.runners).flatMap(([runner, { inline: isInline }]) =>
      isInline ? [] : [runner],
    );
  }

  /** What runners are told of how the batch stands. */
  function steering(): rules.Steering {
    return rules.steeringOf(state, settings, reportIntervalMs(settings.maxHistoryEvents));
  }

  function watchEarlier(
    workflowId: string,
    isNeeded: () => boolean,
    onLost: (error: unknown) => unknown,
  ): void {
    const askedAt = input.carried?.askedAt[workflowId] ?? Date.now();
    const child = { workflowId, askedAt, isNeeded, onLost };
    earlierChildren.push(child);
    void watchChildOfEarlierRun(child);
  }

  function wantsContinueAsNew(): boolean {
    return isHistoryLong(settings.maxHistoryEvents);
  }

  /**
   * Closes the block when its process is silent for too long. The quiet time has two halves, each a timer: after an
   * outage of Temporal the first one ends at once, and a process that lived through it has the second to be heard.
   */
  async function watchEnrollment(): Promise<void> {
    for (;;) {
      const { phase, heardAt } = state.enrollment;
      const quietTimeMs = rules.quietTimeMs(state, settings);
      if (quietTimeMs === undefined) return;
      if (phase === 'unopened') {
        await untilOpened();
        continue;
      }
      const left = heardAt + quietTimeMs / 2 - Date.now();
      if (left > 0) {
        await condition(() => state.enrollment.phase !== phase, left, QUIET_TIMER);
        continue;
      }
      const isHeard = () => state.enrollment.phase !== phase || state.enrollment.heardAt !== heardAt;
      if (!(await condition(isHeard, quietTimeMs / 2, QUIET_TIMER))) {
        fence();
        apply(rules.enrollmentTimedOut(state, settings));
        return;
      }
    }
  }

  /** Waits for the first message of the block, looks in the row for one that was not heard, or closes the batch. */
  async function untilOpened(): Promise<void> {
    const isOpened = () => state.enrollment.phase !== 'unopened';
    const left = rules.nextBlockLookMs(state, settings, Date.now());
    if (await condition(isOpened, Math.max(1, left), QUIET_TIMER)) return;
    const isOver = rules.nextBlockLookMs(state, settings, Date.now()) === 0;
    const token = await shielded(() => mirror.findBlock({ batchId }));
    if (isOpened()) return;
    if (token !== null) apply(rules.opened(state, token, Date.now()));
    if (token !== null || !isOver) return;
    fence();
    apply(rules.enrollmentTimedOut(state, settings));
  }

  /** Stops what has not ended when the deadline is over. It may be set, and moved, at any time. */
  async function watchDeadline(): Promise<void> {
    const deadline = () => rules.policyOf(state, settings).deadlineAt;
    for (;;) {
      await condition(() => deadline() !== null);
      const deadlineAt = deadline();
      const left = rules.timeLeftMs(state, settings, Date.now());
      if (left === undefined) return;
      if (left === 0) {
        fence();
        apply(rules.deadlinePassed(state, settings, Date.now()));
        return;
      }
      const isMoot = () => rules.timeLeftMs(state, settings, Date.now()) === undefined;
      await condition(() => deadline() !== deadlineAt || isMoot(), left, { summary: 'Until the deadline' });
    }
  }

  /** Gives an alert when no job has ended for too long. A timer an interval, however often it moves meanwhile. */
  async function watchIdleness(): Promise<void> {
    const interval = () => rules.policyOf(state, settings).alertAfterIdleMs;
    const left = () => rules.idleTimeLeftMs(state, settings, Date.now());
    for (;;) {
      await condition(() => left() !== undefined);
      const [leftMs, intervalMs] = [left()!, interval()];
      const hasChanged = () => left() === undefined || interval() !== intervalMs;
      if (leftMs > 0)
        await condition(hasChanged, leftMs, { summary: 'Alert if no job ends (alertAfterIdle)' });
      else await shielded(checkIdleness);
    }
  }

  async function checkIdleness(): Promise<void> {
    startingChildren++;
    const rows = await mirror.readMovement({ batchId });
    const { state: checked, isAlertDue } = rules.idleChecked(state, settings, rows, Date.now());
    apply(checked);
    if (isAlertDue) await alert();
    startingChildren--;
  }

  async function alert(): Promise<void> {
    const { pending, total } = rules.progressOf(state);
    log.warn('No job of a batch has ended for alertAfterIdle', { batchId, pending, total });
    metricMeter
      .createCounter('batch_idle_alerts', 'alerts', 'Batches of which no job had ended for alertAfterIdle')
      .add(1);
    await mirror.alertBatch({ batchId, round, alerts: state.alerts });
    const registration = state.callbacks.idle;
    if (!registration || state.firing.includes('idle')) return;
    apply(rules.firing(state, 'idle'));
    await startCallback(registration);
  }

  /**
   * Has those looked at of which it was said that they have ended: where they are, the rows say. What comes while this
   * waits goes with them. When the workflow is about to continue as new, what is left is found by looking.
   */
  async function lookUpEnded(): Promise<void> {
    isLookingUp = true;
    while (ended.workflowIds.length > 0) {
      await sleep(Math.max(1, gatherMs(rules.progressOf(state).pending)));
      const { taken, rest } = takeEnded(ended);
      const isMoot = !state.written.created || state.stop !== null || wantsContinueAsNew();
      ended = isMoot ? NONE_ENDED : rest;
      if (isMoot) break;
      const spans = parseSpans(await mirror.findWorkflowJobs({ batchId, workflowIds: taken }));
      if (spans.length > 0) await rush(spans);
    }
    isLookingUp = false;
  }

  /** Jobs that wait for the next look at them are looked at now, in the ranges that have them. */
  async function rush(spans: readonly Span[]): Promise<void> {
    const told = Object.entries(state.runners).map(async ([runner, { from, to, inline: isInline }]) => {
      const ofRange = clip(spans, from, to);
      if (ofRange.length === 0) return;
      if (isInline) rushedListeners.get(runner)?.(ofRange);
      else await tellRushed(runnerWorkflowId(runner), formatSpans(ofRange));
    });
    await Promise.all(told);
  }

  /** Once it is known which jobs the batch has: none of them is forgotten. */
  async function cancelWorkflowsOnceStopped(): Promise<void> {
    await condition(() => state.stop !== null && state.written.sealed);
    if (state.written.workflowsCancelled) return;
    isCancellingWorkflows = true;
    if (await mirror.hasWorkflowJobs({ batchId }))
      await requestCancellations({ batchId, reason: state.stop!.reason });
    apply(rules.wrote(state, 'workflowsCancelled'));
    isCancellingWorkflows = false;
  }

  /** Tells runners and, by the row, workers of a pause, a resumption, a change or the stop. */
  async function steer(): Promise<void> {
    isSteering = true;
    while (!rules.isSteeringWritten(state)) {
      const given = steering();
      const policy = rules.policyOf(state, settings);
      const [row] = await Promise.all([
        mirror.steerBatch({
          batchId,
          round,
          steering: given.number,
          isPaused: given.isPaused,
          stop: state.stop,
          settings: { ...settings, ...policy },
        }),
        ...childRunners().map((runner) => tell(runnerWorkflowId(runner), given)),
      ]);
      state = rules.wroteSteering(state, given.number);
      if (row) apply(rules.steeredBefore(state, row));
    }
    isSteering = false;
  }

  /** Repairs counts from which jobs are missing: see `isStranded`. */
  async function recount(): Promise<void> {
    isRecounting = true;
    await sleep(waitMs('recount'), { summary: 'Then counts jobs again from their rows' });
    const queues = await mirror.findQueues({ batchId });
    isRecounting = false;
    if (!rules.isStranded(state)) return;
    log.error('Jobs are missing from the counts; counting again from the rows', {
      batchId,
      ...rules.progressOf(state),
    });
    apply(rules.recounted(state, queues));
  }

  async function startRunner(assignment: Assignment, range: RangeState): Promise<void> {
    const { runner, lane, from, to } = assignment;
    const given = steering();
    startingChildren++;
    await startWatched(
      () =>
        startChild(batchRunner, {
          ...OUTLIVES_RUN,
          workflowId: runnerWorkflowId(runner),
          staticSummary: runnerSummary(input, assignment),
          memo: { batchId, description: input.description, jobs: `${from}-${to}` },
          args: [
            forSchema({
              batchId,
              batchWorkflowId: workflowInfo().workflowId,
              round,
              runner,
              lane,
              limitedNames,
              unknownJobTimeoutMs: settings.unknownJobTimeoutMs,
              noticeFailures: rules.noticesFailures(state, settings),
              maxHistoryEvents: settings.maxHistoryEvents,
              steering: given,
              range,
              returns: 0,
            }),
          ],
        }),
      (error) => replace(runner, error),
      () => runnerReturned(runner),
    );
    // What changed while it started was told to nobody.
    if (steering().number > given.number) await tell(runnerWorkflowId(runner), steering());
    startingChildren--;
  }

  /** A runner returned, as it does after its last report. One that is still needed had none that counts. */
  function runnerReturned(runner: string): void {
    if (state.runners[runner]) void replace(runner, new Error('it ended without a report that counts'));
  }

  /** A runner was lost: another one takes its range, after a pause in case that keeps happening. */
  async function replace(runner: string, error: unknown): Promise<void> {
    log.warn('A runner was lost; another one takes its range', {
      batchId,
      runner,
      error: describeFailure(error).message,
    });
    // The next run would not know that it is lost before it asks.
    startingChildren++;
    await sleep(waitMs('runnerReplacement'), {
      summary: `Then another runner takes the jobs of runner ${runner}`,
    });
    startingChildren--;
    // It may have handed its range back before.
    if (!state.runners[runner]) return;
    const { isLimited } = steering();
    const { state: next, assignment } = rules.runnerLost(state, runner, isLimited);
    shares.disturbed(Date.now());
    apply(next);
    if (assignment) start(assignment);
  }

  /** What a range may take of the limits: nothing as long as a runner may run jobs that are not counted here. */
  function sharesFor(asker: Asker): RangeShares {
    const isLimited = () => isLimitedFor(limits(), asker.name);
    const isReserved = () => isLimited() && rules.hasChildRunners(state);
    return {
      isLimited,
      take: (chunk) => (isReserved() ? undefined : shares.take(limits(), asker, chunk, Date.now())),
      isFree: () => !isReserved() && shares.isFree(limits(), asker),
      rest: () => shares.rest(asker),
      reduce: (chunk, running) => shares.reduce(asker, chunk, running, Date.now()),
      release: (chunk, hasStarted) => shares.release(asker, chunk, hasStarted, Date.now()),
    };
  }

  async function runInline({ assignment, range }: InlineRange): Promise<void> {
    const { runner, lane } = assignment;
    const asker: Asker = { range: runner, lane, name: parseLane(lane).name };
    inlineRunning.add(runner);
    const left = await runRange(range, {
      batchId,
      round,
      runner,
      lane,
      limitedNames,
      shares: sharesFor(asker),
      unknownJobTimeoutMs: settings.unknownJobTimeoutMs,
      noticeFailures: () => rules.noticesFailures(state, settings),
      steering: () => rules.steeringOf(state, settings),
      maxInFlight: MAX_INLINE_IN_FLIGHT,
      onDrained: (listener) => drainedListeners.set(runner, listener),
      onRushed: (listener) => rushedListeners.set(runner, listener),
      shouldStop: () => wantsContinueAsNew() && (!isHeldUp() || isHistoryFull()),
      report: (report) => apply(rules.reported(state, report)),
      onChange: (left, oldest) => {
        inline.set(runner, { assignment, range: left });
        if (oldest === undefined) oldestAt.delete(runner);
        else oldestAt.set(runner, oldest);
      },
    });
    oldestAt.delete(runner);
    drainedListeners.delete(runner);
    rushedListeners.delete(runner);
    shares.forget(asker);
    const isOver = state.stop !== null || isExhausted(left);
    if (isOver || !state.runners[runner]) inline.delete(runner);
    if (isOver) runnerReturned(runner);
    inlineRunning.delete(runner);
  }

  async function settle(): Promise<void> {
    while (!state.written.settled) {
      await until(() => rules.isSettled(state));
      await writeEnding();
    }
  }

  /**
   * Commits where the batch stands before any callback can see it; or finds that there are more jobs, and that it stands
   * elsewhere. Registrations of callbacks wait meanwhile, and are then judged by what was written.
   */
  async function writeEnding(): Promise<void> {
    isEnding = true;
    // A callback that was registered at the last moment has its row before the row says that it is due.
    await untilTrue(() => registering === 0);
    const ending = endingOf(state);
    if (ending) {
      const { outcome, settled, total, fires, never } = ending;
      const schedule = fires.filter((event) => state.callbacks[event] && !state.fired.includes(event));
      // A row of which this workflow does not know is of a task that was lost, and of a client that never heard of it.
      const unknown = fires.filter((event) => !schedule.includes(event));
      const isStopped = state.stop !== null;
      const row = await mirror.finishBatch({
        batchId,
        round,
        outcome,
        settled,
        total,
        schedule,
        skip: [...never, ...unknown],
      });
      if (row && 'growth' in row) {
        apply(grown(state, row.growth));
      } else if (row && 'decided' in row) {
        apply(decidedBefore(state, row.decided));
      } else {
        if (settled && isStopped && row) state = rules.counted(state, row);
        apply(wroteEnding(state, ending));
      }
    }
    isEnding = false;
  }

  /** Runs the event's callback, if it has one, to its end. Each is started once. */
  async function fire(event: BatchEvent): Promise<void> {
    const registration = state.callbacks[event];
    if (!registration || state.fired.includes(event)) return;
    if (!state.firing.includes(event)) {
      if (rules.isSettled(state)) {
        await runCallback({ batchId, round, registration });
        apply(rules.fired(state, event));
        return;
      }
      // Jobs still run and report, so that this workflow may have to continue as new before the callback has ended.
      apply(rules.firing(state, event));
      await startCallback(registration);
    }
    await until(() => state.fired.includes(event));
  }

  function callbackIdOf(event: BatchEvent): string {
    return callbackWorkflowId(workflowInfo().workflowId, { round, event, alert: state.calledForAlert });
  }

  async function startCallback(registration: CallbackRegistration): Promise<void> {
    const { event } = registration;
    const alert = state.calledForAlert;
    startingChildren++;
    await startWatched(
      () =>
        startChild(batchCallback, {
          ...OUTLIVES_RUN,
          workflowId: callbackIdOf(event),
          staticSummary: `${callbackSummary(registration)} of batch ${batchId}`,
          memo: { batchId, description: input.description, event },
          args: [
            forSchema({ batchId, round, batchWorkflowId: workflowInfo().workflowId, registration, alert }),
          ],
        }),
      (error) => giveUpCallback(event, error),
      () => callbackEnded(event, alert),
    );
    startingChildren--;
  }

  /** The callback's workflow said that it has ended, or returned. That of an earlier alert says nothing of a later one. */
  function callbackEnded(event: BatchEvent, alert: number): void {
    const isOfNow = event !== 'idle' || alert === state.calledForAlert;
    if (isOfNow && state.firing.includes(event)) apply(rules.fired(state, event));
  }

  /** Somebody terminated the callback's workflow. It may have done its work: it is not started again. */
  async function giveUpCallback(event: BatchEvent, error: unknown): Promise<void> {
    if (!state.firing.includes(event)) return;
    await callbackFailed({ batchId, round, registration: state.callbacks[event]! }, error);
    apply(rules.fired(state, event));
  }

  async function finished(discarded: boolean): Promise<BatchResult> {
    if (settings.notify !== undefined) await tellEnd(settings.notify, batchId);
    // What a workflow starts in the task in which it ends may never run: an alert's callback.
    await untilTrue(() => allHandlersFinished() && startingChildren === 0);
    return { ...rules.progressOf(state), enrollmentError: state.enrollment.error, discarded };
  }
}

/** The id has a row of an older batch whose workflow is gone: Temporal could not refuse it. */
function idTaken(batchId: string): Refusal {
  return { code: 'BATCH_EXISTS', message: `Batch "${batchId}" exists already.` };
}

/** Somebody else opened this round, and it is over, or the batch is gone. */
function roundTaken({ number }: RoundRequest): Refusal {
  return { code: 'BATCH_RUNNING', message: `Round ${number} was opened before. Look at the batch again.` };
}
