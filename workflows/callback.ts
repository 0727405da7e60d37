import { allHandlersFinished, getExternalWorkflowHandle, log, setHandler } from '@temporalio/workflow';
import type { RetryCallbackInput } from '../activities/contract.ts';
import type { CallbackRegistration, Refusal } from './batch-state.ts';
import { refuseIf, shielded, untilTrue } from './handlers.ts';
import { callbackEndedSignal, createdUpdate, pingSignal } from './messages.ts';
import { mirror } from './mirror.ts';
import { runCallback } from './run-callback.ts';
import { forSchema, workFor, type ForSchema } from './schema.ts';

export interface CallbackWorkflowInput extends ForSchema {
  readonly batchId: string;
  readonly round: number;
  readonly batchWorkflowId: string;
  readonly registration: CallbackRegistration;
  /** The alert that it is called for, if its event is `idle`. */
  readonly alert: number;
  /** Set where it runs again, after it has failed for good: see `Batch.retryCallback`. */
  readonly retry?: Pick<RetryCallbackInput, 'retry' | 'isAbandoned'>;
}

/**
 * Runs a callback of a batch whose jobs still run: the batch goes on counting, and continues as new, while the
 * callback is retried. Also runs one again that has failed for good, when the batch's workflow may have closed.
 */
export async function batchCallback(input: CallbackWorkflowInput): Promise<void> {
  const { alert, batchId, batchWorkflowId, registration, retry, round } = input;
  workFor(input.schema);
  setHandler(pingSignal, () => {});
  let isOurs = retry ? undefined : true;
  setHandler(createdUpdate, () =>
    shielded(async () => {
      await untilTrue(() => isOurs !== undefined);
      refuseIf(isOurs ? undefined : taken(registration));
      return forSchema({});
    }),
  );
  // As the batch does: Temporal's own cancellation changes nothing.
  await shielded(async () => {
    if (retry) {
      isOurs = await mirror.retryCallback({ batchId, round, event: registration.event, ...retry });
      // Its batch does not wait for it, and may be gone.
      if (isOurs) await runCallback(input);
      await untilTrue(allHandlersFinished);
      return;
    }
    // Here, and not where the alert is decided: a task that is lost with its worker decides anew, perhaps otherwise.
    if (registration.event === 'idle') await mirror.scheduleAlertCallback({ batchId, round, alert });
    await runCallback(input);
    try {
      await getExternalWorkflowHandle(batchWorkflowId).signal(callbackEndedSignal, {
        event: registration.event,
        round,
        alert,
      });
    } catch (error) {
      log.warn('The batch workflow is gone', { batchId: input.batchId, error: String(error) });
    }
  });
}

function taken({ event }: CallbackRegistration): Refusal {
  return {
    code: 'CALLBACK_RUNNING',
    message: `The callback on ${event} runs, or has run, again, or the batch has another round. Look at the batch again.`,
  };
}
