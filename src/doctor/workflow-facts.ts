import type { Client, DescribeWorkflowExecutionResponse } from '@temporalio/client';
import { mismatchOf } from '../client/mismatch.ts';
import { unlessNotFound } from '../temporal-calls.ts';
import { newestEvents, type HistoryEvent } from '../temporal-history.ts';
import { readFailure, readPayload } from '../temporal-payloads.ts';
import type { ActivityFacts, WorkflowFacts } from './facts.ts';

type PendingActivity = NonNullable<DescribeWorkflowExecutionResponse['pendingActivities']>[number];
type PendingTask = NonNullable<DescribeWorkflowExecutionResponse['pendingWorkflowTask']>;
type ActivityState = NonNullable<PendingActivity['state']>;
type Failure = NonNullable<PendingActivity['lastFailure']>;

/** Newest events that are read: what went wrong last is among them, and so is the chunk that runs for long. */
const EVENTS = 100;

// The names of these values are in a package of Temporal's that apps do not install.
const ACTIVITY_STARTED = 2 as unknown as ActivityState;
const ACTIVITY_CANCEL_REQUESTED = 3 as unknown as ActivityState;
const ACTIVITY_PAUSED = 4 as unknown as ActivityState;
const ACTIVITY_PAUSE_REQUESTED = 5 as unknown as ActivityState;
const TASK_STARTED = 2 as unknown as NonNullable<PendingTask['state']>;
/** Names of a workflow's status, by its number. */
const STATUSES = [
  'unspecified',
  'running',
  'completed',
  'failed',
  'cancelled',
  'terminated',
  'continued as new',
  'timed out',
  'paused',
];

/** What Temporal tells of a workflow; and its children that run. */
export async function readWorkflow(
  client: Client,
  workflowId: string,
): Promise<{ workflow: WorkflowFacts; children: string[] }> {
  const described = await describe(client, workflowId);
  if (described === undefined) {
    return { workflow: { workflowId, status: 'not found', activities: [], lostAt: [] }, children: [] };
  }
  const { workflowExecutionInfo: info, pendingWorkflowTask, pendingActivities, pendingChildren } = described;
  const events = await newestEvents(client, workflowId, info?.execution?.runId ?? '', EVENTS);
  const status = STATUSES[info?.status ?? 0] ?? STATUSES[0]!;
  const isRunning = status === 'running';
  const read = (failure: Failure) => readFailure(client, { kind: 'workflow', id: workflowId }, failure);
  const taskFailure = isRunning ? await lastTaskFailure(events, read) : undefined;
  const mismatch = isRunning ? await lastMismatch(described, events, read) : undefined;
  const closeReason = isRunning ? undefined : await closeReasonOf(events[0], read);
  const closedAt = epochMs(info?.closeTime);
  const taskQueue = info?.taskQueue;
  const activities = (pendingActivities ?? []).map(async (activity) =>
    activityOf(activity, {
      summary: await summaryOf(client, workflowId, activity, events),
      failure: activity.lastFailure ? failureOf(await read(activity.lastFailure)) : undefined,
    }),
  );
  return {
    workflow: {
      workflowId,
      status,
      ...(closedAt === undefined ? {} : { closedAt }),
      ...(closeReason === undefined ? {} : { closeReason }),
      ...(taskQueue ? { taskQueue } : {}),
      ...(pendingWorkflowTask ? { task: taskOf(pendingWorkflowTask) } : {}),
      ...(taskFailure === undefined ? {} : { taskFailure }),
      ...(mismatch === undefined ? {} : { mismatch }),
      activities: await Promise.all(activities),
      lostAt: events.flatMap((event) => (event.activityTaskTimedOutEventAttributes ? [timeOf(event)] : [])),
    },
    children: (pendingChildren ?? []).flatMap((child) => child.workflowId ?? []),
  };
}

/** Epoch milliseconds of Temporal's timestamp, whose seconds are a 64-bit integer of its own type. */
export function epochMs(timestamp: HistoryEvent['eventTime']): number | undefined {
  if (!timestamp) return undefined;
  return Number(String(timestamp.seconds ?? 0)) * 1000 + Math.floor((timestamp.nanos ?? 0) / 1_000_000);
}

/** Not by the handle of the workflow, which fails for a memo that it cannot read. */
function describe(client: Client, workflowId: string) {
  const request = { namespace: client.options.namespace, execution: { workflowId } };
  return unlessNotFound(client, () => client.workflowService.describeWorkflowExecution(request));
}

function taskOf({ attempt, state, originalScheduledTime, scheduledTime }: PendingTask) {
  return {
    attempt: attempt ?? 1,
    isStarted: state === TASK_STARTED,
    scheduledAt: epochMs(originalScheduledTime) ?? epochMs(scheduledTime) ?? 0,
  };
}

