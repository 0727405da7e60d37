import type { Client } from '@temporalio/client';
import { unlessNotFound } from '../src/temporal-calls.ts';
import { CLOSE_EVENT, type HistoryEvent } from '../src/temporal-history.ts';
import { hasCodecs, readFailure } from '../src/temporal-payloads.ts';
import { MARK } from '../workflows/names.ts';
import { epochMs, markOf, type Runs } from './runs.ts';
import { endOf } from './workflow-look.ts';

/** How Temporal is asked about the runs of workflows. */
export const WORKFLOW_RUNS: Runs = {
  async newest(client, workflowId) {
    const request = { namespace: client.options.namespace, execution: { workflowId } };
    const description = await unlessNotFound(client, () =>
      client.workflowService.describeWorkflowExecution(request),
    );
    const info = description?.workflowExecutionInfo;
    if (!info) return undefined;
    const runId = info.execution!.runId!;
    return {
      runId,
      firstRunId: info.firstRunId || runId,
      isClosed: Boolean(info.closeTime),
      startedAt: epochMs(info.startTime),
      mark: await markOf(client, { kind: 'workflow', id: workflowId }, info.memo?.fields?.[MARK]),
    };
  },

  /** By the event that closed the run; while it is open that is its last one. */
  async closed(client, workflowId, runId) {
    const response = await unlessNotFound(client, () =>
      client.workflowService.getWorkflowExecutionHistory({
        namespace: client.options.namespace,
        execution: { workflowId, runId },
        historyEventFilterType: CLOSE_EVENT,
      }),
    );
    if (!response) return undefined;
    const event = await readEvent(client, workflowId, response.history?.events?.at(-1) ?? {});
    return { end: endOf(event), at: epochMs(event.eventTime) };
  },

  async requestCancel(client, workflowId, { firstRunId }, reason) {
    const request = {
      namespace: client.options.namespace,
      workflowExecution: { workflowId, runId: '' },
      firstExecutionRunId: firstRunId,
      // It gets into the workflow's history, in clear text: it may be the app's.
      reason: hasCodecs(client) ? 'The batch that it is a job of was stopped' : reason,
    };
    const asked = await unlessNotFound(client, () =>
      client.workflowService.requestCancelWorkflowExecution(request),
    );
    return asked !== undefined;
  },
};

/** The event with messages of errors that a codec encoded. */
async function readEvent(client: Client, workflowId: string, event: HistoryEvent): Promise<HistoryEvent> {
  const failed = event.workflowExecutionFailedEventAttributes;
  if (!failed?.failure) return event;
  const failure = await readFailure(client, { kind: 'workflow', id: workflowId }, failed.failure);
  return { ...event, workflowExecutionFailedEventAttributes: { ...failed, failure } };
}
