import { isGrpcServiceError, type Client, type WorkflowExecutionDescription } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { CALLS } from './timeouts.ts';

/** A gRPC status code. */
const NOT_FOUND: readonly number[] = [5];

/** @returns undefined where the server knows no such run */
export async function unlessNotFound<T>(
  client: Client,
  call: () => Promise<T>,
  timeoutMs: number = CALLS.temporal,
): Promise<T | undefined> {
  try {
    return await client.withDeadline(Date.now() + timeoutMs, call);
  } catch (error) {
    if (isGrpcServiceError(error) && NOT_FOUND.includes(error.code) && !isNamespaceMissing(error))
      return undefined;
    throw error;
  }
}

/** The newest run of a workflow. @returns undefined where Temporal knows none @throws what else it answers */
export async function describeWorkflow(
  client: Client,
  workflowId: string,
): Promise<WorkflowExecutionDescription | undefined> {
  try {
    return await client.withDeadline(Date.now() + CALLS.temporal, () =>
      client.workflow.getHandle(workflowId).describe(),
    );
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}

/** Whether a workflow of this id runs. @throws what Temporal answers, unless it knows none */
export async function isWorkflowRunning(client: Client, workflowId: string): Promise<boolean> {
  return (await describeWorkflow(client, workflowId))?.status.name === 'RUNNING';
}

/** A namespace that is not found says nothing of what is in it. */
export function isNamespaceMissing({
  metadata,
}: {
  readonly metadata: { get(name: string): readonly unknown[] };
}): boolean {
  return metadata
    .get('grpc-status-details-bin')
    .some((part) => String(part).includes('NamespaceNotFoundFailure'));
}
