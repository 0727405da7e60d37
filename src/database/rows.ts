import type { BatchEvent, BatchProgress, BatchStatus } from '../../workflows/batch-state.ts';

/** A row of `batches`, as queries here select it. */
export interface BatchRow {
  readonly id: string;
  readonly first_execution_run_id: string;
  readonly parent_batch_id: string | null;
  readonly description: string;
  readonly context: unknown;
  readonly definition: Readonly<Record<string, unknown>>;
  readonly auto_seal: boolean;
  readonly status: BatchStatus;
  readonly total: number;
  readonly completed_count: number;
  readonly failed_count: number;
  readonly cancelled_count: number;
  readonly round: number;
  readonly enrollment_error: string | null;
  /** Why jobs failed that never ran: their rows were gone. */
  readonly failure_reason: string | null;
  /** Of the process that took the block over, if one did. */
  readonly enrollment_token: string | null;
  readonly sealed_at: Date | null;
  readonly completed_at: Date | null;
  readonly settled_at: Date | null;
  readonly fail_when_failed: string;
  readonly deadline_at: Date | null;
  readonly paused_at: Date | null;
  readonly stopped_at: Date | null;
  readonly stop_reason: string | null;
  readonly stop_outcome: 'failed' | 'cancelled' | null;
  readonly created_at: Date;
  readonly updated_at: Date;
}

/** A batch as the mirror knows it. */
export interface BatchRecord {
  readonly id: string;
  /** The first run of its workflow: tells it from an earlier batch that had the id. */
  readonly runId: string;
  readonly description: string;
  readonly context: unknown;
  /** Whether its one block seals it; if not, `Batch.seal` does. */
  readonly autoSeal: boolean;
  readonly status: BatchStatus;
  readonly progress: BatchProgress;
  /** The batch whose block, job or callback created it, or null. */
  readonly parentId: string | null;
  /** Which round of its jobs this is, from 1: see `Batch.retryFailed`. */
  readonly round: number;
  /** Why the enrolment block broke, or null. */
  readonly enrollmentError: string | null;
  /** Why jobs failed that never ran, or null: their rows were gone. */
  readonly failureReason: string | null;
  /** When the outcome was decided. */
  readonly completedAt: Date | null;
  /** When the last job became terminal. */
  readonly settledAt: Date | null;
  /** When it was paused; null while it is not. */
  readonly pausedAt: Date | null;
  /** When it was cancelled, or its remaining jobs were: from then on none started. */
  readonly stoppedAt: Date | null;
  /** Why it was stopped. */
  readonly stopReason: string | null;
  /** What is left then is stopped. */
  readonly deadlineAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Columns of {@link BatchRow}. */
export const BATCH_COLUMNS = [
  'id',
  'first_execution_run_id',
  'parent_batch_id',
  'description',
  'context',
  'definition',
  'auto_seal',
  'status',
  'total',
  'completed_count',
  'failed_count',
  'cancelled_count',
  'round',
  'enrollment_error',
  'failure_reason',
  'enrollment_token',
  'sealed_at',
  'completed_at',
  'settled_at',
  'fail_when_failed',
  'deadline_at',
  'paused_at',
  'stopped_at',
  'stop_reason',
  'stop_outcome',
  'created_at',
  'updated_at',
] as const satisfies readonly (keyof BatchRow)[];

export function toBatchRecord(row: BatchRow): BatchRecord {
  const { status, total, completed_count: complete, failed_count: failed } = row;
  const left = total - complete - failed;
  const cancelled = row.settled_at ? left : row.cancelled_count;
  return {
    id: row.id,
    runId: row.first_execution_run_id,
    parentId: row.parent_batch_id,
    description: row.description,
    context: row.context,
    autoSeal: row.auto_seal,
    status,
    progress: {
      status,
      total,
      complete,
      failed,
      cancelled,
      pending: left - cancelled,
      ...(row.failure_reason === null ? {} : { reason: row.failure_reason }),
    },
    round: row.round,
    enrollmentError: row.enrollment_error,
    failureReason: row.failure_reason,
    completedAt: row.completed_at,
    settledAt: row.settled_at,
    pausedAt: row.paused_at,
    stoppedAt: row.stopped_at,
    stopReason: row.stop_reason,
    deadlineAt: row.deadline_at,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  };
}

/** `cancelled`: neither complete nor failed when its batch settled. */
export type JobStatus = 'pending' | 'complete' | 'failed' | 'cancelled';

export interface JobRow {
  readonly batch_id: string;
  readonly position: number;
  readonly jid: string;
  readonly key: string | null;
  readonly workflow_id: string | null;
  readonly activity_id: string | null;
  readonly worker_class: string;
  readonly args: unknown[];
  readonly round: number;
  readonly status: JobStatus;
  readonly attempts: number;
  readonly error_class: string | null;
  readonly error_message: string | null;
  readonly error_stack: string | null;
  readonly started_at: Date | null;
  readonly finished_at: Date | null;
  readonly created_at: Date;
  readonly updated_at: Date;
}

/** A job of a batch as `pendingJobs()`, `failedJobs()`, `completedJobs()` and `cancelledJobs()` return it. */
export interface JobRecord {
  readonly batchId: string;
  readonly position: number;
  readonly jid: string;
  /** What `set({ key })` gave it, or null. */
  readonly key: string | null;
  /** Of a job that is a workflow: its id; of others null. */
  readonly workflowId: string | null;
  /** Of a job that is an activity: its id; of others null. */
  readonly activityId: string | null;
  readonly workerClass: string;
  readonly args: unknown[];
  /** The last round of its batch in which it ran, or was to run. */
  readonly round: number;
  readonly status: JobStatus;
  /** Attempts that ended, in that round. */
  readonly attempts: number;
  readonly errorClass: string | null;
  readonly errorMessage: string | null;
  /** Where its last error was thrown, with causes: up to 8,192 characters; null if it has none or is not stored. */
  readonly errorStack: string | null;
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** Selects job columns under the names of {@link JobRecord}, so that a query builder's rows need no mapping. */
export const JOB_COLUMNS: Readonly<Record<keyof JobRecord, keyof JobRow>> = {
  batchId: 'batch_id',
  position: 'position',
  jid: 'jid',
  key: 'key',
  workflowId: 'workflow_id',
  activityId: 'activity_id',
  workerClass: 'worker_class',
  args: 'args',
  round: 'round',
  status: 'status',
  attempts: 'attempts',
  errorClass: 'error_class',
  errorMessage: 'error_message',
  errorStack: 'error_stack',
  startedAt: 'started_at',
  finishedAt: 'finished_at',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
};

export interface CallbackRow {
  readonly event: BatchEvent;
  readonly callback: string;
  readonly status: 'registered' | 'scheduled' | 'running' | 'completed' | 'failed' | 'skipped';
  readonly attempts: number;
  readonly error_class: string | null;
  readonly error_message: string | null;
  readonly scheduled_at: Date | null;
  readonly started_at: Date | null;
  readonly finished_at: Date | null;
}
