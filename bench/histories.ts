import type { Client, WorkflowExecutionInfo } from '@temporalio/client';
import { batchWorkflowId } from '../src/client/batch-client.ts';

export interface Histories {
  /** Of the run that has most. */
  readonly events: number;
  readonly bytes: number;
  /** Runs, of the batch and of its runners, that continued as new. */
  readonly continuedAsNew: number;
}

/** How large the histories of a batch that has ended grew. */
export async function largestHistories(client: Client, batchId: string): Promise<Histories> {
  const runs = await endedWorkflows(client, `WorkflowId STARTS_WITH "${batchWorkflowId(batchId)}"`);
  return {
    events: Math.max(...runs.map(({ historyLength }) => historyLength)),
    bytes: Math.max(...runs.map(({ historySize }) => historySize ?? 0)),
    continuedAsNew: runs.filter(({ status }) => status.name === 'CONTINUED_AS_NEW').length,
  };
}

/** Waits until visibility, which is eventually consistent, shows workflows that have ended as such. */
export async function endedWorkflows(client: Client, query: string): Promise<WorkflowExecutionInfo[]> {
  for (;;) {
    const workflows: WorkflowExecutionInfo[] = [];
    for await (const workflow of client.workflow.list({ query })) workflows.push(workflow);
    if (workflows.length > 0 && workflows.every(({ status }) => status.name !== 'RUNNING')) return workflows;
  }
}
