import type { WorkflowHandle } from '@temporalio/client';
import type { batch as batchWorkflow } from '../../workflows/batch.ts';
import { batchWorkflowId, type BatchClient } from './batch-client.ts';
import { CALLS } from '../timeouts.ts';
import { findMismatch } from './mismatch.ts';
import { databaseMismatch, isDeadlineExceeded, toBatchError } from './temporal-errors.ts';

export type BatchHandle = WorkflowHandle<typeof batchWorkflow>;

export function handleOf(batches: BatchClient, batchId: string): BatchHandle {
  return batches.client.workflow.getHandle<typeof batchWorkflow>(batchWorkflowId(batchId));
}

/** Calls the batch's workflow and turns what it throws into our errors. @param what did not happen if no worker answers */
export async function callBatch<T>(
  batches: BatchClient,
  batchId: string,
  what: string,
  call: (handle: BatchHandle) => Promise<T>,
): Promise<T> {
  try {
    return await batches.client.withDeadline(Date.now() + CALLS.worker, () =>
      call(handleOf(batches, batchId)),
    );
  } catch (error) {
    if (isDeadlineExceeded(error)) {
      const mismatch = await findMismatch(batches.client, batchWorkflowId(batchId));
      throw mismatch === undefined
        ? batches.workerUnavailable(what, error)
        : databaseMismatch(what, mismatch, error);
    }
    throw toBatchError(batchId, error);
  }
}
