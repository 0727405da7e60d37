import type { BatchEvent, BatchOutcome, RetryOptions } from '../workflows/batch-state.ts';
import type { Share } from '../workflows/limits.ts';
import type { ChunkReport } from '../workflows/range-state.ts';

/** Short writes of the mirror, run as local activities. Each is an upsert: it may run twice. */
export interface MirrorActivities {
  createBatch(input: CreateBatchInput): Promise<{ created: boolean }>;
  sealBatch(input: SealBatchInput): Promise<void>;
  discardBatch(input: DiscardBatchInput): Promise<void>;
  registerCallback(input: { batchId: string; event: BatchEvent; callback: string }): Promise<void>;
  steerBatch(input: SteerBatchInput): Promise<void>;
  finishBatch(input: FinishBatchInput): Promise<{ completed: number; failed: number } | null>;
  failCallback(input: FailCallbackInput): Promise<void>;
}

/** Activities that run the app's code. */
export interface HandlerActivities {
  runChunk(input: ChunkInput): Promise<ChunkReport>;
  runCallback(input: CallbackInput): Promise<void>;
  runPlainJob(input: PlainJobInput): Promise<void>;
}

export interface CreateBatchInput {
  readonly batchId: string;
  /** Tells a repeated write from another batch with the same id. */
  readonly firstExecutionRunId: string;
  /** When its workflow started. Epoch milliseconds. */
  readonly startedAt: number;
  readonly description: string;
  readonly context: unknown;
  readonly failWhenFailed: string;
  /** Epoch milliseconds. */
  readonly deadlineAt: number | null;
  /** Those that exist; null: none. */
  readonly limits: object | null;
}

export interface SteerBatchInput {
  readonly batchId: string;
  /** Number of this change; the row keeps the newest. */
  readonly steering: number;
  readonly isPaused: boolean;
  readonly stop: { readonly reason: string; readonly graceMs: number } | null;
  readonly failWhenFailed: string;
  readonly deadlineAt: number | null;
  readonly limits: object | null;
}

export interface DiscardBatchInput {
  readonly batchId: string;
  readonly firstExecutionRunId: string;
}

export interface SealBatchInput {
  readonly batchId: string;
  readonly total: number;
  readonly error: string | null;
}

export interface FinishBatchInput {
  readonly batchId: string;
  readonly outcome: BatchOutcome;
  readonly settled: boolean;
  /** Callbacks that are about to start. */
  readonly schedule: readonly BatchEvent[];
  /** Callbacks that will never start. */
  readonly skip: readonly BatchEvent[];
}

export interface FailCallbackInput {
  readonly batchId: string;
  readonly event: BatchEvent;
  readonly errorClass: string;
  readonly errorMessage: string;
}

export interface ChunkInput {
  readonly batchId: string;
  /** The range that it is a part of. */
  readonly runner: string;
  /** Its number for a `chunkDrained` signal; null: nothing waits for one. */
  readonly chunk: number | null;
  /** See `formatSpans`. */
  readonly spans: string;
  /** Run only jobs of this task queue; null: those without one of their own. */
  readonly taskQueue: string | null;
  /** Of these only jobs of this name. */
  readonly name?: string;
  /** Of these no jobs of these names. */
  readonly otherNames?: readonly string[];
  /** Its part of the batch's limits; absent: there are none. */
  readonly share?: ChunkShare;
  /** Record each job's start, to find the job that kills workers. */
  readonly careful: boolean;
  /** Signal the batch once a job has failed for good and its row says so. */
  readonly noticeFailures: boolean;
  /** Jobs whose names this worker does not know fail for good. */
  readonly failUnknown: boolean;
  /** Which of the batch's changes its workflow knew: after a newer one the chunk gives back what has not started. */
  readonly steering: number;
}

export interface ChunkShare extends Share {
  /** Jobs beyond that go back: there may be more of the lane's in its positions than was thought. */
  readonly maxJobs: number;
}

export interface CallbackInput {
  readonly batchId: string;
  readonly event: BatchEvent;
  readonly callback: string;
  /** Attempts that the callback gets; absent: no limit. Counted in its row. */
  readonly maximumAttempts?: number;
}

export interface PlainJobInput {
  readonly jid: string;
  readonly workerClass: string;
  readonly args: readonly unknown[];
}

export interface PlainJobOptions {
  readonly taskQueue?: string;
  readonly startToCloseTimeoutMs: number;
  readonly scheduleToCloseTimeoutMs?: number;
  readonly retry: RetryOptions;
}
