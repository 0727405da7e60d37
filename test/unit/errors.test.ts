import { expect, test } from 'vitest';
import * as library from '../../src/index.ts';
import { BatchError, show, type BatchErrorCode } from '../../src/errors.ts';

const cause = new Error('beneath');

const errors = [
  ['BatchError', 'CLIENT_CLOSED', new library.BatchError('CLIENT_CLOSED', 'text', { cause })],
  [
    'AlreadyEnrolledError',
    'ALREADY_ENROLLED',
    new library.AlreadyEnrolledError('ALREADY_ENROLLED', 'text', { cause }),
  ],
  ['BatchExistsError', 'BATCH_EXISTS', new library.BatchExistsError('b-1', { cause })],
  ['BatchNotFoundError', 'BATCH_NOT_FOUND', new library.BatchNotFoundError('b-1', { cause })],
  ['BatchSealedError', 'BATCH_SEALED', new library.BatchSealedError('BATCH_SEALED', 'text', { cause })],
  ['BatchSettledError', 'BATCH_SETTLED', new library.BatchSettledError('BATCH_SETTLED', 'text', { cause })],
  [
    'CallbackAlreadyRegisteredError',
    'CALLBACK_ALREADY_REGISTERED',
    new library.CallbackAlreadyRegisteredError('CALLBACK_ALREADY_REGISTERED', 'text', { cause }),
  ],
  [
    'DatabaseRefusedError',
    'DATABASE_REFUSED',
    new library.DatabaseRefusedError('DATABASE_REFUSED', 'text', { cause }),
  ],
  [
    'DatabaseUnavailableError',
    'DATABASE_UNAVAILABLE',
    new library.DatabaseUnavailableError('DATABASE_UNAVAILABLE', 'text', { cause }),
  ],
  [
    'BatchCancelledError',
    'BATCH_CANCELLED',
    new library.BatchCancelledError('BATCH_CANCELLED', 'text', { cause }),
  ],
  ['BatchFailedError', 'BATCH_FAILED', new library.BatchFailedError('BATCH_FAILED', 'text', { cause })],
  [
    'BatchTerminatedError',
    'BATCH_TERMINATED',
    new library.BatchTerminatedError('BATCH_TERMINATED', 'text', { cause }),
  ],
  [
    'NamespaceUnknownError',
    'NAMESPACE_UNKNOWN',
    new library.NamespaceUnknownError('NAMESPACE_UNKNOWN', 'text', { cause }),
  ],
  [
    'TemporalAccessDeniedError',
    'TEMPORAL_ACCESS_DENIED',
    new library.TemporalAccessDeniedError('TEMPORAL_ACCESS_DENIED', 'text', { cause }),
  ],
  [
    'TemporalOverloadedError',
    'TEMPORAL_OVERLOADED',
    new library.TemporalOverloadedError('TEMPORAL_OVERLOADED', 'text', { cause }),
  ],
  ['WorkerBusyError', 'WORKER_BUSY', new library.WorkerBusyError('WORKER_BUSY', 'text', { cause })],
  [
    'WorkerFailingError',
    'WORKER_FAILING',
    new library.WorkerFailingError('WORKER_FAILING', 'text', { cause }),
  ],
  [
    'CodecMismatchError',
    'CODEC_MISMATCH',
    new library.CodecMismatchError('CODEC_MISMATCH', 'text', { cause }),
  ],
  [
    'CodecUnavailableError',
    'CODEC_UNAVAILABLE',
    new library.CodecUnavailableError('CODEC_UNAVAILABLE', 'text', { cause }),
  ],
  ['EmptyBatchError', 'EMPTY_BATCH', new library.EmptyBatchError('EMPTY_BATCH', 'text', { cause })],
  [
    'EnrollmentBrokenError',
    'ENROLLMENT_BROKEN',
    new library.EnrollmentBrokenError('ENROLLMENT_BROKEN', 'text', { cause }),
  ],
  [
    'EnrollmentClosedError',
    'ENROLLMENT_CLOSED',
    new library.EnrollmentClosedError('ENROLLMENT_CLOSED', 'text', { cause }),
  ],
  [
    'EnrollmentTimedOutError',
    'ENROLLMENT_TIMED_OUT',
    new library.EnrollmentTimedOutError('ENROLLMENT_TIMED_OUT', 'text', { cause }),
  ],
  ['BatchCycleError', 'BATCH_CYCLE', new library.BatchCycleError('text', ['b-1', 'b-1'])],
  ['ContextLostError', 'CONTEXT_LOST', new library.ContextLostError('b-1', ['b-2/1'], 'text')],
  ['InvalidArgumentsError', 'INVALID_ARGUMENTS', new library.InvalidArgumentsError('args[0]', 'is wrong')],
  ['UnknownLimitError', 'UNKNOWN_LIMIT', new library.UnknownLimitError('strip', ['stripe'])],
  ['JobEndedError', 'JOB_ENDED', new library.JobEndedError('JOB_ENDED', 'text', { cause })],
  [
    'JobNotLimitedError',
    'JOB_NOT_LIMITED',
    new library.JobNotLimitedError('JOB_NOT_LIMITED', 'text', { cause }),
  ],
  ['NotEnrollableError', 'NOT_ENROLLABLE', new library.NotEnrollableError('b-1', 'Schedule "s"')],
  ['ActivityEnrolledError', 'ACTIVITY_ENROLLED', new library.ActivityEnrolledError('b-1', 'a-1')],
  ['WorkflowEnrolledError', 'WORKFLOW_ENROLLED', new library.WorkflowEnrolledError('b-1', 'w-1')],
  ['InvalidOptionError', 'INVALID_OPTION', new library.InvalidOptionError('limit', 'a number', 'x')],
  [
    'MigrationsPendingError',
    'MIGRATIONS_PENDING',
    new library.MigrationsPendingError('jobs', ['0001_a', '0002_b']),
  ],
  [
    'NestedEnrollmentError',
    'NESTED_ENROLLMENT',
    new library.NestedEnrollmentError('NESTED_ENROLLMENT', 'text', { cause }),
  ],
  [
    'DatabaseMismatchError',
    'DATABASE_MISMATCH',
    new library.DatabaseMismatchError('DATABASE_MISMATCH', 'text', { cause }),
  ],
  [
    'TemporalUnavailableError',
    'TEMPORAL_UNAVAILABLE',
    new library.TemporalUnavailableError('TEMPORAL_UNAVAILABLE', 'text', { cause }),
  ],
  ['BatchRunningError', 'BATCH_RUNNING', new library.BatchRunningError('BATCH_RUNNING', 'text', { cause })],
  ['WaitTimedOutError', 'WAIT_TIMED_OUT', new library.WaitTimedOutError('WAIT_TIMED_OUT', 'text', { cause })],
  [
    'WorkerUnavailableError',
    'WORKER_UNAVAILABLE',
    new library.WorkerUnavailableError('WORKER_UNAVAILABLE', 'text', { cause }),
  ],
] satisfies [string, BatchErrorCode, BatchError][];

