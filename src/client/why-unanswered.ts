import type { QueueFacts, WorkflowFacts } from '../doctor/facts.ts';
import { readQueue } from '../doctor/temporal-facts.ts';
import { oneLine, quote, span } from '../doctor/words.ts';
import { readWorkflow } from '../doctor/workflow-facts.ts';
import {
  BatchError,
  TemporalUnavailableError,
  WorkerBusyError,
  WorkerFailingError,
  WorkerUnavailableError,
} from '../errors.ts';
import { CALLS, LATE } from '../timeouts.ts';
import { batchWorkflowId, type BatchClient } from './batch-client.ts';
import { databaseMismatch, toBatchError } from './temporal-errors.ts';

/** Activities that run the app's code: their failures say nothing of the workers' own work. */
const OF_THE_APP: readonly string[] = ['runChunk', 'runCallback'];

/** What Temporal tells of a batch that did not answer. */
export interface UnansweredFacts {
  readonly now: number;
  readonly workflow: WorkflowFacts;
  readonly taskQueue: string;
  readonly queue: QueueFacts;
}

/**
 * Finds out why a call to a batch's workflow was not answered within `CALLS.worker`: Temporal cannot be reached, no
 * worker polls, or workers poll and are overloaded or fail.
 *
 * @param what did not happen, as in `The batch was not paused`
 */
export async function whyUnanswered(
  batches: Pick<BatchClient, 'client' | 'taskQueue'>,
  batchId: string,
  what: string,
  cause: unknown,
): Promise<BatchError> {
  const { client } = batches;
  let facts: UnansweredFacts;
  try {
    facts = await client.withDeadline(Date.now() + CALLS.giveUp, async () => {
      const { workflow } = await readWorkflow(client, batchWorkflowId(batchId));
      const { taskQueue = batches.taskQueue } = workflow;
      return { now: Date.now(), workflow, taskQueue, queue: await readQueue(client, taskQueue) };
    });
  } catch (error) {
    const known = toBatchError(batchId, error);
    if (known instanceof BatchError) return known;
    return new TemporalUnavailableError(
      'TEMPORAL_UNAVAILABLE',
      `${what}: Temporal did not answer (${String(error)}). Check the address, TLS and that the server runs.`,
      { cause: error },
    );
  }
  return explainSilence(facts, what, cause);
}

/** The rules of {@link whyUnanswered}. */
export function explainSilence(
  { now, workflow, taskQueue, queue: { workflowPollAt } }: UnansweredFacts,
  what: string,
  cause: unknown,
): BatchError {
  const options = { cause };
  const { activities, mismatch, task, taskFailure } = workflow;
  if (mismatch && now - mismatch.at < LATE.mismatch) return databaseMismatch(what, mismatch.message, cause);
  const waited = `${CALLS.worker / 1000} s`;
  const isPolled = workflowPollAt !== undefined && now - workflowPollAt < LATE.poll;
  // A worker that had asked before would have got the task that waits, unless it is gone.
  const isIgnored =
    task !== undefined &&
    !task.isStarted &&
    now - task.scheduledAt > LATE.task &&
    (workflowPollAt ?? 0) < task.scheduledAt;
  const lastPoll = workflowPollAt === undefined ? '' : ` (last poll ${span(now - workflowPollAt)} ago)`;
  if (!isPolled || isIgnored) {
    return new WorkerUnavailableError(
      'WORKER_UNAVAILABLE',
      `${what}: no worker polled task queue ${quote(taskQueue)} for ${waited}${lastPoll}. ` +
        'Start one with createBatchWorker, and check that it has this task queue and namespace.',
      options,
    );
  }
  const write = activities.find(
    ({ type, failure, state }) =>
      !OF_THE_APP.includes(type) && (failure !== undefined || state === 'started'),
  );
  if (write) {
    const why = write.failure ? oneLine(write.failure.message) : 'no answer yet';
    return new WorkerFailingError(
      'WORKER_FAILING',
      `${what}: a worker on task queue ${quote(taskQueue)} cannot write to Postgres (${write.type}: ${why}). ` +
        'Check that workers reach the database and may write to its tables.',
      options,
    );
  }
  if (taskFailure) {
    return new WorkerFailingError(
      'WORKER_FAILING',
      `${what}: workers on task queue ${quote(taskQueue)} fail the batch's workflow tasks (${oneLine(taskFailure.message)}). ` +
        'Run the same version of this package in all workers, and see their logs.',
      options,
    );
  }
  return new WorkerBusyError(
    'WORKER_BUSY',
    `${what}: workers poll task queue ${quote(taskQueue)}${lastPoll}, and none answered for ${waited}. ` +
      'They are overloaded, hang, or wait for Postgres: see their logs and CPU, and start more of them.',
    options,
  );
}
