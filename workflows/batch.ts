import {
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  ParentClosePolicy,
  log,
  proxyActivities,
  proxyLocalActivities,
  setCurrentDetails,
  setHandler,
  sleep,
  startChild,
  workflowInfo,
} from '@temporalio/workflow';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { HandlerActivities, MirrorActivities } from '../activities/contract.ts';
import * as rules from './batch-state.ts';
import type { Assignment, BatchEvent, BatchSettings, BatchState, Refusal } from './batch-state.ts';
import { batchDetails, groupDigits } from './details.ts';
import * as messages from './messages.ts';
import { initialRange, type RangeState } from './range-state.ts';
import { temporalRetry } from './retry-policy.ts';
import { runRange } from './run-range.ts';
import { batchRunner } from './runner.ts';
import { describeFailure } from './failure.ts';

export interface BatchInput {
  readonly batchId: string;
  readonly description: string;
  readonly context: unknown;
  readonly settings: BatchSettings;
  /** Set by continue-as-new. */
  readonly carried?: { readonly state: BatchState; readonly inline: readonly InlineRange[] };
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

/**
 * Short writes of the mirror. Local: they would spend most of their time in hops to the server. They retry for ever,
 * so that a database that is down delays the batch and never fails it; after 10 s they wait in durable timers.
 */
const mirror = proxyLocalActivities<MirrorActivities>({
  startToCloseTimeout: '10s',
  localRetryThreshold: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '10s' },
});

/** How often runners that this run did not start are asked whether they are there. */
const PING_INTERVAL = '1 minute';

/**
 * One batch, from its creation to its callbacks. Messages change the state through the rules in batch-state.ts; the
 * function below waits for what the state says and writes it to the mirror.
 */
export async function batch(input: BatchInput): Promise<BatchResult> {
  return shielded(() => runBatch(input));
}

