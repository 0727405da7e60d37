import { ApplicationFailure, WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  ChildWorkflowCancellationType,
  ChildWorkflowFailure,
  executeChild,
  ParentClosePolicy,
  uuid4,
} from '@temporalio/workflow';
import type { StepBatchOptions, StepJob } from '../activities/contract.ts';
import type { BatchProgress } from './batch-state.ts';
import { batchStep } from './batch-step.ts';
import { refuseIf } from './handlers.ts';
import { DEFAULT_TASK_QUEUE, stepWorkflowId } from './names.ts';
import { refuseStep, stepInputOf } from './step-input.ts';

export type { StepJob } from '../activities/contract.ts';

/**
 * A job of a definition, which a workflow can import the type of alone: `import type { scoreEntry } from './jobs.js'`.
 * Its arguments are then checked: `StepJobOf<typeof scoreEntry>`.
 */
export type StepJobOf<Definition extends { readonly handler: (...args: never[]) => unknown }> = StepJob<
  Parameters<Definition['handler']>
>;

/** Options of {@link executeBatch}: those of `BatchClient.create`, the jobs, and where they run. */
export interface ExecuteBatchOptions extends StepBatchOptions {
  /**
   * Letters, digits and `_ . : -`, up to 128. The same id with the same options gives the same batch: what has run does
   * not run again.
   * @default a UUID, the same in each replay
   */
  readonly id?: string;
  /**
   * At least one. With the other options they take up to 2 MB of JSON, some thousand jobs; for more, pass one job whose
   * handler adds the rest by `currentBatch().jobs(...)`.
   */
  readonly jobs: readonly StepJob[];
  /** Task queue of the workers that `createBatchWorker` made. @default 'batch-jobs' */
  readonly taskQueue?: string;
}

/** How the batch ended. */
export interface ExecuteBatchResult extends BatchProgress {
  readonly batchId: string;
}

/** A summary may have 400 bytes, a character up to four. */
const MAX_SUMMARY_LENGTH = 100;

/**
 * Runs a batch as a step of a workflow, of any task queue and worker, and waits until it is over: all jobs are terminal,
 * and its callbacks have ended. Cancelling the workflow cancels the batch, and so does its end before the batch's.
 *
 * Jobs have the options of their definitions where a worker of `taskQueue` knows them, else the defaults.
 *
 * @returns where the batch stands, whatever its outcome: look at `status`
 * @throws ApplicationFailure, not retryable, with one of the library's codes as its `type`: `INVALID_OPTION` and
 * `INVALID_ARGUMENTS`; `BATCH_EXISTS` when the id is that of another batch; `BATCH_TERMINATED` when somebody terminated
 * the batch's workflow
 * @throws ApplicationFailure of the type `BATCH_RUNNING` when another workflow waits for a batch of the id
 * @throws CancelledFailure when the workflow was cancelled, once the batch is over
 * @example
 * export async function rescore(entryIds: number[]): Promise<void> {
 *   const jobs = entryIds.map((id) => ({ name: 'ScoreEntry', args: [id] }));
 *   const { status, failed } = await executeBatch({ description: 'Rescore', jobs, failWhenFailed: { moreThan: '5%' } });
 *   if (status !== 'complete') throw ApplicationFailure.nonRetryable(`${failed} entries have no score`);
 * }
 */
export async function executeBatch(options: ExecuteBatchOptions): Promise<ExecuteBatchResult> {
  refuseIf(refuseStep(options));
  const { description, id: batchId = uuid4(), taskQueue = DEFAULT_TASK_QUEUE } = options;
  try {
    return await executeChild(batchStep, {
      workflowId: stepWorkflowId(batchId),
      taskQueue,
      args: [stepInputOf(options, batchId)],
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
      staticSummary: `Waits for a batch: ${description}`.slice(0, MAX_SUMMARY_LENGTH),
    });
  } catch (error) {
    throw seenByCaller(batchId, error);
  }
}

/** The library's codes are to be found at the failure itself, and not beneath Temporal's wrappers. */
function seenByCaller(batchId: string, error: unknown): unknown {
  if (error instanceof WorkflowExecutionAlreadyStartedError) {
    return ApplicationFailure.retryable(
      `Another workflow waits for batch "${batchId}". Wait for its end, or give the batch another id.`,
      'BATCH_RUNNING',
    );
  }
  if (!(error instanceof ChildWorkflowFailure && error.cause instanceof ApplicationFailure)) return error;
  const { message, type } = error.cause;
  return ApplicationFailure.create({
    message,
    ...(type === undefined || type === null ? {} : { type }),
    nonRetryable: true,
    cause: error,
  });
}
