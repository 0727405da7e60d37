import {
  ServiceError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import {
  ApplicationFailure,
  NamespaceNotFoundError,
  TimeoutFailure,
  TimeoutType,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import {
  isDeadlineExceeded,
  isToBeSentAgain,
  isUncertain,
  toBatchError,
} from '../../src/client/temporal-errors.ts';
import { BatchError, EmptyBatchError } from '../../src/errors.ts';

const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const INTERNAL = 13;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;
const TASK_FAILED = 'Unable to perform workflow execution update due to unexpected workflow task failure.';

/** As @grpc/grpc-js makes them. */
function grpcError(code: number, message = 'grpc'): Error {
  return Object.assign(new Error(message), { code, details: message, metadata: {} });
}

function refused(code: string): WorkflowUpdateFailedError {
  return new WorkflowUpdateFailedError(
    'Workflow Update failed',
    ApplicationFailure.nonRetryable('Because of the rules.', code),
  );
}

describe('what a call to a batch threw', () => {
  test.each([
    ['ALREADY_ENROLLED', 'AlreadyEnrolledError'],
    ['BATCH_CANCELLED', 'BatchCancelledError'],
    ['BATCH_FAILED', 'BatchFailedError'],
    ['BATCH_SETTLED', 'BatchSettledError'],
    ['CALLBACK_ALREADY_REGISTERED', 'CallbackAlreadyRegisteredError'],
    ['ENROLLMENT_TIMED_OUT', 'EnrollmentTimedOutError'],
    ['JOB_NOT_LIMITED', 'JobNotLimitedError'],
  ])('is, when the batch refused with %s, a %s', (code, name) => {
    const error = toBatchError('b-1', refused(code));
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ name, code, message: 'Batch "b-1": Because of the rules.' });
  });

  test('is, when the batch refused with BATCH_EXISTS, a BatchExistsError with its id', () => {
    expect(toBatchError('b-1', refused('BATCH_EXISTS'))).toMatchObject({
      name: 'BatchExistsError',
      batchId: 'b-1',
    });
  });

  test('is a BatchExistsError when a workflow has the id', () => {
    const cause = new WorkflowExecutionAlreadyStartedError('started', 'batch:b-1', 'batch');
    expect(toBatchError('b-1', cause)).toMatchObject({ name: 'BatchExistsError', batchId: 'b-1', cause });
  });

  test('is a BatchSettledError when the workflow has ended', () => {
    const cause = new WorkflowNotFoundError('not found', 'batch:b-1', undefined);
    expect(toBatchError('b-1', cause)).toMatchObject({ code: 'BATCH_SETTLED', cause });
  });

  test.each([
    ['a ServiceError', new ServiceError('Failed to connect', { cause: grpcError(UNAVAILABLE) })],
    ['an error of gRPC', grpcError(UNAVAILABLE, 'Failed to connect')],
  ])('is a TemporalUnavailableError for %s', (_what, cause) => {
    expect(toBatchError('b-1', cause)).toMatchObject({
      name: 'TemporalUnavailableError',
      code: 'TEMPORAL_UNAVAILABLE',
      message: expect.stringContaining('Failed to connect'),
      cause,
    });
  });

  test.each([
    [PERMISSION_DENIED, 'TEMPORAL_ACCESS_DENIED', 'API key'],
    [UNAUTHENTICATED, 'TEMPORAL_ACCESS_DENIED', 'API key'],
    [RESOURCE_EXHAUSTED, 'TEMPORAL_OVERLOADED', 'Repeat the call later'],
    [UNAVAILABLE, 'TEMPORAL_UNAVAILABLE', 'Check the address'],
    [INTERNAL, 'TEMPORAL_UNAVAILABLE', 'Check the address'],
  ])('has, for the gRPC status %i, the code %s and its own advice', (status, code, advice) => {
    const cause = new ServiceError('Workflow Update failed', { cause: grpcError(status, 'the reason') });
    const error = toBatchError('b-1', cause);
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ code, cause });
    expect((error as BatchError).message).toContain('the reason');
    expect((error as BatchError).message).toContain(advice);
  });

  test('names the namespace that Temporal does not have', () => {
    const cause = new NamespaceNotFoundError('not-there');
    expect(toBatchError('b-1', cause)).toMatchObject({
      name: 'NamespaceUnknownError',
      code: 'NAMESPACE_UNKNOWN',
      message: expect.stringContaining('no namespace "not-there"'),
    });
    const metadata = { get: () => ['...NamespaceNotFoundFailure...'] };
    const raw = Object.assign(grpcError(NOT_FOUND), { metadata });
    expect(toBatchError('b-1', raw)).toMatchObject({ code: 'NAMESPACE_UNKNOWN' });
  });

  test('says that workers fail when Temporal reports failed workflow tasks', () => {
    const cause = new ServiceError('Workflow Update failed', { cause: grpcError(9, TASK_FAILED) });
    expect(toBatchError('b-1', cause)).toMatchObject({
      name: 'WorkerFailingError',
      code: 'WORKER_FAILING',
      message: expect.stringContaining(TASK_FAILED),
    });
    expect(toBatchError('b-1', refused('UnprocessedUpdate'))).toMatchObject({ code: 'WORKER_FAILING' });
  });

  test('is a BatchSettledError when the workflow closed before it answered', () => {
    const cause = refused('AcceptedUpdateCompletedWorkflow');
    expect(toBatchError('b-1', cause)).toMatchObject({ code: 'BATCH_SETTLED', cause });
  });

  test.each([
    ['an error of this library', new EmptyBatchError('EMPTY_BATCH', 'empty')],
    ['an error of the app', new TypeError('no')],
    ['a refusal with a code that is not ours', refused('SomethingElse')],
    [
      'an update that failed for another reason',
      new WorkflowUpdateFailedError(
        'failed',
        new TimeoutFailure('slow', undefined, TimeoutType.START_TO_CLOSE),
      ),
    ],
    ['what is no error', 'text'],
  ])('stays as it is when it is %s', (_what, error) => {
    expect(toBatchError('b-1', error)).toBe(error);
  });
});

