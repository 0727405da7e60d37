import type { Client } from '@temporalio/client';

type WorkflowService = Client['workflowService'];
type HistoryRequest = Parameters<WorkflowService['getWorkflowExecutionHistory']>[0];
type History = NonNullable<Awaited<ReturnType<WorkflowService['getWorkflowExecutionHistory']>>['history']>;

/** An event of a workflow's history. */
export type HistoryEvent = NonNullable<History['events']>[number];

/** Asks for the event that closed a run. Its name is in a package of Temporal's that apps do not install. */
export const CLOSE_EVENT = 2 as unknown as NonNullable<HistoryRequest['historyEventFilterType']>;

/**
 * The run that follows the one that this event closed: by continue-as-new, a retry by the workflow's policy, or a cron
 * schedule. Undefined: the workflow has ended with it, or it has not closed.
 */
export function nextRunIdOf(event: HistoryEvent): string | undefined {
  const closed =
    event.workflowExecutionCompletedEventAttributes ??
    event.workflowExecutionFailedEventAttributes ??
    event.workflowExecutionTimedOutEventAttributes ??
    event.workflowExecutionContinuedAsNewEventAttributes;
  return closed?.newExecutionRunId || undefined;
}

/** The newest events of a run, newest first. */
export async function newestEvents(
  client: Client,
  workflowId: string,
  runId: string,
  count: number,
): Promise<HistoryEvent[]> {
  const { history } = await client.workflowService.getWorkflowExecutionHistoryReverse({
    namespace: client.options.namespace,
    execution: { workflowId, runId },
    maximumPageSize: count,
  });
  return history?.events ?? [];
}
