import { isGrpcServiceError, type Client } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import type { JobError } from '../src/jobs/outcome.ts';
import { CLOSE_EVENT, type HistoryEvent } from '../src/temporal-history.ts';
import { MARK, type Mark } from '../workflows/names.ts';
import {
  deleted,
  endOf,
  isOfJob,
  notStarted,
  START_TIMEOUT_MS,
  type RunEnd,
  type SeenRun,
  type WorkflowJob,
} from './workflow-look.ts';

/** What a look has found. */
export type Look =
  /** It runs, or nobody can tell. */
  | { readonly isOver: false; readonly firstRunId?: string }
  | {
      readonly isOver: true;
      readonly failure: JobError | undefined;
      /** Epoch milliseconds. */
      readonly startedAt: number;
      readonly endedAt: number;
    };

const CALL_TIMEOUT_MS = 10_000;
/** A chain of more runs than that is followed further by the next look. */
const MAX_RUNS = 50;
/** A gRPC status code. */
const NOT_FOUND: readonly number[] = [5];
const LATER: Look = { isOver: false };

/**
 * Looks at a workflow that is a job: by its id, never by visibility, which lags behind. What is not answered is
 * unknown, and never gone.
 *
 * @param ageMs since it was enrolled, or its round opened
 */
export async function lookAt(client: Client, job: WorkflowJob, ageMs: number): Promise<Look> {
  const now = Date.now();
  const seen = await newestRun(client, job.workflowId);
  const gone = (failure: JobError): Look => ({ isOver: true, failure, startedAt: now - ageMs, endedAt: now });
  if (!seen) {
    if (job.runId !== null) return gone(deleted(job.workflowId));
    return ageMs < START_TIMEOUT_MS ? LATER : gone(notStarted(job.workflowId));
  }
  if (isOfJob(job, seen)) {
    const { firstRunId, startedAt } = seen;
    const running: Look = job.runId === firstRunId ? LATER : { isOver: false, firstRunId };
    if (!seen.isClosed) return running;
    const event = await lastEvent(client, job.workflowId, seen.runId);
    const end = event && endOf(event);
    return end && end.nextRunId === undefined ? over(end, event, startedAt) : running;
  }
  if (job.runId === null) return ageMs < START_TIMEOUT_MS ? LATER : gone(notStarted(job.workflowId));
  return followChain(client, job.workflowId, job.runId, (failure) => gone(failure));
}

/** Another chain has taken the id since: this one is over, or was met in the middle by a start that attached to it. */
async function followChain(
  client: Client,
  workflowId: string,
  firstRunId: string,
  gone: (failure: JobError) => Look,
): Promise<Look> {
  let runId = firstRunId;
  for (let runs = 0; runs < MAX_RUNS; runs++) {
    const event = await lastEvent(client, workflowId, runId);
    if (!event) return gone(deleted(workflowId));
    const end = endOf(event);
    if (!end) return LATER;
    if (end.nextRunId === undefined) return over(end, event, epochMs(event.eventTime));
    runId = end.nextRunId;
  }
  return { isOver: false, firstRunId: runId };
}

function over(
  { failure }: Exclude<RunEnd, { readonly nextRunId: string }>,
  event: HistoryEvent,
  startedAt: number,
): Look {
  return { isOver: true, failure, startedAt, endedAt: epochMs(event.eventTime) };
}

/** Asks a workflow that is a job, and runs, to cancel. @returns whether it was asked */
export async function requestCancel(client: Client, job: WorkflowJob, reason: string): Promise<boolean> {
  const { workflowId } = job;
  const seen = await newestRun(client, workflowId);
  if (!seen || seen.isClosed || !isOfJob(job, seen)) return false;
  const request = {
    namespace: client.options.namespace,
    workflowExecution: { workflowId, runId: '' },
    firstExecutionRunId: seen.firstRunId,
    reason,
  };
  const asked = await unlessNotFound(client, () =>
    client.workflowService.requestCancelWorkflowExecution(request),
  );
  return asked !== undefined;
}

/** @returns undefined: there is no run of this id */
export async function newestRun(client: Client, workflowId: string): Promise<SeenRun | undefined> {
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
    mark: markOf(info.memo?.fields?.[MARK]),
  };
}

type Payload = Parameters<typeof defaultPayloadConverter.fromPayload>[0];

/** The mark as the default converter reads it: that of the app may encrypt, and is not known here. */
function markOf(payload: Payload | undefined): SeenRun['mark'] {
  if (!payload) return undefined;
  try {
    const mark = defaultPayloadConverter.fromPayload<Partial<Mark> | null>(payload);
    const { batchId, workflowId } = mark ?? {};
    return typeof batchId === 'string' && typeof workflowId === 'string'
      ? { batchId, workflowId }
      : undefined;
  } catch {
    return 'unreadable';
  }
}

/** @returns the event that closed a run, or its last one; undefined: there is no such run */
async function lastEvent(
  client: Client,
  workflowId: string,
  runId: string,
): Promise<HistoryEvent | undefined> {
  const response = await unlessNotFound(client, () =>
    client.workflowService.getWorkflowExecutionHistory({
      namespace: client.options.namespace,
      execution: { workflowId, runId },
      historyEventFilterType: CLOSE_EVENT,
    }),
  );
  return response && (response.history?.events?.at(-1) ?? {});
}

/** @returns undefined where the server knows no such workflow */
async function unlessNotFound<T>(client: Client, call: () => Promise<T>): Promise<T | undefined> {
  try {
    return await client.withDeadline(Date.now() + CALL_TIMEOUT_MS, call);
  } catch (error) {
    if (isGrpcServiceError(error) && NOT_FOUND.includes(error.code) && !isNamespaceMissing(error))
      return undefined;
    throw error;
  }
}

/** A namespace that is not found says nothing of its workflows. */
function isNamespaceMissing({ metadata }: { metadata: { get(name: string): readonly unknown[] } }): boolean {
  return metadata
    .get('grpc-status-details-bin')
    .some((part) => String(part).includes('NamespaceNotFoundFailure'));
}

function epochMs(time: HistoryEvent['eventTime']): number {
  return Number(time?.seconds ?? 0) * 1_000 + (time?.nanos ?? 0) / 1e6;
}
