import {
  type ActivityFacts,
  type Facts,
  type MirrorFacts,
  type QueueFacts,
  type TemporalFacts,
  type WorkflowFacts,
} from './facts.ts';
import { LATE } from '../timeouts.ts';
import { encodingIn } from '../temporal-payloads.ts';
import type { Finding } from './findings.ts';
import { counted, groupBy, oneLine, quote, span } from './words.ts';

/** Workers that are missing, busy or unable to run the workflows. */
export function workerFindings(facts: Facts, temporal: TemporalFacts): Finding[] {
  const workflows = [temporal.batch, ...temporal.parts.filter(({ status }) => status === 'running')];
  const missing = noWorkflowWorker(facts, temporal, workflows);
  const withoutWorker = new Set(missing.map(({ details }) => details['taskQueue']));
  return [
    ...missing,
    ...workflows.flatMap((workflow) => taskFailing(workflow)),
    ...otherSchemas(facts, workflows),
    ...runnersLost(temporal),
    ...activityQueues(facts, temporal, workflows).filter(
      ({ details }) => !withoutWorker.has(details['taskQueue']),
    ),
    ...paused(workflows),
  ];
}

/** All workflows of a batch are on one task queue: one finding says it for all. */
function noWorkflowWorker(
  { now, mirror }: Facts,
  temporal: TemporalFacts,
  workflows: readonly WorkflowFacts[],
): Finding[] {
  const taskQueue = workflows.map((workflow) => workflow.taskQueue).find((name) => name !== undefined);
  if (taskQueue === undefined) return [];
  const { workflowPollAt } = temporal.queues[taskQueue] ?? {};
  const waiting = workflows.flatMap(({ task }) => (task && !task.isStarted ? [task.scheduledAt] : []));
  const waitingSince = waiting.length === 0 ? undefined : Math.min(...waiting);
  // A worker that is idle has asked and waits for an answer: it would have got a task that came after that.
  const isIgnored =
    waitingSince !== undefined && now - waitingSince > LATE.task && (workflowPollAt ?? 0) < waitingSince;
  if (isPolled(workflowPollAt, now) && !isIgnored) return [];
  const pending = mirror?.batch.progress.pending ?? 0;
  return [
    {
      code: 'NO_WORKFLOW_WORKER',
      severity: 'attention',
      message: `No worker polls task queue ${quote(taskQueue)}${lastPoll(workflowPollAt, now)}.`,
      advice: `The batch itself runs there${pending > 0 ? `, and ${counted(pending, 'job')} of it wait` : ''}. ${startWorker(taskQueue, temporal.namespace)}`,
      since: workflowPollAt ?? waitingSince ?? null,
      details: { taskQueue, lastPollAt: workflowPollAt ?? null, waitingSince: waitingSince ?? null },
    },
  ];
}

function taskFailing({ workflowId, taskFailure, task }: WorkflowFacts): Finding[] {
  if (!taskFailure) return [];
  const { cause, message, at } = taskFailure;
  const encoding = encodingIn(message);
  return [
    {
      code: 'WORKFLOW_TASK_FAILING',
      severity: 'attention',
      message: `Workers cannot go on with the workflow ${quote(workflowId)}: ${oneLine(message)}`,
      advice:
        encoding === undefined
          ? 'Usual causes: a worker of an older or changed version of this package, or one whose workflow bundle lacks its workflows. Temporal tries again by itself: start the right worker, and stop the others on this task queue.'
          : `A client has written payloads encoded as ${encoding}, by a codec or converter that the workers lack. Start workers with its dataConverter: createBatchWorker({ workerOptions: { dataConverter } }). The workflow goes on by itself then.`,
      since: at,
      details: { workflowId, cause, message, attempt: task?.attempt ?? 1 },
    },
  ];
}

/** Workers of another database share the task queue. One finding says it for all workflows of the batch. */
function otherSchemas({ now }: Facts, workflows: readonly WorkflowFacts[]): Finding[] {
  const [last] = workflows
    .flatMap(({ mismatch }) => mismatch ?? [])
    .filter(({ at }) => now - at < LATE.mismatch)
    .toSorted((a, b) => b.at - a.at);
  if (!last) return [];
  return [
    {
      code: 'DATABASE_MISMATCH',
      severity: 'attention',
      message: oneLine(last.message),
      advice: 'Nothing is lost: the work is offered again until a worker with the right schema takes it.',
      since: last.at,
      details: { message: last.message },
    },
  ];
}

function runnersLost({ state, batch, parts }: TemporalFacts): Finding[] {
  if (!state) return [];
  const running = new Set(
    parts.filter(({ status }) => status === 'running').map(({ workflowId }) => workflowId),
  );
  const lost = Object.entries(state.runners).filter(
    ([id, { inline }]) => !inline && !running.has(`${batch.workflowId}/runner/${id}`),
  );
  return lost.map(([runner, { from, to }]) => ({
    code: 'RUNNER_LOST',
    severity: 'waiting',
    message: `Runner ${runner} (jobs ${from} to ${to}) is not running: it was terminated, or is about to start.`,
    advice: 'The batch notices within a minute, and another runner takes its range.',
    since: null,
    details: { runner, from, to },
  }));
}

