import type { Client } from '@temporalio/client';
import type { ExecutionKind } from '../src/database/executions.ts';
import type { JobError } from '../src/jobs/outcome.ts';
import { waitMs } from '../src/timeouts.ts';
import { ACTIVITY_RUNS } from './activity-runs.ts';
import type { Runs } from './runs.ts';
import { deleted, isOfJob, notStarted, type ExecutionJob, type FinalEnd } from './workflow-look.ts';
import { WORKFLOW_RUNS } from './workflow-runs.ts';

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

/** A chain of more runs than that is followed further by the next look. */
const MAX_RUNS = 50;
const LATER: Look = { isOver: false };

const RUNS: Readonly<Record<ExecutionKind, Runs>> = { workflow: WORKFLOW_RUNS, activity: ACTIVITY_RUNS };

/**
 * Looks at a workflow or an activity that is a job: by its id, never by visibility, which lags behind. What is not
 * answered is unknown, and never gone.
 *
 * @param ageMs since it was enrolled, or its round opened
 */
export async function lookAt(client: Client, job: ExecutionJob, ageMs: number): Promise<Look> {
  const now = Date.now();
  const runs = RUNS[job.kind];
  const seen = await runs.newest(client, job.id);
  const gone = (failure: JobError): Look => ({ isOver: true, failure, startedAt: now - ageMs, endedAt: now });
  if (!seen) {
    if (job.runId !== null) return gone(deleted(job));
    return ageMs < waitMs('unansweredStart') ? LATER : gone(notStarted(job));
  }
  if (isOfJob(job, seen)) {
    const { firstRunId, startedAt } = seen;
    const running: Look = job.runId === firstRunId ? LATER : { isOver: false, firstRunId };
    if (!seen.isClosed) return running;
    const closed = await runs.closed(client, job.id, seen.runId);
    return closed?.end && closed.end.nextRunId === undefined
      ? over(closed.end, startedAt, closed.at)
      : running;
  }
  if (job.runId === null) return ageMs < waitMs('unansweredStart') ? LATER : gone(notStarted(job));
  return followChain(client, job, job.runId, gone);
}

/** Another chain has taken the id since: this one is over, or was met in the middle by a start that attached to it. */
async function followChain(
  client: Client,
  job: ExecutionJob,
  firstRunId: string,
  gone: (failure: JobError) => Look,
): Promise<Look> {
  let runId = firstRunId;
  for (let count = 0; count < MAX_RUNS; count++) {
    const closed = await RUNS[job.kind].closed(client, job.id, runId);
    if (!closed) return gone(deleted(job));
    if (!closed.end) return LATER;
    if (closed.end.nextRunId === undefined) return over(closed.end, closed.at, closed.at);
    runId = closed.end.nextRunId;
  }
  return { isOver: false, firstRunId: runId };
}

function over({ failure }: FinalEnd, startedAt: number, endedAt: number): Look {
  return { isOver: true, failure, startedAt, endedAt };
}

/** Asks a workflow or an activity that is a job, and runs, to cancel. @returns whether it was asked */
export async function requestCancel(client: Client, job: ExecutionJob, reason: string): Promise<boolean> {
  const runs = RUNS[job.kind];
  const seen = await runs.newest(client, job.id);
  if (!seen || seen.isClosed || !isOfJob(job, seen)) return false;
  return runs.requestCancel(client, job.id, seen, reason);
}
