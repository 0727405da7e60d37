import type { Duration } from '@temporalio/common';
import type { BatchOptions } from '../src/client/batch-options.ts';
import type {
  BatchEvent,
  BatchOutcome,
  BatchProgress,
  BatchSettings,
  CallbackRegistration,
  Growth,
  Sealed,
  RetryOptions,
  Stop,
} from '../workflows/batch-state.ts';
import type { SteeredRow } from '../workflows/steering.ts';
import type { Share } from '../workflows/limits.ts';
import type { ChunkReport } from '../workflows/range-state.ts';
import type { LostRound, OpenedRound } from '../workflows/rounds.ts';
import type { ForSchema } from '../workflows/schema.ts';

/** Short writes of the mirror, run as local activities first. Each is an upsert: it may run twice, and twice at once. */
export interface MirrorActivities {
  createBatch(input: CreateBatchInput): Promise<{ created: boolean }>;
  takeOverBlock(input: TakeOverBlockInput): Promise<Growth | null>;
  /** @returns the token of the process that has the block; null: nobody has it */
  findBlock(input: { batchId: string }): Promise<string | null>;
  sealBatch(input: SealBatchInput): Promise<Sealed | null>;
  discardBatch(input: DiscardBatchInput): Promise<void>;
  registerCallback(input: RegisterCallbackInput): Promise<void>;
  /** @returns what the row says where it is no older than this; null: it was written, or the row is gone */
  steerBatch(input: SteerBatchInput): Promise<SteeredRow | null>;
  /** @returns spans of positions */
  findWorkflowJobs(input: { batchId: string; workflowIds: readonly string[] }): Promise<string>;
  /** Whether workflows are jobs of the batch that have not ended. */
  hasWorkflowJobs(input: { batchId: string }): Promise<boolean>;
  /** @returns task queues of jobs that have not ended, other than the batch's own */
  findQueues(input: { batchId: string }): Promise<string[]>;
  readMovement(input: { batchId: string }): Promise<{ ended: number; idleMs: number }>;
  alertBatch(input: AlertBatchInput): Promise<void>;
  scheduleAlertCallback(input: { batchId: string; round: number; alert: number }): Promise<void>;
  finishBatch(input: FinishBatchInput): Promise<FinishBatchResult>;
  failCallback(input: FailCallbackInput): Promise<void>;
  /** @returns whether the callback is this retry's to run */
  retryCallback(input: RetryCallbackInput): Promise<boolean>;
}

/** Activities that run the app's code. */
export interface HandlerActivities {
  runChunk(input: ChunkInput): Promise<ChunkReport>;
  runCallback(input: CallbackInput): Promise<void>;
  runPlainJob(input: PlainJobInput): Promise<void>;
  openRound(input: OpenRoundInput): Promise<OpenedRound | null>;
  /** Asks the workflows to cancel that are jobs of a batch which was stopped. */
  cancelWorkflowJobs(input: { batchId: string; reason: string }): Promise<void>;
}

/** What a schedule runs. */
export interface MaintenanceActivities {
  prune(input: PruneInput): Promise<{ batches: number; jobs: number }>;
}

/** For a batch that is a step of another workflow. Each may run twice. */
export interface StepActivities {
  startStep(input: StepInput): Promise<StepAnswer>;
  /** Where the batch stands once it is over; null before. */
  readStep(input: ReadStepInput): Promise<BatchProgress | null>;
  cancelStep(input: { batchId: string }): Promise<StepAnswer>;
}

export interface StepAnswer {
  /** The batch has settled, or its workflow has closed: it may not say so any more. */
  readonly mayBeOver: boolean;
  /** Where the batch is; absent where the batch was known to be there. */
  readonly schema?: string;
}

/**
 * Of `BatchClient.create`. The jobs of a step are all there is: it is always sealed with them. Callbacks cannot travel
 * from a workflow, which waits for the batch itself.
 */
export type StepBatchOptions = Omit<BatchOptions, 'autoSeal' | 'callbacks'>;

/** A job of a step: workflows cannot import what `defineJob` returns. */
export interface StepJob<Args extends readonly unknown[] = readonly unknown[]> {
  /** As `defineJob` got it. */
  readonly name: string;
  readonly args: Args;
}

/** `schema` is set by continue-as-new: what starts the batch decides where it is. */
export interface StepInput extends ForSchema {
  readonly batchId: string;
  readonly options: Omit<StepBatchOptions, 'id'>;
  /** Of a deadline that is a Date: epoch milliseconds, or null for one that is invalid. */
  readonly deadlineAt?: number | null;
  readonly jobs: readonly StepJob[];
  /** Set by continue-as-new, without the jobs. */
  readonly isStarted?: boolean;
  /** Set by continue-as-new: the batch has said so, and it was not looked at since. */
  readonly isSaidOver?: boolean;
  /** Set by continue-as-new: it waits for the end of a batch that it has cancelled. */
  readonly isCancelled?: boolean;
}

export interface ReadStepInput {
  readonly batchId: string;
  /** Whether the batch has said so itself: then its workflow closes any moment. */
  readonly isSaidOver: boolean;
}