test.each(errors)('%s has its name, the code %s, and is a BatchError', (name, code, error) => {
  expect(error.name).toBe(name);
  expect(error.constructor.name).toBe(name);
  expect(error.code).toBe(code);
  expect(error).toBeInstanceOf(BatchError);
  expect(error.stack).toMatch(new RegExp(`^${name}: `));
});

test.each(errors.filter(([, , error]) => error.cause !== undefined))(
  '%s keeps its cause',
  (_name, _code, error) => {
    expect(error.cause).toBe(cause);
  },
);

test('keeps the cause of every error that can have one', () => {
  const without = errors.filter(([, , error]) => error.cause === undefined).map(([name]) => name);
  expect(without).toEqual([
    'BatchCycleError',
    'ContextLostError',
    'InvalidArgumentsError',
    'UnknownLimitError',
    'NotEnrollableError',
    'ActivityEnrolledError',
    'WorkflowEnrolledError',
    'InvalidOptionError',
    'MigrationsPendingError',
  ]);
});

test('exports every error class', () => {
  const exported = Object.keys(library).filter((name) => name.endsWith('Error'));
  expect(exported.sort()).toEqual(errors.map(([name]) => name).sort());
});

test('names the batch that was not found, and where to look', () => {
  const error = new library.BatchNotFoundError('b-1');
  expect(error).toMatchObject({
    batchId: 'b-1',
    message: expect.stringMatching(/"b-1" does not exist.*schema/),
  });
  expect(error).not.toHaveProperty('cause');
});

test('names the batch that exists, and what to do', () => {
  expect(new library.BatchExistsError('b-1')).toMatchObject({
    batchId: 'b-1',
    message: expect.stringContaining('find("b-1")'),
  });
});

test('names the options in which a batch that exists differs', () => {
  expect(new library.BatchExistsError('b-1', { differences: ['context', 'deadline'] })).toMatchObject({
    differences: ['context', 'deadline'],
    message: expect.stringContaining('another definition (context, deadline)'),
  });
});

test('names the option, what was expected and what was given', () => {
  expect(new library.InvalidOptionError('limit', 'a whole number', '5')).toMatchObject({
    option: 'limit',
    message: 'limit must be a whole number, but was "5" (string).',
  });
});

test('names the path of an argument', () => {
  expect(new library.InvalidArgumentsError('args[0].a', 'is NaN.')).toMatchObject({
    path: 'args[0].a',
    message: 'args[0].a is NaN.',
  });
});

test('names the migrations that are missing, and the command that runs them', () => {
  const error = new library.MigrationsPendingError('jobs', ['0001_a', '0002_b']);
  expect(error.pending).toEqual(['0001_a', '0002_b']);
  expect(error.message).toMatch(
    /"jobs" lacks 2 migrations: 0001_a, 0002_b\..*npx batch-jobs migrate --schema jobs$/,
  );
});

test.each([
  [undefined, 'undefined'],
  [null, 'null'],
  ['text', '"text" (string)'],
  [5, '5 (number)'],
  [NaN, 'NaN (number)'],
  [-Infinity, '-Infinity (number)'],
  [true, 'true (boolean)'],
  [10n, '10n (bigint)'],
  [Symbol('x'), 'symbol (symbol)'],
  [[1, 'a'], '[1,"a"] (array)'],
  [{ a: 1 }, '{"a":1} (object)'],
  [function work() {}, 'function work'],
  [(() => () => {})(), 'function (anonymous)'],
  [
    {
      toJSON: () => {
        throw new Error('no');
      },
    },
    '[object Object] (object)',
  ],
])('shows %o as %s', (value, text) => {
  expect(show(value)).toBe(text);
});

test('shows an object that contains itself', () => {
  const value: Record<string, unknown> = {};
  value['self'] = value;
  expect(show(value)).toBe('[object Object] (object)');
});

test('cuts a long value', () => {
  const text = show('x'.repeat(1_000));
  expect(text).toMatch(/^"x+\.\.\. \(string\)$/);
  expect(text.length).toBeLessThan(100);
});
