/** Task queue of batches, jobs and callbacks that name no other. */
export const DEFAULT_TASK_QUEUE = 'batch-jobs';

/** A batch's id is a part of its workflow's id, and of its jobs'. */
export function isBatchId(id: unknown): id is string {
  return typeof id === 'string' && /^[A-Za-z0-9_.:-]{1,128}$/.test(id);
}

/** Id of the workflow that waits for a batch which is a step of another workflow. */
export function stepWorkflowId(batchId: string): string {
  return `batch-step:${batchId}`;
}
