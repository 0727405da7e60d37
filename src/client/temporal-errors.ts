import { isGrpcServiceError, ServiceError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ApplicationFailure,
  NamespaceNotFoundError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import {
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchError,
  BatchExistsError,
  BatchFailedError,
  BatchRunningError,
  BatchSealedError,
  BatchSettledError,
  CallbackAlreadyRegisteredError,
  CodecMismatchError,
  DatabaseMismatchError,
  EnrollmentTimedOutError,
  JobNotLimitedError,
  NamespaceUnknownError,
  TemporalAccessDeniedError,
  TemporalOverloadedError,
  TemporalUnavailableError,
  WorkerFailingError,
} from '../errors.ts';
import { isNamespaceMissing } from '../temporal-calls.ts';
import { unknownEncoding } from '../temporal-payloads.ts';

/** gRPC status codes: https://grpc.github.io/grpc/core/md_doc_statuscodes.html */
const Status = {
  CANCELLED: 1,
  UNKNOWN: 2,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

const DEADLINE_CODES: readonly number[] = [Status.CANCELLED, Status.DEADLINE_EXCEEDED];

/**
 * Answers of a server that has not taken an update, and may take the same one later. FAILED_PRECONDITION: the worker's
 * task with the update failed, for example because a signal arrived while the workflow continued as new.
 * RESOURCE_EXHAUSTED: a limit of updates, or the workflow is closing its run. ABORTED and UNAVAILABLE: the shard moved.
 */
const REPEATED_CODES: readonly number[] = [
  Status.RESOURCE_EXHAUSTED,
  Status.FAILED_PRECONDITION,
  Status.ABORTED,
  Status.UNAVAILABLE,
];

/** Answers after which it is open whether the request was done. */
const UNCERTAIN_CODES: readonly number[] = [
  ...DEADLINE_CODES,
  ...REPEATED_CODES,
  Status.UNKNOWN,
  Status.INTERNAL,
  Status.DATA_LOSS,
];

/**
 * What the server answers for an update in place of the workflow: the run closed after it had accepted the update, by
 * continue-as-new for example; or the worker's task did not mention the update.
 */
const CLOSED_MEANWHILE = 'AcceptedUpdateCompletedWorkflow';
const UNPROCESSED = 'UnprocessedUpdate';

/** The gRPC error among an error and its causes. */
function grpcErrorIn(error: unknown) {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
    if (isGrpcServiceError(cause)) return cause;
  return undefined;
}

function hasCode(error: unknown, codes: readonly number[]): boolean {
  const code = grpcErrorIn(error)?.code;
  return code !== undefined && codes.includes(code);
}

/** Whether a call ended because its deadline passed: no worker answered, or no server. */
export function isDeadlineExceeded(error: unknown): boolean {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause.name === 'WorkflowUpdateRPCTimeoutOrCancelledError') return true;
    if (isGrpcServiceError(cause) && DEADLINE_CODES.includes(cause.code)) return true;
  }
  return false;
}

/** The error of a call that met workers of another schema. @param what did not happen @param why as the worker said */
export function databaseMismatch(what: string, why: string, cause?: unknown): DatabaseMismatchError {
  return new DatabaseMismatchError('DATABASE_MISMATCH', `${what}: ${why}`, { cause });
}

/** Whether an update that ended with this was not taken, and is to be sent again with the same id. */
export function isToBeSentAgain(error: unknown): boolean {
  const type = failureTypeOf(error);
  return type === CLOSED_MEANWHILE || type === UNPROCESSED || hasCode(error, REPEATED_CODES);
}

/** Whether a request that ended with this may have been done all the same. */
export function isUncertain(error: unknown): boolean {
  return isDeadlineExceeded(error) || hasCode(error, UNCERTAIN_CODES);
}

function failureTypeOf(error: unknown): string | undefined {
  const isFailure = error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure;
  return isFailure ? (error.cause.type ?? undefined) : undefined;
}

