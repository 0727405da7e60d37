import { activityInfo } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import {
  deleteBatch,
  insertBatch,
  markAlerted,
  markFinished,
  markSealed,
  markSteered,
  markTakenOver,
  selectBlock,
  selectMovement,
  selectQueues,
} from '../src/database/batches.ts';
import {
  insertCallback,
  markAlertCallbackScheduled,
  markCallbackFailure,
  markCallbackRetried,
} from '../src/database/callbacks.ts';
import { atPrimary } from '../src/database/primary.ts';
import { selectPendingExecutions, selectPositions } from '../src/database/workflow-jobs.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import { quietly } from '../src/telemetry/quietly.ts';
import { CALLS } from '../src/timeouts.ts';
import { formatSpans, spansOf } from '../workflows/spans.ts';
import { noteEnrolled, noteSettled } from './batch-telemetry.ts';
import type { MirrorActivities } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';

/** Short writes of the mirror. Idempotent: Temporal may run each more than once. */
export function createMirrorActivities({
  batches,
  database,
}: Pick<ActivityDependencies, 'batches' | 'database'>): MirrorActivities {
  return {
    createBatch: async (input) => {
      const created = await insertBatch(database, input);
      // The client may have given the batch up, and deleted its row, while the row was on its way.
      const isLate = Date.now() - input.startedAt > CALLS.creatorPatience;
      if (created && isLate && (await isTerminated(batches.client))) await deleteBatch(database, input);
      if (created) instruments()?.batchesStarted.add(1);
      return { created };
    },
    takeOverBlock: (input) => markTakenOver(database, input, noteEnrolled),
    findBlock: ({ batchId }) => selectBlock(database, batchId),
    sealBatch: (input) => markSealed(database, input, noteEnrolled),
    discardBatch: (input) => deleteBatch(database, input),
    registerCallback: (input) => insertCallback(database, input),
    steerBatch: (input) => markSteered(database, input),
    findWorkflowJobs: async ({ batchId, workflowIds }) =>
      formatSpans(spansOf(await selectPositions(database, batchId, workflowIds))),
    hasWorkflowJobs: async ({ batchId }) => {
      const first = await atPrimary(database, batchId, (primary) =>
        selectPendingExecutions(primary, batchId, { after: 0, limit: 1 }),
      );
      return first.length > 0;
    },
    findQueues: ({ batchId }) => selectQueues(database, batchId),
    readMovement: ({ batchId }) => selectMovement(database, batchId),
    alertBatch: (input) => markAlerted(database, input),
    scheduleAlertCallback: (input) => markAlertCallbackScheduled(database, input),
    finishBatch: (input) =>
      markFinished(database, input, {
        settled: (settlement) => quietly(() => noteSettled(input.batchId, input.outcome, settlement)),
        enrolled: noteEnrolled,
      }),
    failCallback: async ({ callback, errorClass, errorMessage, ...key }) => {
      await markCallbackFailure(database, key, { errorClass, errorMessage, final: true });
      instruments()?.callbacksEnded.add(1, { callback, event: key.event, outcome: 'failed' });
    },
    retryCallback: (input) => markCallbackRetried(database, input),
  };
}

/** Whether the workflow that called this activity has been terminated since. */
async function isTerminated(client: Client): Promise<boolean> {
  const { workflowId, runId } = activityInfo().workflowExecution!;
  const { status } = await client.workflow.getHandle(workflowId, runId).describe();
  return status.name === 'TERMINATED';
}
