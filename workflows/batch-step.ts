import {
  ActivityFailure,
  ApplicationFailure,
  CancelledFailure,
  condition,
  continueAsNew,
  isCancellation,
  log,
  proxyActivities,
  setCurrentDetails,
} from '@temporalio/workflow';
import type { StepActivities, StepInput } from '../activities/contract.ts';
import { CONTINUE_AS_NEW_AFTER_EVENTS } from './batch-state.ts';
import type { ExecuteBatchResult } from './execute-batch.ts';
import { onSignal, shielded } from './handlers.ts';
import { isHistoryLong } from './history.ts';
import { batchEndedSignal } from './messages.ts';
import { forSchema, workFor } from './schema.ts';
import { waitMs, WORKFLOW_CALLS } from './timeouts.ts';

/** As long as it takes: a worker or a database that is away is waited for. What cannot be is not retryable. */
const stepActivities = () =>
  proxyActivities<StepActivities>({
    startToCloseTimeout: WORKFLOW_CALLS.step,
    heartbeatTimeout: waitMs('heartbeat'),
    retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '30s' },
  });

/** What `executeBatch` starts on the workers of the batch: starts it, waits for its end, and cancels it when asked to. */
export async function batchStep(input: StepInput): Promise<ExecuteBatchResult> {
  const { batchId, options } = input;
  workFor(input.schema);
  const { startStep, readStep, cancelStep } = stepActivities();
  let isSaidOver = input.isSaidOver ?? false;
  onSignal(batchEndedSignal, (message) => {
    if (message.batchId === batchId) isSaidOver = true;
  });
  setCurrentDetails(`Waits for the workflow \`batch:${batchId}\`.`);

  try {
    // Cancelled in the middle, it would leave a batch behind that nobody knows of.
    if (!input.isStarted) {
      const { mayBeOver, schema } = await shielded(() => startStep(input));
      workFor(schema);
      isSaidOver ||= mayBeOver;
    }
    if (input.isCancelled) throw new CancelledFailure('Cancelled in an earlier run');
    return await over();
  } catch (error) {
    if (!isCancellation(error)) throw reasonOf(error);
    await shielded(cancelled);
    throw error;
  }

  async function over(isCancelled = false): Promise<ExecuteBatchResult> {
    // The batch says when it is over. Only one whose workflow an operator terminated does not.
    let pauseMs = waitMs('stepCheck');
    for (;;) {
      await condition(() => isSaidOver, pauseMs);
      const wasSaidOver = isSaidOver;
      isSaidOver = false;
      const progress = await readStep(forSchema({ batchId, isSaidOver: wasSaidOver }));
      if (progress) return { batchId, ...progress };
      pauseMs = wasSaidOver ? waitMs('stepCheck') : Math.min(waitMs('stepCheckMax'), 2 * pauseMs);
      if (wantsContinueAsNew()) {
        await continueAsNew<typeof batchStep>(
          forSchema({ ...input, jobs: [], isStarted: true, isSaidOver, isCancelled }),
        );
      }
    }
  }

  /** Stops the batch and waits until it is over, if there is anything left of it. */
  async function cancelled(): Promise<void> {
    try {
      const { mayBeOver } = await cancelStep(forSchema({ batchId }));
      isSaidOver ||= mayBeOver;
      await over(true);
    } catch (error) {
      if (!(error instanceof ActivityFailure)) throw error;
      log.warn('A batch that was cancelled with its workflow is gone', {
        batchId,
        error: String(error.cause),
      });
    }
  }

  function wantsContinueAsNew(): boolean {
    return isHistoryLong(options.continueAsNewAfterEvents ?? CONTINUE_AS_NEW_AFTER_EVENTS);
  }
}

/** What an activity gave as its reason, so that it is the workflow's, too. */
function reasonOf(error: unknown): unknown {
  const { cause } = error instanceof ActivityFailure ? error : {};
  return cause instanceof ApplicationFailure ? cause : error;
}
