import type { Client, WorkflowHandle } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import { shown } from './codec.ts';

export type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;

/** One run of a workflow. */
export interface Run {
  readonly workflowId: string;
  readonly runId: string;
  /** Temporal's name: RUNNING, COMPLETED, CONTINUED_AS_NEW, … */
  readonly status: string;
  readonly history: History;
}

/**
 * The runs of a workflow that continued one another, the first one first. Found by following what the histories say,
 * not by a search: Temporal's visibility is behind at times.
 *
 * @throws WorkflowNotFoundError where there is none
 */
export async function runsOf(client: Client, workflowId: string): Promise<Run[]> {
  const runs: Run[] = [];
  let earlier: string | undefined;
  do {
    const run = await runOf(client, workflowId, earlier);
    runs.unshift(run);
    earlier =
      run.history.events![0]!.workflowExecutionStartedEventAttributes!.continuedExecutionRunId || undefined;
  } while (earlier !== undefined);
  return runs;
}

/** One run of a workflow, the newest by default. @throws WorkflowNotFoundError where there is none */
export async function runOf(client: Client, workflowId: string, id?: string): Promise<Run> {
  const { runId, status } = await client.workflow.getHandle(workflowId, id).describe();
  const history = await client.workflow.getHandle(workflowId, runId).fetchHistory();
  return { workflowId, runId, status: status.name, history };
}

/** Ids of the workflows that these runs started. */
export function childrenOf(runs: readonly Run[]): string[] {
  const ids = runs.flatMap(({ history }) =>
    history.events!.flatMap(({ startChildWorkflowExecutionInitiatedEventAttributes: child }) =>
      child ? [child.workflowId!] : [],
    ),
  );
  return [...new Set(ids)];
}

/** What payloads hold, also behind the codec of codec.ts. */
export function decoded(payloads: readonly Payload[] | null | undefined): unknown[] {
  return (payloads ?? []).map((payload) => defaultPayloadConverter.fromPayload(shown(payload)));
}

/** Names of the updates that a workflow accepted, over all its runs. */
export async function updatesOf(client: Client, workflowId: string): Promise<string[]> {
  const runs = await runsOf(client, workflowId);
  return runs.flatMap(({ history }) =>
    history.events!.flatMap(({ workflowExecutionUpdateAcceptedEventAttributes: update }) =>
      update ? [update.acceptedRequest!.input!.name!] : [],
    ),
  );
}
