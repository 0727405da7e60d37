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
  workflowInfo,
} from '@temporalio/workflow';
import type { StepActivities, StepInput } from '../activities/contract.ts';
import type { ExecuteBatchResult } from './execute-batch.ts';
import { onSignal, shielded } from './handlers.ts';
import { batchEndedSignal } from './messages.ts';

/** As long as it takes: a worker or a database that is away is waited for. What cannot be is not retryable. */
const { startStep, readStep, cancelStep } = proxyActivities<StepActivities>({
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '30s' },
});

/** The batch says when it is over. Only one whose workflow somebody terminated does not: it is looked after, rarely. */
const FIRST_LOOK_MS = 60_000;
const LAST_LOOK_MS = 10 * 60_000;
/** As `continueAsNewAfterEvents` of a batch. */
const MAX_HISTORY_EVENTS = 4_000;

/** What `executeBatch` starts on the workers of the batch: starts it, waits for its end, and cancels it when asked to. */
export async function batchStep(input: StepInput): Promise<ExecuteBatchResult> {
  const { batchId, options } = input;
  let isSaidOver = input.isSaidOver ?? false;
  onSignal(batchEndedSignal, (message) => {
    if (message.batchId === batchId) isSaidOver = true;
  });
  setCurrentDetails(`Waits for the workflow \`batch:${batchId}\`.`);

  try {
    // Cancelled in the middle, it would leave a batch behind that nobody knows of.
    if (!input.isStarted) {
      const { mayBeOver } = await shielded(() => startStep(input));
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
    let pauseMs = FIRST_LOOK_MS;
    for (;;) {
      await condition(() => isSaidOver, pauseMs);
      const wasSaidOver = isSaidOver;
      isSaidOver = false;
      const progress = await readStep({ batchId, isSaidOver: wasSaidOver });
      if (progress) return { batchId, ...progress };
      pauseMs = wasSaidOver ? FIRST_LOOK_MS : Math.min(LAST_LOOK_MS, 2 * pauseMs);
      if (wantsContinueAsNew()) {
        await continueAsNew<typeof batchStep>({
          ...input,
          jobs: [],
          isStarted: true,
          isSaidOver,
          isCancelled,
        });
      }
    }
  }

  /** Stops the batch and waits until it is over, if there is anything left of it. */
  async function cancelled(): Promise<void> {
    try {
      const { mayBeOver } = await cancelStep({ batchId });
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
    const { continueAsNewSuggested, historyLength } = workflowInfo();
    const { continueAsNewAfterEvents = MAX_HISTORY_EVENTS } = options;
    return continueAsNewSuggested || historyLength > continueAsNewAfterEvents;
  }
}

/** What an activity gave as its reason, so that it is the workflow's, too. */
function reasonOf(error: unknown): unknown {
  const { cause } = error instanceof ActivityFailure ? error : {};
  return cause instanceof ApplicationFailure ? cause : error;
}