async function runBatch(input: BatchInput): Promise<BatchResult> {
  const { batchId, settings } = input;
  let state = input.carried?.state ?? rules.initialBatch(Date.now());
  const inline = new Map<string, InlineRange>();
  let inlineRunning = 0;
  let startingRunners = 0;
  let isIdTaken = false;

  const apply = (next: BatchState) => {
    state = rules.decided(next, settings);
    if (!wantsContinueAsNew()) {
      const { state: dispatched, assignments } = rules.assignRanges(state);
      state = dispatched;
      assignments.forEach(start);
    }
    setCurrentDetails(batchDetails(batchId, state));
  };
  const start = (assignment: Assignment) => {
    const range = initialRange([[assignment.from, assignment.to]], assignment.pace);
    void shielded(() =>
      assignment.inline ? runInline({ assignment, range }) : startRunner(assignment, range),
    );
  };

  setHandler(messages.enrolledSignal, (message) => {
    const isSeal = 'sealed' in message && rules.refuseSeal(state, message.token) === undefined;
    apply((isSeal ? rules.sealed : rules.enrolled)(state, message, Date.now()));
  });
  setHandler(messages.completedSignal, (report) => apply(rules.reported(state, report)));
  setHandler(messages.failedSignal, (report) => apply(rules.reported(state, report)));
  setHandler(messages.jobFailedSignal, () => apply(rules.failureNoticed(state)));
  setHandler(messages.progressQuery, () => rules.progressOf(state));
  setHandler(messages.createdUpdate, () =>
    shielded(async () => {
      await condition(() => state.written.created || isIdTaken);
      if (isIdTaken) throw idTaken(batchId);
    }),
  );
  setHandler(
    messages.openUpdate,
    ({ token }) =>
      shielded(async () => {
        apply(rules.opened(state, token, Date.now()));
        await condition(() => state.written.created);
        return { enrollmentTimeoutMs: settings.enrollmentTimeoutMs };
      }),
    { validator: ({ token }) => refuseIf(rules.refuseOpen(state, token)) },
  );
  setHandler(
    messages.sealUpdate,
    (message) =>
      shielded(async () => {
        apply(rules.sealed(state, message, Date.now()));
        await condition(() => state.written.sealed);
        return { total: state.enrolled };
      }),
    { validator: ({ token }) => refuseIf(rules.refuseSeal(state, token)) },
  );
  setHandler(
    messages.registerUpdate,
    (registration) =>
      shielded(async () => {
        apply(rules.registered(state, registration));
        await condition(() => state.written.created);
        await mirror.registerCallback({ batchId, ...registration });
      }),
    { validator: (registration) => refuseIf(rules.refuseRegistration(state, registration)) },
  );

  for (const range of input.carried?.inline ?? []) void runInline(range);
  for (const [runner, { inline: isInline }] of Object.entries(state.runners)) {
    if (!isInline) void watchCarried(runner);
  }
  apply(state);

  if (!state.written.created) {
    const { firstExecutionRunId } = workflowInfo();
    const { description, context } = input;
    const { created } = await mirror.createBatch({ batchId, firstExecutionRunId, description, context });
    if (!created) {
      isIdTaken = true;
      await condition(allHandlersFinished);
      throw idTaken(batchId);
    }
    apply(rules.wrote(state, 'created'));
  }
  void watchEnrollment();

  await until(() => state.enrollment.phase === 'sealed');
  if (rules.isDiscarded(state)) {
    await mirror.discardBatch({ batchId });
    apply(rules.wrote(state, 'sealed'));
    return finished(true);
  }
  if (!state.written.sealed) {
    await mirror.sealBatch({ batchId, total: state.enrolled, error: state.enrollment.error });
    apply(rules.wrote(state, 'sealed'));
  }

  await until(() => state.outcome !== null);
  if (!state.written.outcome) await writeOutcome();
  await fire(rules.eventOf(state.outcome!));

  await until(() => rules.isSettled(state));
  if (!state.written.settled) await writeOutcome();
  await fire('settled');
  return finished(false);

  /** Waits for a condition, and continues as new when the history has grown too long meanwhile. */
  async function until(isTrue: () => boolean): Promise<void> {
    await condition(() => isTrue() || wantsContinueAsNew());
    // Nothing may be in the middle: a handler's answer, a chunk of ours, the start of a runner. A handler may also be
    // waiting for what this function does once the condition is true, so that goes first.
    await condition(
      () => isTrue() || (allHandlersFinished() && inlineRunning === 0 && startingRunners === 0),
    );
    if (isTrue()) return;
    await continueAsNew<typeof batch>({ ...input, carried: { state, inline: [...inline.values()] } });
  }

  function wantsContinueAsNew(): boolean {
    const { continueAsNewSuggested, historyLength } = workflowInfo();
    return continueAsNewSuggested || historyLength > settings.maxHistoryEvents;
  }

  /** Closes the block when its process is silent for too long. */
  async function watchEnrollment(): Promise<void> {
    for (;;) {
      const { phase } = state.enrollment;
      const deadline = rules.enrollmentDeadline(state, settings);
      if (deadline === undefined) return;
      const left = deadline - Date.now();
      if (left <= 0) {
        apply(rules.enrollmentTimedOut(state, settings));
        return;
      }
      await condition(() => state.enrollment.phase !== phase, left);
    }
  }

  async function startRunner(assignment: Assignment, range: RangeState): Promise<void> {
    const { runner, lane, from, to } = assignment;
    startingRunners++;
    try {
      const child = await startChild(batchRunner, {
        workflowId: runnerWorkflowId(runner),
        parentClosePolicy: ParentClosePolicy.ABANDON,
        staticSummary: `Jobs ${groupDigits(from)} to ${groupDigits(to)} of batch ${batchId}${lane ? ` on ${lane}` : ''}`,
        args: [
          {
            batchId,
            batchWorkflowId: workflowInfo().workflowId,
            runner,
            lane,
            unknownJobTimeoutMs: settings.unknownJobTimeoutMs,
            noticeFailures: settings.failWhen === 'immediate',
            maxHistoryEvents: settings.maxHistoryEvents,
            range,
          },
        ],
      });
      void replaceIfLost(runner, child.result());
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    } finally {
      startingRunners--;
    }
  }

  async function replaceIfLost(runner: string, result: Promise<void>): Promise<void> {
    try {
      await result;
    } catch (error) {
      await replace(runner, error);
    }
  }

  /** Runners of a run before this one are not its children any more: it asks them now and then. */
  async function watchCarried(runner: string): Promise<void> {
    const handle = getExternalWorkflowHandle(runnerWorkflowId(runner));
    for (;;) {
      await sleep(PING_INTERVAL);
      // A runner reports its end before it ends, so that a missing one that still counts was lost.
      if (!state.runners[runner]) return;
      try {
        await handle.signal(messages.pingSignal);
      } catch (error) {
        return replace(runner, error);
      }
    }
  }

  /** Somebody terminated a runner: another one takes its range, after a pause in case that keeps happening. */
  async function replace(runner: string, error: unknown): Promise<void> {
    log.warn('A runner was lost; another one takes its range', {
      runner,
      error: describeFailure(error).message,
    });
    await sleep('5s');
    const { state: next, assignment } = rules.runnerLost(state, runner);
    apply(next);
    if (assignment) start(assignment);
  }

  async function runInline({ assignment, range }: InlineRange): Promise<void> {
    inlineRunning++;
    const left = await runRange(range, {
      batchId,
      runner: assignment.runner,
      lane: assignment.lane,
      unknownJobTimeoutMs: settings.unknownJobTimeoutMs,
      noticeFailures: settings.failWhen === 'immediate',
      shouldStop: wantsContinueAsNew,
      report: (report) => apply(rules.reported(state, report)),
    });
    if (state.runners[assignment.runner]) inline.set(assignment.runner, { assignment, range: left });
    inlineRunning--;
  }

  /** Commits where the batch stands before any callback can see it. */
  async function writeOutcome(): Promise<void> {
    const settled = rules.isSettled(state);
    const fires: BatchEvent[] = [rules.eventOf(state.outcome!), ...(settled ? ['settled' as const] : [])];
    const never: BatchEvent = state.outcome === 'complete' ? 'failure' : 'complete';
    apply(rules.eventsClosed(state, [...fires, never]));
    await mirror.finishBatch({
      batchId,
      outcome: state.outcome!,
      settled,
      schedule: fires.filter((event) => state.callbacks[event] && !state.fired.includes(event)),
      skip: [never],
    });
    apply(rules.wrote(settled ? rules.wrote(state, 'settled') : state, 'outcome'));
  }

  /** Schedules the callback's activity, once. Temporal retries it until it returns or its policy ends. */
  async function fire(event: BatchEvent): Promise<void> {
    const registration = state.callbacks[event];
    if (!registration || state.fired.includes(event)) return;
    const { callback, taskQueue, startToCloseTimeoutMs, retry } = registration;
    const { runCallback } = proxyActivities<HandlerActivities>({
      ...(taskQueue ? { taskQueue } : {}),
      startToCloseTimeout: startToCloseTimeoutMs,
      heartbeatTimeout: '10s',
      retry: temporalRetry(retry),
      summary: `${callback} on ${event}`,
    });
    try {
      await runCallback({ batchId, event, callback });
    } catch (error) {
      const failure = describeFailure(error);
      log.error('A callback failed for good', { event, callback, ...failure });
      await mirror.failCallback({
        batchId,
        event,
        errorClass: failure.errorClass,
        errorMessage: failure.message,
      });
    }
    apply(rules.fired(state, event));
  }

  async function finished(discarded: boolean): Promise<BatchResult> {
    await condition(allHandlersFinished);
    return { ...rules.progressOf(state), enrollmentError: state.enrollment.error, discarded };
  }
}

/**
 * Temporal's own cancellation, from the Web UI for example, changes nothing: half of a batch would be cancelled, and
 * its rows would say that it runs. Handlers and what they start run in the workflow's root scope, so each is shielded.
 */
function shielded<T>(run: () => Promise<T>): Promise<T> {
  return CancellationScope.nonCancellable(run);
}

function runnerWorkflowId(runner: string): string {
  return `${workflowInfo().workflowId}/runner/${runner}`;
}

/** The id has a row of an older batch whose workflow is gone: Temporal could not refuse it. */
function idTaken(batchId: string): ApplicationFailure {
  return ApplicationFailure.nonRetryable(`Batch "${batchId}" exists already.`, 'BATCH_EXISTS');
}

/** In a validator: the update leaves no trace in the history, and its caller gets the code. */
function refuseIf(refusal: Refusal | undefined): void {
  if (refusal) throw ApplicationFailure.nonRetryable(refusal.message, refusal.code);
}
