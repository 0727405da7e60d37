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

/** The memo entry of a workflow that is a job of a batch, and the header of an activity that is one. */
export const MARK = 'batchJobs';

/**
 * What that entry says. It counts only where the workflow has this id: a workflow that copies its memo to another one
 * does not make that one a job.
 */
export interface Mark {
  readonly batchId: string;
  readonly workflowId: string;
}

/** What that header says. */
export interface ActivityMark {
  readonly batchId: string;
  readonly activityId: string;
}

/**
 * Id of the workflow that runs a callback of a batch while the batch's jobs still run.
 *
 * @param batchWorkflowId the batch's
 * @param alert the callback of `idle` may run several times, each in a workflow of its own
 */
export function callbackWorkflowId(
  batchWorkflowId: string,
  { round, event, alert }: { readonly round: number; readonly event: string; readonly alert: number },
): string {
  const ofRound = round === 1 ? '' : `round/${round}/`;
  const ofAlert = event === 'idle' ? `alert/${alert}/` : '';
  return `${batchWorkflowId}/${ofRound}${ofAlert}callback/${event}`;
}

/** Id of the workflow that runs a callback of a batch again, for the so many-th time in its round. */
export function callbackRetryWorkflowId(
  batchWorkflowId: string,
  { round, event, retry }: { readonly round: number; readonly event: string; readonly retry: number },
): string {
  return `${batchWorkflowId}/round/${round}/retry/${retry}/callback/${event}`;
}
