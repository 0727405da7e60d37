import type { Client } from '@temporalio/client';
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
  const query = `WorkflowId STARTS_WITH "${batchWorkflowId(batchId)}"`;
  let events = 0;
  let bytes = 0;
  let continuedAsNew = 0;
  let running = 1;
  // Visibility is eventually consistent: what it shows as running has ended.
  while (running > 0) {
    [events, bytes, continuedAsNew, running] = [0, 0, 0, 0];
    for await (const { historyLength, historySize, status } of client.workflow.list({ query })) {
      events = Math.max(events, historyLength);
      bytes = Math.max(bytes, historySize ?? 0);
      if (status.name === 'CONTINUED_AS_NEW') continuedAsNew++;
      if (status.name === 'RUNNING') running++;
    }
  }
  return { events, bytes, continuedAsNew };
}
