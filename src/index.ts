export type { BatchEvent, BatchOutcome, BatchProgress, BatchStatus } from '../workflows/batch-state.ts';
export {
  BatchClient,
  type BatchClientOptions,
  type BatchLogger,
  type ListOptions,
} from './client/batch-client.ts';
export type { FailurePolicy } from '../workflows/failure-policy.ts';
export type { BatchOptions, BatchPolicyOptions, JobLimit } from './client/batch-options.ts';
export type {
  Batch,
  CallbackRecord,
  CancelOptions,
  EnrolOptions,
  RetryFailedOptions,
  SteerResult,
  WaitOptions,
} from './client/batch.ts';
export type { RoundRecord } from './database/rounds.ts';
export type { KeyLimitOptions, LimitOptions, LimitRecord, Limits } from './client/limits.ts';
export type { BatchPriority } from './client/batch-priority.ts';
export type { EachResultOptions, StoredResult } from './client/results.ts';
export { currentBatch, type CurrentBatch } from './client/current-batch.ts';
export type { EnrollmentBlock } from './client/enrollment-block.ts';
export { outsideBlock } from './client/enrollment-context.ts';
export type { DatabaseOptions } from './database/connect.ts';
export { migrate, migrationSql, migrationStatus, type MigrationStatus } from './database/migrate.ts';
export type { JobResult } from './database/results.ts';
export type { JobRecord, JobStatus } from './database/rows.ts';
export {
  ActivityEnrolledError,
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchCycleError,
  BatchError,
  BatchExistsError,
  BatchFailedError,
  BatchNotFoundError,
  BatchRunningError,
  BatchSealedError,
  BatchSettledError,
  BatchTerminatedError,
  CallbackAlreadyRegisteredError,
  CodecMismatchError,
  CodecUnavailableError,
  ContextLostError,
  DatabaseMismatchError,
  DatabaseRefusedError,
  DatabaseUnavailableError,
  EmptyBatchError,
  EnrollmentBrokenError,
  EnrollmentClosedError,
  EnrollmentTimedOutError,
  InvalidArgumentsError,
  InvalidOptionError,
  JobEndedError,
  JobNotLimitedError,
  MigrationsPendingError,
  NamespaceUnknownError,
  NestedEnrollmentError,
  NotEnrollableError,
  TemporalAccessDeniedError,
  TemporalOverloadedError,
  TemporalUnavailableError,
  UnknownLimitError,
  WaitTimedOutError,
  WorkerBusyError,
  WorkerFailingError,
  WorkerUnavailableError,
  WorkflowEnrolledError,
  type BatchErrorCode,
} from './errors.ts';
export {
  defineCallback,
  type Callback,
  type CallbackContext,
  type CallbackOptions,
  type TransactionCallbackContext,
} from './jobs/define-callback.ts';
export { defineJob, type ArgLists, type Job, type JobCalls } from './jobs/define-job.ts';
export { currentJob, type JobContext } from './jobs/job-context.ts';
export type { JobCallOptions, JobOptions, NamedLimit } from './jobs/job-options.ts';
export { batchClientInterceptors, BatchPlugin, type ClientInterceptorOptions } from './plugin/index.ts';
export type { PruneOptions, PruneResult, PruneScheduleOptions, PruneSelection } from './prune/options.ts';