/** Only the first failure in a row is in the history; what comes after it is the repetition, or nothing yet. */
async function lastTaskFailure(
  events: readonly HistoryEvent[],
  read: (failure: Failure) => Promise<Failure>,
): Promise<WorkflowFacts['taskFailure']> {
  for (const event of events) {
    if (event.workflowTaskCompletedEventAttributes) return undefined;
    const failure = event.workflowTaskFailedEventAttributes?.failure;
    // The server gives a task up by itself when a message arrives meanwhile; without a failure nothing is wrong.
    if (failure?.message) {
      const { applicationFailureInfo } = failure;
      const message = (await read(failure)).message ?? '';
      return { cause: applicationFailureInfo?.type ?? 'Error', message, at: timeOf(event) };
    }
  }
  return undefined;
}

/** An activity that waits to be offered again says it, or the end of a chunk, which has one attempt. */
async function lastMismatch(
  { pendingActivities }: DescribeWorkflowExecutionResponse,
  events: readonly HistoryEvent[],
  read: (failure: Failure) => Promise<Failure>,
): Promise<WorkflowFacts['mismatch']> {
  const failures = [
    ...(pendingActivities ?? []).map((activity) => ({
      failure: activity.lastFailure,
      // Between two attempts some servers say only when it was scheduled.
      at:
        epochMs(activity.lastAttemptCompleteTime) ||
        epochMs(activity.lastStartedTime) ||
        epochMs(activity.scheduledTime) ||
        0,
    })),
    ...events.map((event) => ({
      failure: event.activityTaskFailedEventAttributes?.failure,
      at: timeOf(event),
    })),
  ];
  const [last] = failures
    .filter(({ failure }) => mismatchOf(failure) !== undefined)
    .toSorted((a, b) => b.at - a.at);
  return last && { message: mismatchOf(await read(last.failure!))!, at: last.at };
}

/** Why a run was closed, as far as its last event tells. */
export async function closeReasonOf(
  event: HistoryEvent | undefined,
  read: (failure: Failure) => Promise<Failure>,
): Promise<string | undefined> {
  const terminated = event?.workflowExecutionTerminatedEventAttributes;
  if (terminated)
    return [terminated.reason, terminated.identity && `by ${terminated.identity}`].filter(Boolean).join(', ');
  const failure = event?.workflowExecutionFailedEventAttributes?.failure;
  return failure ? ((await read(failure)).message ?? undefined) : undefined;
}

function activityOf(
  activity: PendingActivity,
  { summary, failure }: { summary: string | undefined; failure: ActivityFacts['failure'] | undefined },
): ActivityFacts {
  const startedAt = epochMs(activity.lastStartedTime);
  const heartbeatAt = epochMs(activity.lastHeartbeatTime);
  const taskQueue = activity.activityOptions?.taskQueue?.name;
  return {
    type: activity.activityType?.name ?? '',
    state: stateOf(activity),
    ...(taskQueue ? { taskQueue } : {}),
    attempt: activity.attempt ?? 1,
    scheduledAt: epochMs(activity.nextAttemptScheduleTime) ?? epochMs(activity.scheduledTime) ?? 0,
    ...(startedAt ? { startedAt } : {}),
    ...(heartbeatAt ? { heartbeatAt } : {}),
    ...(failure === undefined ? {} : { failure }),
    ...(activity.lastWorkerIdentity ? { worker: activity.lastWorkerIdentity } : {}),
    ...(summary === undefined ? {} : { summary }),
  };
}

function stateOf({ state, paused }: PendingActivity): ActivityFacts['state'] {
  if (state === ACTIVITY_STARTED || state === ACTIVITY_CANCEL_REQUESTED) return 'started';
  return paused || state === ACTIVITY_PAUSED || state === ACTIVITY_PAUSE_REQUESTED ? 'paused' : 'scheduled';
}

async function summaryOf(
  client: Client,
  workflowId: string,
  { activityId }: PendingActivity,
  events: readonly HistoryEvent[],
): Promise<string | undefined> {
  const event = events.find((other) => other.activityTaskScheduledEventAttributes?.activityId === activityId);
  const summary = event?.userMetadata?.summary;
  if (!summary) return undefined;
  try {
    const text = await readPayload(client, { kind: 'workflow', id: workflowId }, summary);
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}

/** Beneath the wrappers of Temporal is what the app's code threw. */
function failureOf(failure: Failure): { type: string; message: string } {
  if (failure.timeoutFailureInfo) return { type: 'Timeout', message: failure.message ?? 'timed out' };
  return { type: failure.applicationFailureInfo?.type ?? 'Error', message: failure.message ?? '' };
}

function timeOf(event: HistoryEvent): number {
  return epochMs(event.eventTime) ?? 0;
}
