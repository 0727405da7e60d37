import { randomUUID } from 'node:crypto';
import { isGrpcServiceError, type Client } from '@temporalio/client';

/** A gRPC status code. */
const FAILED_PRECONDITION: readonly number[] = [9];

/**
 * Asks an activity that belongs to no workflow to cancel. The server refuses to be asked again, which a workflow's does
 * not: then somebody has asked before, and nothing is left to do.
 */
export async function cancelActivity(
  client: Client,
  activity: { readonly activityId: string; readonly runId: string },
  reason: string,
): Promise<void> {
  const { namespace, identity } = client.options;
  try {
    await client.workflowService.requestCancelActivityExecution({
      namespace,
      identity,
      ...activity,
      requestId: randomUUID(),
      reason,
    });
  } catch (error) {
    if (!isGrpcServiceError(error) || !FAILED_PRECONDITION.includes(error.code)) throw error;
  }
}
