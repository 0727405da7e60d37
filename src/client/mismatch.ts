import type { Client, DescribeWorkflowExecutionResponse } from '@temporalio/client';
import { CALLS } from '../timeouts.ts';

type PendingActivity = NonNullable<DescribeWorkflowExecutionResponse['pendingActivities']>[number];
type Failure = NonNullable<PendingActivity['lastFailure']>;

const TYPE = 'DATABASE_MISMATCH';

/**
 * What a worker of another schema said of work that it was given (see activities/schema-guard.ts); undefined for every
 * other failure. Where the app encrypts the messages of failures, only that it was such a worker.
 */
export function mismatchOf(failure: Failure | null | undefined): string | undefined {
  if (failure?.applicationFailureInfo?.type !== TYPE) return undefined;
  if (failure.encodedAttributes || !failure.message)
    return 'A worker on its task queue has opened another database or schema. Give each its own task queue.';
  return failure.message;
}

/** The same of work that a batch's workflow waits for. */
export function mismatchIn({
  pendingActivities,
}: Pick<DescribeWorkflowExecutionResponse, 'pendingActivities'>): string | undefined {
  return pendingActivities
    ?.map(({ lastFailure }) => mismatchOf(lastFailure))
    .find((said) => said !== undefined);
}

/** The same of a batch's workflow as it is now. Undefined, too, when Temporal does not answer. */
export async function findMismatch(client: Client, workflowId: string): Promise<string | undefined> {
  try {
    const { raw } = await client.withDeadline(Date.now() + CALLS.giveUp, () =>
      client.workflow.getHandle(workflowId).describe(),
    );
    return mismatchIn(raw);
  } catch {
    return undefined;
  }
}
