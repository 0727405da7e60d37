import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type {
  BatchEvent,
  BatchPolicy,
  BatchProgress,
  BatchState,
  CallbackRegistration,
} from './batch-state.ts';
import type { CancelRequest, SteerRequest, Steering } from './steering.ts';
import type { ReturnedRange, RunnerReport } from './ranges.ts';
import type { JobsAddedMessage } from './more-jobs.ts';
import type { ChunkLeft, RangeState } from './range-state.ts';
import type { ForSchema } from './schema.ts';

/** Jobs `1..upTo` have their rows. A watermark, so that a late or repeated message changes nothing. */
export interface EnrolledMessage {
  /** Which opening of the block speaks. The first one has its token from the row: see `claimBlock`. */
  readonly token: string;
  readonly upTo: number;
  /** Task queues of these jobs other than the batch's own. */
  readonly queues: readonly string[];
}

export interface SealMessage extends EnrolledMessage {
  /** Why the block broke, if it did. */
  readonly error?: string;
}

export interface OpenMessage {
  readonly token: string;
}

export interface OpenResult {
  /** How often a sign of life is due: several times in this time. */
  readonly quietTimeMs: number;
  /** Jobs that the batch has by now. */
  readonly total: number;
}

export interface SealResult {
  readonly total: number;
}

/**
 * Sent by the enqueuer while the block is open: new rows, or just a sign of life. With `sealed` it ends the block, for
 * when no worker is up to answer the update.
 */
export const enrolledSignal =
  defineSignal<[EnrolledMessage | (SealMessage & { readonly sealed: true })]>('enrolled');
/** Sent by a handler that has added jobs to its batch, once their rows are committed. */
export const jobsAddedSignal = defineSignal<[JobsAddedMessage]>('jobsAdded');
/** Sent by runners: how many of a range's jobs are complete by now. */
export const completedSignal = defineSignal<[RunnerReport]>('completed');
/** Sent by runners instead of `completed` when more of the range's jobs failed since the last report. */
export const failedSignal = defineSignal<[RunnerReport]>('failed');

/**
 * Sent by a chunk's activity of a batch that is judged before all jobs are terminal, when a job has failed for good and
 * its chunk is not over: how many jobs of the batch have failed in this round by now, as the row says.
 */
export const jobFailedSignal = defineSignal<[{ failed: number; round: number }]>('jobFailed');

/**
 * Sent by a chunk's activity to the workflow that started it, once all its jobs have started and some still run: the
 * worker has room for the next chunk. Under limits again, each time that half of those that ran have ended. And again
 * when jobs that ended are to run again, which are not to wait for those that run.
 */
export const chunkDrainedSignal = defineSignal<[ChunkDrainedMessage]>('chunkDrained');

export interface ChunkDrainedMessage {
  readonly runner: string;
  readonly chunk: number;
  /** Jobs that still run. */
  readonly running: number;
  /** What other chunks are to run; the chunk's report says it again. Absent: nothing. */
  readonly left?: ChunkLeft;
}

/**
 * Sent by the workflow that runs a callback of a round once that has ended: see `fire` in batch.ts. The number of the
 * alert tells apart what ran for `idle`.
 */
export const callbackEndedSignal =
  defineSignal<[{ event: BatchEvent; round: number; alert: number }]>('callbackEnded');

/**
 * Sent by workers whose workflows are jobs of the batch: these have ended. A hint, which may be lost, late, repeated or
 * wrong: it makes the batch look at them earlier, and nothing else.
 */
export const workflowsEndedSignal =
  defineSignal<[{ readonly workflowIds: readonly string[] }]>('workflowsEnded');

/** Sent by a batch, once it is over, to the workflow that waits for it: see `notify` in batch-state.ts. */
export const batchEndedSignal = defineSignal<[{ batchId: string }]>('batchEnded');

/** Sent by the batch to its runners: it was paused, resumed, changed or stopped. */
export const steeredSignal = defineSignal<[Steering]>('steered');

/** Sent by the batch to its runners: workflows at these positions (see `formatSpans`) may have ended. */
export const rushedSignal = defineSignal<[{ readonly spans: string }]>('rushed');

/** Sent by a runner that ends because its batch has limits now: the batch goes on with its range. */
export const rangeReturnedSignal = defineSignal<[ReturnedRange]>('rangeReturned');

/** Sent to a workflow that works for the batch to learn whether it is still there. */
export const pingSignal = defineSignal('ping');

/** Answers once the batch's row exists, with where it is. */
export const createdUpdate = defineUpdate<ForSchema>('created');
/** Takes the batch's one enrolment block over for a token; of an open-ended batch it asks whether it is open. */
export const openUpdate = defineUpdate<OpenResult, [OpenMessage]>('open');
/** Ends the enrolment: the block of its token, or the open-ended batch's. */
export const sealUpdate = defineUpdate<SealResult, [SealMessage]>('seal');
/** Registers a callback for an event. */
export const registerUpdate = defineUpdate<void, [CallbackRegistration]>('register');

/** Stops the batch: what has not started never starts. Answers once the row says so. */
export const cancelUpdate = defineUpdate<void, [CancelRequest]>('cancel');
/** The same for when no worker is up to answer the update. */
export const cancelRequestedSignal = defineSignal<[CancelRequest]>('cancelRequested');
/** Nothing new starts until `resume`. */
export const pauseUpdate = defineUpdate<void>('pause');
export const resumeUpdate = defineUpdate<void>('resume');
/** Changes the policy of the batch from now on. */
export const updateUpdate = defineUpdate<void, [Partial<BatchPolicy>]>('update');
/** `pause`, `resume` and `update` for when no worker is up to answer the update. */
export const steerRequestedSignal = defineSignal<[SteerRequest]>('steerRequested');

export const progressQuery = defineQuery<BatchProgress>('progress');
/** The whole state, for people and tools that look into a batch. */
export const stateQuery = defineQuery<BatchState>('state');
/** What runs in this workflow and has not ended, by runner: of a runner itself one range, of a batch its small ones. */
export const rangesQuery = defineQuery<Record<string, RangeState>>('ranges');