/** Chunks and callbacks that are offered to workers, and that nobody takes. */
function activityQueues(
  { now, mirror }: Facts,
  temporal: TemporalFacts,
  workflows: readonly WorkflowFacts[],
): Finding[] {
  const activities = workflows.flatMap((workflow) =>
    workflow.activities.map((activity) => ({
      ...activity,
      taskQueue: activity.taskQueue ?? workflow.taskQueue ?? '',
    })),
  );
  return groupBy(activities, ({ taskQueue }) => taskQueue).flatMap(([taskQueue, all]): Finding[] => {
    const waiting = all.filter(({ state, scheduledAt }) => state === 'scheduled' && scheduledAt <= now);
    if (waiting.length === 0) return [];
    const since = Math.min(...waiting.map(({ scheduledAt }) => scheduledAt));
    const queue = temporal.queues[taskQueue] ?? {};
    const isMissing = !isPolled(queue.activityPollAt, now) && !isAlive(queue, all, now);
    if (!isMissing && now - since < LATE.task) return [];
    const jobs = mirror === undefined ? 0 : jobsOf(mirror, taskQueue, temporal.batch.taskQueue);
    const what = waiting.some(({ type }) => type === 'runCallback')
      ? 'A callback waits'
      : jobs > 0
        ? `${counted(jobs, 'job')} ${jobs === 1 ? 'waits' : 'wait'}`
        : `${counted(waiting.length, 'chunk')} of jobs ${waiting.length === 1 ? 'waits' : 'wait'}`;
    const details = { taskQueue, jobs, lastPollAt: queue.activityPollAt ?? null };
    if (isMissing) {
      return [
        {
          code: 'NO_ACTIVITY_WORKER',
          severity: 'attention',
          message: `No worker polls task queue ${quote(taskQueue)} for activities${lastPoll(queue.activityPollAt, now)}.`,
          advice: `${what} for it. ${startWorker(taskQueue, temporal.namespace)}`,
          since,
          details,
        },
      ];
    }
    return [
      {
        code: 'WAITING_FOR_SLOT',
        severity: 'waiting',
        message: `${what} for a free worker on task queue ${quote(taskQueue)}${lastPoll(queue.activityPollAt, now)}.`,
        advice:
          'Its workers are busy with what came before: start more of them, or raise maxConcurrentJobs. For about a minute, a worker that has just stopped looks the same.',
        since,
        details,
      },
    ];
  });
}

function paused(workflows: readonly WorkflowFacts[]): Finding[] {
  return workflows.flatMap(({ workflowId, activities }) =>
    activities
      .filter(({ state }) => state === 'paused')
      .map(({ summary, type }): Finding => ({
        code: 'ACTIVITY_PAUSED',
        severity: 'attention',
        message: `Somebody paused an activity of ${quote(workflowId)}: ${summary ?? type}.`,
        advice: `temporal activity unpause --workflow-id ${quote(workflowId)} --activity-type ${type}`,
        since: null,
        details: { workflowId, type, summary: summary ?? null },
      })),
  );
}

/** A worker with all slots taken does not poll for activities; it polls for workflows, and heartbeats. */
function isAlive({ workflowPollAt }: QueueFacts, activities: readonly ActivityFacts[], now: number): boolean {
  return isPolled(workflowPollAt, now) || activities.some((activity) => heartbeats(activity, now));
}

function heartbeats({ state, startedAt, heartbeatAt }: ActivityFacts, now: number): boolean {
  return state === 'started' && now - (heartbeatAt ?? startedAt ?? 0) < LATE.heartbeat;
}

function isPolled(pollAt: number | undefined, now: number): boolean {
  return pollAt !== undefined && now - pollAt < LATE.poll;
}

function lastPoll(pollAt: number | undefined, now: number): string {
  return pollAt === undefined ? '' : ` (last asked ${span(now - pollAt)} ago)`;
}

function startWorker(taskQueue: string, namespace: string): string {
  const options = `taskQueue: ${quote(taskQueue)}${namespace === 'default' ? '' : `, namespace: ${quote(namespace)}`}`;
  return `Start a worker with createBatchWorker({ ${options} }).`;
}

/** Pending jobs of a task queue that could run now. */
function jobsOf({ pending }: MirrorFacts, taskQueue: string, own: string | undefined): number {
  return pending
    .filter((facts) => (facts.taskQueue ?? own) === taskQueue)
    .reduce((sum, { count, retrying, delayed }) => sum + count - retrying - delayed, 0);
}
