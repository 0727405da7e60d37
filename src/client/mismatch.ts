import type { DescribeWorkflowExecutionResponse } from '@temporalio/client';

type PendingActivity = NonNullable<DescribeWorkflowExecutionResponse['pendingActivities']>[number];
type Failure = NonNullable<PendingActivity['lastFailure']>;

const TYPE = 'DATABASE_MISMATCH';

/**
 * Returns the message of a worker of another schema that refused work (see activities/schema-guard.ts); undefined for
 * every other failure. Where the app encrypts the messages of failures, a general one.
 */
export function mismatchOf(failure: Failure | null | undefined): string | undefined {
  if (failure?.applicationFailureInfo?.type !== TYPE) return undefined;
  if (failure.encodedAttributes || !failure.message)
    return 'A worker on its task queue has opened another database or schema. Give each its own task queue.';
  return failure.message;
}
