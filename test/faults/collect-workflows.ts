import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { runsOf, type History, type Run } from '../support/histories.ts';
import type { WorkflowEvidence } from './evidence.ts';
import type { BatchPlan } from './plan-batch.ts';
import { workflowIdOf } from './settings.ts';

/** What Temporal knows of the workflows of the app that are, or may be, jobs of a batch. */
export async function collectWorkflows(
  client: Client,
  batchId: string,
  { workflows }: BatchPlan,
): Promise<WorkflowEvidence[]> {
  return Promise.all(
    workflows.map(async ({ task: { name } }) => {
      const workflowId = workflowIdOf(batchId, name);
      return { name, workflowId, chain: chainOf(await runsIfAny(client, workflowId)) };
    }),
  );
}

/** The runs of a workflow's newest chain. Empty where there is none. */
export async function runsIfAny(client: Client, workflowId: string): Promise<Run[]> {
  try {
    return await runsOf(client, workflowId);
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return [];
    throw error;
  }
}

function chainOf(runs: readonly Run[]): WorkflowEvidence['chain'] {
  const last = runs.at(-1);
  if (!last) return null;
  const end = last.history.events!.at(-1)!;
  return {
    runIds: runs.map(({ runId }) => runId),
    status: last.status,
    failure: failureOf(end),
    endedAt: Number(end.eventTime!.seconds) * 1_000 + Math.floor((end.eventTime!.nanos ?? 0) / 1e6),
  };
}

/** Type of the innermost application failure. */
function failureOf(event: NonNullable<History['events']>[number]): string | null {
  let type: string | null = null;
  let failure = event.workflowExecutionFailedEventAttributes?.failure;
  while (failure) {
    type = failure.applicationFailureInfo?.type ?? type;
    failure = failure.cause;
  }
  return type;
}
