import { unlessNotFound } from '../src/temporal-calls.ts';
import { CLOSE_EVENT } from '../src/temporal-history.ts';
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
      mark: markOf('workflow', info.memo?.fields?.[MARK]),
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
    const event = response.history?.events?.at(-1) ?? {};
    return { end: endOf(event), at: epochMs(event.eventTime) };
  },

  async requestCancel(client, workflowId, { firstRunId }, reason) {
    const request = {
      namespace: client.options.namespace,
      workflowExecution: { workflowId, runId: '' },
      firstExecutionRunId: firstRunId,
      reason,
    };
    const asked = await unlessNotFound(client, () =>
      client.workflowService.requestCancelWorkflowExecution(request),
    );
    return asked !== undefined;
  },
};
