import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/common';
import { BATCH_EVENTS, type BatchEvent } from '../../workflows/batch-state.ts';
import type { batchCallback } from '../../workflows/callback.ts';
import { callbackSummary } from '../../workflows/details.ts';
import { createdUpdate } from '../../workflows/messages.ts';
import { callbackRetryWorkflowId, callbackWorkflowId } from '../../workflows/names.ts';
import { selectRetryBasis, type RetryBasis } from '../database/callbacks.ts';
import type { BatchRecord } from '../database/rows.ts';
import { BatchError, InvalidOptionError } from '../errors.ts';
import { isWorkflowRunning } from '../temporal-calls.ts';
import { CALLS } from '../timeouts.ts';
import { batchWorkflowId, type BatchClient } from './batch-client.ts';
import { sendUpdate } from './call-batch.ts';
import { runOutsideEnrollment } from './enrollment-context.ts';
import { isDeadlineExceeded, toBatchError } from './temporal-errors.ts';

/**
 * Starts the workflow that runs a callback again. Its id has the number of the retry, so that of two calls at once one
 * starts it; the workflow's first write decides by the row whether the callback is still due.
 *
 * @returns whether no worker has answered yet
 */
export async function retryCallback(
  batches: BatchClient,
  { id, description }: BatchRecord,
  event: BatchEvent,
): Promise<{ queued: boolean }> {
  if (!BATCH_EVENTS.includes(event))
    throw new InvalidOptionError('event', `one of ${BATCH_EVENTS.join(', ')}`, event);
  const basis = await batches.read(() => selectRetryBasis(batches.database, id, event));
  if (!basis) {
    throw new BatchError(
      'CALLBACK_NOT_REGISTERED',
      `Batch "${id}" has no callback on ${event}. Its callbacks: batch.callbacks(), or batch-jobs status ${id}.`,
    );
  }
  const { alert, round, registration } = basis;
  const isAbandoned = await mayRetry(batches, id, basis);
  const retry = basis.retries + 1;
  const batchWorkflow = batchWorkflowId(id);
  const workflowId = callbackRetryWorkflowId(batchWorkflow, { round, event, retry });
  const { client, taskQueue } = batches;
  const schema = await batches.read(() => batches.identity.ref());
  try {
    await runOutsideEnrollment(() =>
      client.withDeadline(Date.now() + CALLS.worker, () =>
        client.workflow.start<typeof batchCallback>('batchCallback', {
          workflowId,
          taskQueue,
          // One that was terminated before it wrote anything must not block its number; a late one finds it taken.
          workflowIdReusePolicy: 'ALLOW_DUPLICATE',
          workflowIdConflictPolicy: 'FAIL',
          staticSummary: `${callbackSummary(registration)} of batch ${id}, again`,
          memo: { batchId: id, description, event },
          args: [
            {
              schema,
              batchId: id,
              round,
              batchWorkflowId: batchWorkflow,
              registration,
              alert,
              retry: { retry, isAbandoned },
            },
          ],
        }),
      ),
    );
  } catch (error) {
    if (error instanceof WorkflowExecutionAlreadyStartedError) throw running(id, basis, error);
    throw toBatchError(id, error);
  }
  try {
    const handle = client.workflow.getHandle<typeof batchCallback>(workflowId);
    await sendUpdate(client, (updateId) => handle.executeUpdate(createdUpdate, { updateId }));
  } catch (error) {
    if (isDeadlineExceeded(error)) return { queued: true };
    // It is over already.
    if (!(error instanceof WorkflowNotFoundError)) throw toBatchError(id, error);
  }
  return { queued: false };
}

/** @returns whether nothing runs the callback any more although it has not ended @throws why it cannot run again */
async function mayRetry(batches: BatchClient, batchId: string, basis: RetryBasis): Promise<boolean> {
  const { status, registration } = basis;
  if (status === 'failed') return false;
  if (status !== 'scheduled' && status !== 'running') {
    throw new BatchError(
      'CALLBACK_NOT_FAILED',
      `The callback "${registration.callback}" of batch "${batchId}" on ${registration.event} is ${status}. ` +
        'Only a callback that has failed for good runs again.',
    );
  }
  if (await isRunBySomething(batches, batchId, basis)) throw running(batchId, basis);
  return true;
}

function running(batchId: string, { registration }: RetryBasis, cause?: unknown): BatchError {
  return new BatchError(
    'CALLBACK_RUNNING',
    `The callback "${registration.callback}" of batch "${batchId}" on ${registration.event} runs, or is about to. ` +
      `Wait for its end: batch-jobs status ${batchId} shows it.`,
    { cause },
  );
}

/** Whether a workflow is there that runs the callback, or will: if none is, somebody has terminated it. */
async function isRunBySomething(
  { client }: BatchClient,
  batchId: string,
  { alert, round, retries, registration: { event } }: RetryBasis,
): Promise<boolean> {
  const workflowId = batchWorkflowId(batchId);
  const runners =
    retries > 0
      ? [callbackRetryWorkflowId(workflowId, { round, event, retry: retries })]
      : [workflowId, callbackWorkflowId(workflowId, { round, event, alert })];
  try {
    const found = await Promise.all(runners.map((id) => isWorkflowRunning(client, id)));
    return found.includes(true);
  } catch (error) {
    throw toBatchError(batchId, error);
  }
}