describe('an update is sent again', () => {
  test.each([
    ['its task failed', new ServiceError('failed', { cause: grpcError(9, TASK_FAILED) })],
    ['the run is closing, or a limit of updates is reached', grpcError(RESOURCE_EXHAUSTED)],
    ['the shard moved', grpcError(10)],
    ['the server is away', grpcError(UNAVAILABLE)],
    ['the run closed after it had accepted it', refused('AcceptedUpdateCompletedWorkflow')],
    ['the task did not process it', refused('UnprocessedUpdate')],
  ])('when %s', (_what, error) => {
    expect(isToBeSentAgain(error)).toBe(true);
  });

  test.each([
    ['the batch refused it', refused('BATCH_SETTLED')],
    ['the workflow is closed', new WorkflowNotFoundError('gone', 'batch:b-1', undefined)],
    ['nobody answered in time', grpcError(DEADLINE_EXCEEDED)],
    ['the client may not', grpcError(PERMISSION_DENIED)],
  ])('but not when %s', (_what, error) => {
    expect(isToBeSentAgain(error)).toBe(false);
  });
});

test.each([
  [grpcError(DEADLINE_EXCEEDED), true],
  [grpcError(UNAVAILABLE), true],
  [grpcError(9), true],
  [grpcError(PERMISSION_DENIED), false],
  [grpcError(3), false],
  [refused('BATCH_EXISTS'), false],
])('whether a request may have been done after %s', (error, isOpen) => {
  expect(isUncertain(error)).toBe(isOpen);
});

describe('a deadline has passed', () => {
  test.each([
    ['an update that nobody answered', new WorkflowUpdateRPCTimeoutOrCancelledError('timeout')],
    ['DEADLINE_EXCEEDED of gRPC', grpcError(DEADLINE_EXCEEDED)],
    ['CANCELLED of gRPC', grpcError(CANCELLED)],
    [
      'DEADLINE_EXCEEDED beneath other errors',
      new ServiceError('call', { cause: grpcError(DEADLINE_EXCEEDED) }),
    ],
    [
      'two layers',
      new Error('outer', { cause: new Error('inner', { cause: grpcError(DEADLINE_EXCEEDED) }) }),
    ],
  ])('with %s', (_what, error) => {
    expect(isDeadlineExceeded(error)).toBe(true);
  });

  test.each([
    ['UNAVAILABLE of gRPC', grpcError(UNAVAILABLE)],
    [
      'an error with that code which is not of gRPC',
      Object.assign(new Error('x'), { code: DEADLINE_EXCEEDED }),
    ],
    ['a refusal', refused('ALREADY_ENROLLED')],
    ['an error of the app', new Error('deadline exceeded')],
    ['nothing', undefined],
    ['text', 'deadline'],
  ])('not with %s', (_what, error) => {
    expect(isDeadlineExceeded(error)).toBe(false);
  });
});
