import type { Client } from '@temporalio/client';
import { cancelActivity } from '../src/cancel-activity.ts';
import { MARK } from '../workflows/names.ts';
import { unlessNotFound } from '../src/temporal-calls.ts';
import { hasCodecs, readFailure } from '../src/temporal-payloads.ts';
import { epochMs, markOf, type Runs } from './runs.ts';
import { endOfActivity } from './workflow-look.ts';

/** How Temporal is asked about activities that belong to no workflow. An id has one run at a time, and no chain. */
export const ACTIVITY_RUNS: Runs = {
  async newest(client, activityId) {
    const info = (await describe(client, { activityId }))?.info;
    if (!info) return undefined;
    const runId = info.runId!;
    return {
      runId,
      firstRunId: runId,
      isClosed: Boolean(info.closeTime),
      startedAt: epochMs(info.scheduleTime),
      mark: await markOf(client, { kind: 'activity', id: activityId }, info.header?.fields?.[MARK]),
    };
  },

  async closed(client, activityId, runId) {
    const description = await describe(client, { activityId, runId, includeOutcome: true });
    if (!description) return undefined;
    const { info, outcome } = description;
    const execution = { kind: 'activity', id: activityId } as const;
    const failure = outcome?.failure && (await readFailure(client, execution, outcome.failure));
    return { end: endOfActivity(info?.status, failure ?? undefined), at: epochMs(info?.closeTime) };
  },

  async requestCancel(client, activityId, { runId }, reason) {
    const asked = await unlessNotFound(client, async () => {
      // It is kept in clear text, and may be the app's.
      const told = hasCodecs(client) ? 'The batch that it is a job of was stopped' : reason;
      await cancelActivity(client, { activityId, runId }, told);
      return true;
    });
    return asked ?? false;
  },
};

function describe(
  client: Client,
  execution: {
    readonly activityId: string;
    readonly runId?: string;
    readonly includeOutcome?: boolean;
  },
) {
  const request = { namespace: client.options.namespace, ...execution };
  return unlessNotFound(client, () => client.workflowService.describeActivityExecution(request));
}