export interface CreateBatchInput {
  readonly batchId: string;
  /** Tells a repeated write from another batch with the same id. */
  readonly firstExecutionRunId: string;
  /** When its workflow started. Epoch milliseconds. */
  readonly startedAt: number;
  readonly description: string;
  readonly context: unknown;
  /** The batch whose code created it; null: none did. */
  readonly parentBatchId: string | null;
  /** The other options, as `create` compares them. */
  readonly definition: Readonly<Record<string, unknown>>;
  readonly callbacks: readonly CallbackRegistration[];
  readonly settings: BatchSettings;
}

export interface OpenRoundInput {
  readonly batchId: string;
  /** The round to open. */
  readonly number: number;
  /** Whether cancelled jobs run again, too. */
  readonly cancelled: boolean;
  /** Of the run that is the round: tells a repeated write from another run's. */
  readonly firstExecutionRunId: string;
  readonly settings: BatchSettings;
  /** See `RoundRequest`. */
  readonly lost?: LostRound;
}

export interface RegisterCallbackInput extends CallbackRegistration {
  readonly batchId: string;
  readonly round: number;
}

export interface SteerBatchInput {
  readonly batchId: string;
  readonly round: number;
  /** Number of this change; the row keeps the newest. */
  readonly steering: number;
  readonly isPaused: boolean;
  readonly stop: Stop | null;
  readonly settings: BatchSettings;
}

export interface AlertBatchInput {
  readonly batchId: string;
  readonly round: number;
  /** How many there were in this round, this one included. */
  readonly alerts: number;
}

export interface DiscardBatchInput {
  readonly batchId: string;
  readonly firstExecutionRunId: string;
}

export interface TakeOverBlockInput {
  readonly batchId: string;
  readonly token: string;
  /** Number of this opening; the row keeps the newest. */
  readonly opening: number;
  /** Jobs that the workflow knows of, with their task queues. */
  readonly announced: number;
}

export interface SealBatchInput {
  readonly batchId: string;
  readonly total: number;
  readonly error: string | null;
}

export interface FinishBatchInput {
  readonly batchId: string;
  readonly round: number;
  readonly outcome: BatchOutcome;
  readonly settled: boolean;
  /** The jobs that it is judged by; null: it holds however many there are. */
  readonly total: number | null;
  /** Callbacks that are about to start. */
  readonly schedule: readonly BatchEvent[];
  /** Callbacks that will never start. */
  readonly skip: readonly BatchEvent[];
}

/** The counts of the row, or nothing was written because the batch has grown; null: the row is gone. */
/** How the batch's row stands, or why it was not finished: it has more jobs, or has another outcome by now. */
export type FinishBatchResult =
  | { readonly completed: number; readonly failed: number; readonly total: number }
  | { readonly growth: Growth }
  | { readonly decided: BatchOutcome }
  | null;

export interface FailCallbackInput {
  readonly batchId: string;
  readonly round: number;
  readonly event: BatchEvent;
  readonly callback: string;
  readonly errorClass: string;
  readonly errorMessage: string;
}

export interface RetryCallbackInput {
  readonly batchId: string;
  readonly round: number;
  readonly event: BatchEvent;
  /** Which retry of the callback in this round it is, from 1. */
  readonly retry: number;
  /** It has not failed, and the workflow that ran it was terminated. */
  readonly isAbandoned: boolean;
}

export interface ChunkInput {
  readonly batchId: string;
  /** The round of the batch, from 1: outcomes of an older one come too late. */
  readonly round: number;
  /** The range that it is a part of. */
  readonly runner: string;
  /** Its number, for a `chunkDrained` signal. */
  readonly chunk: number;
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
  /** For how long no worker has known the names of these jobs, or found their rows; absent: it was not tried before. */
  readonly unknownForMs?: number;
  /** Which of the batch's changes its workflow knew: after a newer one the chunk gives back what has not started. */
  readonly steering: number;
}

export interface ChunkShare extends Share {
  /** Jobs beyond that go back: there may be more of the lane's in its positions than was thought. */
  readonly maxJobs: number;
}

export interface CallbackInput {
  readonly batchId: string;
  readonly round: number;
  readonly event: BatchEvent;
  readonly callback: string;
  /** Attempts that the callback gets; absent: no limit. Counted in its row. */
  readonly maximumAttempts?: number;
}

export interface PlainJobInput {
  readonly jid: string;
  readonly workerClass: string;
  readonly args: readonly unknown[];
  /** The trace in which it was started. */
  readonly trace?: Readonly<Record<string, string>>;
}

export interface PlainJobOptions {
  readonly taskQueue?: string;
  readonly startToCloseTimeoutMs: number;
  readonly scheduleToCloseTimeoutMs?: number;
  readonly retry: RetryOptions;
}

/** Options of `BatchClient.prune`, as text and numbers. Without a `schema`, whichever worker takes it prunes its own. */
export interface PruneInput extends ForSchema {
  readonly olderThan: Duration;
  readonly status?: readonly BatchOutcome[];
  readonly limit?: number;
}
