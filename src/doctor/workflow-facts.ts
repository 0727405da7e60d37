import type { Client, DescribeWorkflowExecutionResponse } from '@temporalio/client';
import { defaultPayloadConverter, fromPayloadsAtIndex, WorkflowNotFoundError } from '@temporalio/common';
import { mismatchOf } from '../client/mismatch.ts';
import { newestEvents, type HistoryEvent } from '../temporal-history.ts';
import type { ActivityFacts, WorkflowFacts } from './facts.ts';

type PendingActivity = NonNullable<DescribeWorkflowExecutionResponse['pendingActivities']>[number];
type PendingTask = NonNullable<DescribeWorkflowExecutionResponse['pendingWorkflowTask']>;
type ActivityState = NonNullable<PendingActivity['state']>;
type Failure = NonNullable<PendingActivity['lastFailure']>;
type Payloads = Parameters<typeof fromPayloadsAtIndex>[2];

/** Newest events that are read: what went wrong last is among them, and so is the chunk that runs for long. */
const EVENTS = 100;

// The names of these values are in a package of Temporal's that apps do not install.
const ACTIVITY_STARTED = 2 as unknown as ActivityState;
const ACTIVITY_CANCEL_REQUESTED = 3 as unknown as ActivityState;
const ACTIVITY_PAUSED = 4 as unknown as ActivityState;
const ACTIVITY_PAUSE_REQUESTED = 5 as unknown as ActivityState;
const TASK_STARTED = 2 as unknown as NonNullable<PendingTask['state']>;

/** What Temporal tells of a workflow; and its children that run. */
export async function readWorkflow(
  client: Client,
  workflowId: string,
): Promise<{ workflow: WorkflowFacts; children: string[] }> {
  const described = await describe(client, workflowId);
  if (described === undefined) {
    return { workflow: { workflowId, status: 'not found', activities: [], lostAt: [] }, children: [] };
  }
  const { raw, status, closeTime, taskQueue, runId } = described;
  const events = await newestEvents(client, workflowId, runId, EVENTS);
  const isRunning = status.name === 'RUNNING';
  const taskFailure = isRunning ? lastTaskFailure(events) : undefined;
  const mismatch = isRunning ? lastMismatch(raw, events) : undefined;
  const closeReason = isRunning ? undefined : closeReasonOf(events[0]);
  return {
    workflow: {
      workflowId,
      status: status.name.toLowerCase().replaceAll('_', ' '),
      ...(closeTime === undefined ? {} : { closedAt: closeTime.getTime() }),
      ...(closeReason === undefined ? {} : { closeReason }),
      taskQueue,
      ...(raw.pendingWorkflowTask ? { task: taskOf(raw.pendingWorkflowTask) } : {}),
      ...(taskFailure === undefined ? {} : { taskFailure }),
      ...(mismatch === undefined ? {} : { mismatch }),
      activities: (raw.pendingActivities ?? []).map((activity) => activityOf(activity, events)),
      lostAt: events.flatMap((event) => (event.activityTaskTimedOutEventAttributes ? [timeOf(event)] : [])),
    },
    children: (raw.pendingChildren ?? []).flatMap((child) => child.workflowId ?? []),
  };
}

/** Epoch milliseconds of Temporal's timestamp, whose seconds are a 64-bit integer of its own type. */
export function epochMs(timestamp: HistoryEvent['eventTime']): number | undefined {
  if (!timestamp) return undefined;
  return Number(String(timestamp.seconds ?? 0)) * 1000 + Math.floor((timestamp.nanos ?? 0) / 1_000_000);
}

/** The first argument that a workflow was started with; undefined when a codec of the app's own hides it. */
export async function readInput(client: Client, workflowId: string): Promise<unknown> {
  const { history } = await client.workflowService.getWorkflowExecutionHistory({
    namespace: client.options.namespace,
    execution: { workflowId },
    maximumPageSize: 1,
  });
  return decode(history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads);
}

