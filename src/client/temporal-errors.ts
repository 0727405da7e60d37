import { isGrpcServiceError, ServiceError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ApplicationFailure,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import {
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchError,
  BatchExistsError,
  BatchRunningError,
  BatchSealedError,
  BatchSettledError,
  CallbackAlreadyRegisteredError,
  DatabaseMismatchError,
  EnrollmentTimedOutError,
  JobNotLimitedError,
  TemporalUnavailableError,
} from '../errors.ts';

/** gRPC status codes CANCELLED and DEADLINE_EXCEEDED: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const DEADLINE_CODES: readonly number[] = [1, 4];

/** Whether a call ended because its deadline passed: no worker answered, or no server. */
export function isDeadlineExceeded(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === 'WorkflowUpdateRPCTimeoutOrCancelledError') return true;
    if (isGrpcServiceError(cause) && DEADLINE_CODES.includes(cause.code)) return true;
  }
  return false;
}

/** @param what did not happen @param why what a worker said */
export function databaseMismatch(what: string, why: string, cause?: unknown): DatabaseMismatchError {
  return new DatabaseMismatchError('DATABASE_MISMATCH', `${what}: ${why}`, { cause });
}

/** Our error for what a call to the batch's workflow threw. */
export function toBatchError(batchId: string, error: unknown): unknown {
  if (error instanceof BatchError) return error;
  if (error instanceof WorkflowExecutionAlreadyStartedError)
    return new BatchExistsError(batchId, { cause: error });
  if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure) {
    return refusal(batchId, error.cause) ?? error;
  }
  if (error instanceof WorkflowNotFoundError) {
    return new BatchSettledError('BATCH_SETTLED', `Batch "${batchId}" has ended: its workflow is closed.`, {
      cause: error,
    });
  }
  if (error instanceof ServiceError || isGrpcServiceError(error)) {
    return new TemporalUnavailableError(
      'TEMPORAL_UNAVAILABLE',
      `Temporal did not take the call for batch "${batchId}": ${error.message}. Check the address, the namespace and that the server runs.`,
      { cause: error },
    );
  }
  return error;
}

function refusal(batchId: string, { type, message }: ApplicationFailure): BatchError | undefined {
  switch (type) {
    case 'ALREADY_ENROLLED':
      return new AlreadyEnrolledError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_CANCELLED':
      return new BatchCancelledError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_EXISTS':
      return new BatchExistsError(batchId);
    case 'BATCH_RUNNING':
      return new BatchRunningError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_SEALED':
      return new BatchSealedError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_SETTLED':
      return new BatchSettledError(type, `Batch "${batchId}": ${message}`);
    case 'CALLBACK_ALREADY_REGISTERED':
      return new CallbackAlreadyRegisteredError(type, `Batch "${batchId}": ${message}`);
    case 'ENROLLMENT_TIMED_OUT':
      return new EnrollmentTimedOutError(type, `Batch "${batchId}": ${message}`);
    case 'JOB_NOT_LIMITED':
      return new JobNotLimitedError(type, `Batch "${batchId}": ${message}`);
    default:
      return undefined;
  }
}
