import type { Client, WorkflowExecutionStatusName } from '@temporalio/client';
import type { LostRound } from '../../workflows/rounds.ts';
import { closeReasonOf } from '../doctor/workflow-facts.ts';
import { BatchTerminatedError } from '../errors.ts';
import { describeWorkflow } from '../temporal-calls.ts';
import { newestEvents } from '../temporal-history.ts';
import { readFailure } from '../temporal-payloads.ts';
import { batchWorkflowId } from './batch-client.ts';
import { toBatchError } from './temporal-errors.ts';

/** How a workflow closes that has not come to its end. */
const HOW: Readonly<Partial<Record<WorkflowExecutionStatusName, string>>> = {
  CANCELLED: 'was cancelled',
  FAILED: 'failed',
  TERMINATED: 'was terminated',
  TIMED_OUT: 'timed out',
};

/** A batch that is not over, and whose workflow is closed. */
export interface LostWorkflow extends LostRound {
  /** Whether Temporal still has the workflow, so that it is known to be the batch's own. */
  readonly isKnown: boolean;
}

/**
 * Finds out whether the workflow of a batch was terminated, or has failed, before the batch was over.
 *
 * @param batch as its row says
 * @returns undefined when its workflow runs, or has ended by itself
 * @throws {@link TemporalUnavailableError}
 */
export async function findLost(
  client: Client,
  batch: { readonly id: string; readonly runId: string; readonly settledAt: Date | null },
): Promise<LostWorkflow | undefined> {
  if (batch.settledAt !== null) return undefined;
  const { id, runId: firstExecutionRunId } = batch;
  const workflowId = batchWorkflowId(id);
  try {
    const described = await describeWorkflow(client, workflowId);
    if (!described) {
      const { namespace } = client.options;
      return {
        firstExecutionRunId,
        isKnown: false,
        reason: `Temporal has no workflow "${workflowId}" in namespace "${namespace}"`,
      };
    }
    const { status, closeTime, raw, runId } = described;
    if (HOW[status.name] === undefined) return undefined;
    const [event] = await newestEvents(client, workflowId, runId, 1);
    const why = await closeReasonOf(event, (failure) =>
      readFailure(client, { kind: 'workflow', id: workflowId }, failure),
    );
    const at = closeTime === undefined ? '' : ` at ${closeTime.toISOString()}`;
    // Another batch may have had the id since, whose workflow this is.
    const isKnown = (raw.workflowExecutionInfo?.firstRunId || firstExecutionRunId) === firstExecutionRunId;
    const reason = isKnown
      ? `its workflow ${HOW[status.name]}${at}${why ? ` (${why})` : ''}`
      : `the workflow that Temporal has under its id is of another batch`;
    return { firstExecutionRunId, isKnown, reason };
  } catch (error) {
    throw toBatchError(id, error);
  }
}

/** The error for calls that need the workflow of such a batch. */
export function terminatedError(
  batchId: string,
  { isKnown, reason }: Pick<LostWorkflow, 'isKnown' | 'reason'>,
  cause?: unknown,
): BatchTerminatedError {
  const advice = isKnown
    ? 'retryFailed() runs its unfinished jobs as a new round, cancel() ends it.'
    : 'Check address and namespace. If they are right, enroll what pendingJobs() returns in another batch.';
  return new BatchTerminatedError(
    'BATCH_TERMINATED',
    `Batch "${batchId}" does not move: ${reason}. ${advice}`,
    cause === undefined ? undefined : { cause },
  );
}
