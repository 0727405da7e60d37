import { getExternalWorkflowHandle, log, setHandler } from '@temporalio/workflow';
import type { CallbackRegistration } from './batch-state.ts';
import { shielded } from './handlers.ts';
import { callbackEndedSignal, pingSignal } from './messages.ts';
import { mirror } from './mirror.ts';
import { runCallback } from './run-callback.ts';
import { workFor, type ForSchema } from './schema.ts';

export interface CallbackWorkflowInput extends ForSchema {
  readonly batchId: string;
  readonly round: number;
  readonly batchWorkflowId: string;
  readonly registration: CallbackRegistration;
}

/**
 * Runs a callback of a batch whose jobs still run: the batch goes on counting, and continues as new, while the
 * callback is retried.
 */
export async function batchCallback(input: CallbackWorkflowInput): Promise<void> {
  const { batchId, batchWorkflowId, registration, round } = input;
  workFor(input.schema);
  setHandler(pingSignal, () => {});
  // As the batch does: Temporal's own cancellation changes nothing.
  await shielded(async () => {
    // Here, and not where the alert is decided: a task that is lost with its worker decides anew, perhaps otherwise.
    if (registration.event === 'idle') await mirror.scheduleAlertCallback({ batchId, round });
    await runCallback(input);
    try {
      await getExternalWorkflowHandle(batchWorkflowId).signal(callbackEndedSignal, {
        event: registration.event,
        round,
      });
    } catch (error) {
      log.warn('The batch workflow is gone', { batchId: input.batchId, error: String(error) });
    }
  });
}
