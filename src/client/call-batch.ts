import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Client, WorkflowHandle } from '@temporalio/client';
import type { batch as batchWorkflow } from '../../workflows/batch.ts';
import { CALLS } from '../timeouts.ts';
import { batchWorkflowId, type BatchClient } from './batch-client.ts';
import { isDeadlineExceeded, isToBeSentAgain, toBatchError } from './temporal-errors.ts';
import { whyUnanswered } from './why-unanswered.ts';

export type BatchHandle = WorkflowHandle<typeof batchWorkflow>;

/** Pauses between two tries of an update that Temporal did not take. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

export function handleOf(batches: BatchClient, batchId: string): BatchHandle {
  return batches.client.workflow.getHandle<typeof batchWorkflow>(batchWorkflowId(batchId));
}

/**
 * Sends an update to the batch's workflow, and turns what it throws into our errors. Every update of a batch is
 * idempotent, so that two runs may take it.
 *
 * @param what did not happen if no worker answers
 * @throws {@link WorkerUnavailableError} {@link TemporalUnavailableError}, or why the batch refuses
 */
export async function callBatch<T>(
  batches: BatchClient,
  batchId: string,
  what: string,
  call: (handle: BatchHandle, updateId: string) => Promise<T>,
): Promise<T> {
  batches.assertOpen();
  try {
    return await sendUpdate(batches.client, (updateId) => call(handleOf(batches, batchId), updateId));
  } catch (error) {
    if (isDeadlineExceeded(error)) throw await whyUnanswered(batches, batchId, what, error);
    throw toBatchError(batchId, error);
  }
}

/**
 * Sends an update. Temporal does not take one that meets a failed workflow task, a continue-as-new or a limit, and leaves
 * it to the caller to send it again: it has one id, so that a run takes it once.
 */
export async function sendUpdate<T>(client: Client, send: (updateId: string) => Promise<T>): Promise<T> {
  const updateId = randomUUID();
  const deadline = Date.now() + CALLS.worker;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, 2 * pauseMs)) {
    try {
      return await client.withDeadline(deadline, () => send(updateId));
    } catch (error) {
      if (!isToBeSentAgain(error) || Date.now() + pauseMs >= deadline) throw error;
      await delay(pauseMs * (0.75 + Math.random() / 2));
    }
  }
}
