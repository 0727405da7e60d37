import {
  ContinueAsNew,
  proxySinks,
  workflowInfo,
  type Sinks,
  type WorkflowInterceptorsFactory,
} from '@temporalio/workflow';
import { markedBatch } from './mark.ts';

// A module of workflow interceptors, for the bundles of apps: their workflows say when they have ended.

/** A run of a workflow that is a job of a batch, and whose code has ended. */
export interface EndedRun {
  readonly batchId: string;
  readonly workflowId: string;
  readonly runId: string;
}

/** How it reaches the worker's process. */
export interface ReportSinks extends Sinks {
  readonly batchJobs: { ended(run: EndedRun): void };
}

/** A text that is in each bundle with this module, and in no other: so a worker tells them apart. */
export const BUNDLE_TAG = 'temporal-batch-jobs: the workflows of this bundle report their end';

/**
 * Listens to the end of the workflow's function beside the SDK, not between the two, and gives the server no command:
 * nothing of the app comes in another order than without this module, and nothing in the history tells of it. So it can
 * be installed and removed while workflows run.
 */
export const interceptors: WorkflowInterceptorsFactory = () => ({
  inbound: [
    {
      execute(input, next) {
        const result = next(input);
        result.then(reportEnd, (error: unknown) => {
          if (!(error instanceof ContinueAsNew)) reportEnd();
        });
        return result;
      },
    },
  ],
});

/** Whether it is the end is the server's to say: a failed workflow may be retried, and a failed task is. */
function reportEnd(): void {
  const { memo, workflowId, runId } = workflowInfo();
  const batchId = markedBatch(memo, workflowId);
  if (batchId !== undefined) proxySinks<ReportSinks>().batchJobs.ended({ batchId, workflowId, runId });
}