async function describe(client: Client, workflowId: string) {
  try {
    return await client.workflow.getHandle(workflowId).describe();
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

function taskOf({ attempt, state, originalScheduledTime, scheduledTime }: PendingTask) {
  return {
    attempt: attempt ?? 1,
    isStarted: state === TASK_STARTED,
    scheduledAt: epochMs(originalScheduledTime) ?? epochMs(scheduledTime) ?? 0,
  };
}

/** Only the first failure in a row is in the history; what comes after it is the repetition, or nothing yet. */
function lastTaskFailure(events: readonly HistoryEvent[]): WorkflowFacts['taskFailure'] {
  for (const event of events) {
    if (event.workflowTaskCompletedEventAttributes) return undefined;
    const failed = event.workflowTaskFailedEventAttributes;
    // The server gives a task up by itself when a message arrives meanwhile; without a failure nothing is wrong.
    if (failed?.failure?.message) {
      const { message, applicationFailureInfo } = failed.failure;
      return { cause: applicationFailureInfo?.type ?? 'Error', message, at: timeOf(event) };
    }
  }
  return undefined;
}

/** An activity that waits to be offered again says it, or the end of a chunk, which has one attempt. */
function lastMismatch(
  { pendingActivities }: DescribeWorkflowExecutionResponse,
  events: readonly HistoryEvent[],
): WorkflowFacts['mismatch'] {
  const waiting = (pendingActivities ?? []).map((activity) => ({
    message: mismatchOf(activity.lastFailure),
    at: epochMs(activity.lastStartedTime) ?? 0,
  }));
  const ended = events.map((event) => ({
    message: mismatchOf(event.activityTaskFailedEventAttributes?.failure),
    at: timeOf(event),
  }));
  const said = [...waiting, ...ended].filter((one): one is { message: string; at: number } => !!one.message);
  return said.toSorted((a, b) => b.at - a.at)[0];
}

/** Why a run was closed, as far as its last event tells. */
export function closeReasonOf(event: HistoryEvent | undefined): string | undefined {
  const terminated = event?.workflowExecutionTerminatedEventAttributes;
  if (terminated)
    return [terminated.reason, terminated.identity && `by ${terminated.identity}`].filter(Boolean).join(', ');
  return event?.workflowExecutionFailedEventAttributes?.failure?.message ?? undefined;
}

function activityOf(activity: PendingActivity, events: readonly HistoryEvent[]): ActivityFacts {
  const startedAt = epochMs(activity.lastStartedTime);
  const heartbeatAt = epochMs(activity.lastHeartbeatTime);
  const taskQueue = activity.activityOptions?.taskQueue?.name;
  const summary = summaryOf(activity, events);
  return {
    type: activity.activityType?.name ?? '',
    state: stateOf(activity),
    ...(taskQueue ? { taskQueue } : {}),
    attempt: activity.attempt ?? 1,
    scheduledAt: epochMs(activity.nextAttemptScheduleTime) ?? epochMs(activity.scheduledTime) ?? 0,
    ...(startedAt ? { startedAt } : {}),
    ...(heartbeatAt ? { heartbeatAt } : {}),
    ...(activity.lastFailure ? { failure: failureOf(activity.lastFailure) } : {}),
    ...(activity.lastWorkerIdentity ? { worker: activity.lastWorkerIdentity } : {}),
    ...(summary === undefined ? {} : { summary }),
  };
}

function stateOf({ state, paused }: PendingActivity): ActivityFacts['state'] {
  if (state === ACTIVITY_STARTED || state === ACTIVITY_CANCEL_REQUESTED) return 'started';
  return paused || state === ACTIVITY_PAUSED || state === ACTIVITY_PAUSE_REQUESTED ? 'paused' : 'scheduled';
}

function summaryOf({ activityId }: PendingActivity, events: readonly HistoryEvent[]): string | undefined {
  const event = events.find((other) => other.activityTaskScheduledEventAttributes?.activityId === activityId);
  const summary = event?.userMetadata?.summary;
  const text = summary ? decode([summary]) : undefined;
  return typeof text === 'string' ? text : undefined;
}

/** Beneath the wrappers of Temporal is what the app's code threw. */
function failureOf(failure: Failure): { type: string; message: string } {
  if (failure.timeoutFailureInfo) return { type: 'Timeout', message: failure.message ?? 'timed out' };
  return { type: failure.applicationFailureInfo?.type ?? 'Error', message: failure.message ?? '' };
}

function timeOf(event: HistoryEvent): number {
  return epochMs(event.eventTime) ?? 0;
}

function decode(payloads: Payloads): unknown {
  if (!payloads?.length) return undefined;
  try {
    return fromPayloadsAtIndex(defaultPayloadConverter, 0, payloads);
  } catch {
    return undefined;
  }
}
