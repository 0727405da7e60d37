import type { JobOverrides } from '../database/chunks.ts';
import type { JobRecord, JobStatus } from '../database/rows.ts';

/** A job in memory, as its row would hold it. */
export interface InlineJob {
  readonly position: number;
  readonly jid: string;
  readonly key: string | null;
  readonly workerClass: string;
  readonly argsJson: string;
  readonly overrides: JobOverrides;
  readonly createdAt: Date;
  status: Exclude<JobStatus, 'cancelled'>;
  attempts: number;
  errorClass: string | null;
  errorMessage: string | null;
  errorStack: string | null;
  /** JSON text of what its handler returned, if that is stored. */
  result: string | undefined;
  startedAt: Date | null;
  finishedAt: Date | null;
}

export function toJobRecord(batchId: string, job: InlineJob, isSettled: boolean): JobRecord {
  const { argsJson, overrides: _overrides, result: _result, ...columns } = job;
  return {
    ...columns,
    workflowId: null,
    activityId: null,
    batchId,
    args: JSON.parse(argsJson) as unknown[],
    round: 1,
    status: job.status === 'pending' && isSettled ? 'cancelled' : job.status,
    updatedAt: job.finishedAt ?? job.createdAt,
  };
}