/** Our error for what a call to the batch's workflow threw. */
export function toBatchError(batchId: string, error: unknown): unknown {
  if (error instanceof BatchError) return error;
  if (error instanceof WorkflowExecutionAlreadyStartedError)
    return new BatchExistsError(batchId, { cause: error });
  if (error instanceof WorkflowUpdateFailedError && error.cause instanceof ApplicationFailure) {
    return refusal(batchId, error.cause, error) ?? error;
  }
  if (error instanceof WorkflowNotFoundError) {
    return new BatchSettledError('BATCH_SETTLED', `Batch "${batchId}" has ended: its workflow is closed.`, {
      cause: error,
    });
  }
  const encoding = unknownEncoding(error);
  if (encoding !== undefined) {
    return new CodecMismatchError(
      'CODEC_MISMATCH',
      `Batch "${batchId}": its workers answer in payloads encoded as ${encoding}, which this client cannot read. Give ` +
        "the client the workers' dataConverter. What was asked may have happened.",
      { cause: error },
    );
  }
  return toTemporalError(`the call for batch "${batchId}"`, error);
}

/**
 * Our error for an answer of Temporal that is none of a workflow's: it cannot be reached, or does not let the client in.
 *
 * @param call what it was asked, as in `the call for batch "b1"`
 */
export function toTemporalError(call: string, error: unknown): unknown {
  if (error instanceof BatchError) return error;
  const options = { cause: error };
  const answer = grpcErrorIn(error);
  const code: number | undefined = answer?.code;
  if (
    error instanceof NamespaceNotFoundError ||
    (answer && code === Status.NOT_FOUND && isNamespaceMissing(answer))
  ) {
    const name = error instanceof NamespaceNotFoundError ? ` "${error.namespace}"` : ' of that name';
    return new NamespaceUnknownError(
      'NAMESPACE_UNKNOWN',
      `Temporal has no namespace${name}, and did not take ${call}. Check the client's namespace and address, or create the namespace.`,
      options,
    );
  }
  if (!(error instanceof ServiceError) && !answer) return error;
  const said = [...new Set([(error as Error).message, answer?.details ?? ''])].filter(Boolean).join(': ');
  if (code === Status.PERMISSION_DENIED || code === Status.UNAUTHENTICATED) {
    return new TemporalAccessDeniedError(
      'TEMPORAL_ACCESS_DENIED',
      `Temporal denied access and did not take ${call}: ${said}. Check the API key or certificate, and that it permits this namespace.`,
      options,
    );
  }
  if (code === Status.RESOURCE_EXHAUSTED) {
    return new TemporalOverloadedError(
      'TEMPORAL_OVERLOADED',
      `Temporal has reached a limit and did not take ${call}: ${said}. Repeat the call later; if it happens often, raise the namespace's limits.`,
      options,
    );
  }
  if (code === Status.FAILED_PRECONDITION && /workflow task/i.test(said)) {
    return new WorkerFailingError(
      'WORKER_FAILING',
      `Workers could not process ${call}: ${said} See the workers' logs, and \`batch-jobs doctor\`.`,
      options,
    );
  }
  return new TemporalUnavailableError(
    'TEMPORAL_UNAVAILABLE',
    `Temporal did not take ${call}: ${said}. Check the address, TLS and that the server runs.`,
    options,
  );
}

function refusal(
  batchId: string,
  { type, message }: ApplicationFailure,
  cause: Error,
): BatchError | undefined {
  switch (type) {
    case 'ALREADY_ENROLLED':
      return new AlreadyEnrolledError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_CANCELLED':
      return new BatchCancelledError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_EXISTS':
      return new BatchExistsError(batchId);
    case 'BATCH_FAILED':
      return new BatchFailedError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_RUNNING':
      return new BatchRunningError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_SEALED':
      return new BatchSealedError(type, `Batch "${batchId}": ${message}`);
    case 'BATCH_SETTLED':
      return new BatchSettledError(type, `Batch "${batchId}": ${message}`);
    case 'CALLBACK_ALREADY_REGISTERED':
      return new CallbackAlreadyRegisteredError(type, `Batch "${batchId}": ${message}`);
    case 'CALLBACK_RUNNING':
      return new BatchError(type, `Batch "${batchId}": ${message}`);
    case 'ENROLLMENT_TIMED_OUT':
      return new EnrollmentTimedOutError(type, `Batch "${batchId}": ${message}`);
    case 'JOB_NOT_LIMITED':
      return new JobNotLimitedError(type, `Batch "${batchId}": ${message}`);
    case CLOSED_MEANWHILE:
      return new BatchSettledError(
        'BATCH_SETTLED',
        `Batch "${batchId}" has ended: its workflow closed before it answered.`,
        { cause },
      );
    case UNPROCESSED:
      return new WorkerFailingError(
        'WORKER_FAILING',
        `Batch "${batchId}": workers do not process the call, as workers of another version do. Run the same version of the package in workers and apps.`,
        { cause },
      );
    default:
      return undefined;
  }
}
