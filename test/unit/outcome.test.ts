import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import {
  ActivityFailure,
  ApplicationFailure,
  RetryState,
  TimeoutFailure,
  TimeoutType,
} from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import {
  describeError,
  MAX_MESSAGE_LENGTH,
  MAX_STACK_LENGTH,
  retryDelay,
  stackOf,
} from '../../src/jobs/outcome.ts';
import { resolveJobOptions } from '../../src/jobs/job-options.ts';
import { resolveRetry } from '../../src/options.ts';

const HALF_OF_A_PAIR = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

class PaymentRefused extends Error {}

class NamedError extends Error {
  override readonly name = 'OwnName';
}

function cyclic(): AggregateError {
  const error = new AggregateError([]);
  error.errors.push(error);
  return error;
}

describe('the error of a job', () => {
  test.each([
    ['an Error', new Error('no'), { errorClass: 'Error', errorMessage: 'no' }],
    ['an error of the language', new TypeError('no'), { errorClass: 'TypeError', errorMessage: 'no' }],
    [
      'a class that sets no name',
      new PaymentRefused('no'),
      { errorClass: 'PaymentRefused', errorMessage: 'no' },
    ],
    ['a class that sets its name', new NamedError('no'), { errorClass: 'OwnName', errorMessage: 'no' }],
    [
      'a class without a name',
      new (class extends Error {})('no'),
      { errorClass: 'Error', errorMessage: 'no' },
    ],
    ['an error without a message', new Error(), { errorClass: 'Error', errorMessage: '' }],
    [
      'a failure with a type',
      ApplicationFailure.nonRetryable('no', 'HopelessError'),
      { errorClass: 'HopelessError', errorMessage: 'no' },
    ],
    [
      'a failure without a type',
      ApplicationFailure.create({ message: 'no' }),
      { errorClass: 'ApplicationFailure', errorMessage: 'no' },
    ],
    ['text', 'no', { errorClass: 'NonError', errorMessage: 'no' }],
    ['undefined', undefined, { errorClass: 'NonError', errorMessage: 'undefined' }],
    ['null', null, { errorClass: 'NonError', errorMessage: 'null' }],
    ['a number', 404, { errorClass: 'NonError', errorMessage: '404' }],
    ['a symbol', Symbol('no'), { errorClass: 'NonError', errorMessage: 'Symbol(no)' }],
    ['an object', { status: 404 }, { errorClass: 'NonError', errorMessage: '{ status: 404 }' }],
    ['an empty text', '', { errorClass: 'NonError', errorMessage: "''" }],
    [
      'a connection that was refused at two addresses',
      Object.assign(
        new AggregateError([
          new Error('connect ECONNREFUSED ::1:5432'),
          new Error('connect ECONNREFUSED 127.0.0.1:5432'),
        ]),
        { code: 'ECONNREFUSED' },
      ),
      {
        errorClass: 'AggregateError',
        errorMessage: 'connect ECONNREFUSED ::1:5432; connect ECONNREFUSED 127.0.0.1:5432',
      },
    ],
    [
      'what Promise.any rejects with',
      new AggregateError([new Error('a'), 'b', new Error('a'), {}], 'All promises were rejected'),
      { errorClass: 'AggregateError', errorMessage: 'All promises were rejected: a; b' },
    ],
    [
      'more parts than are shown',
      new AggregateError(Array.from({ length: 8 }, (_, i) => new Error(`part ${i}`))),
      {
        errorClass: 'AggregateError',
        errorMessage: 'part 0; part 1; part 2; part 3; part 4; and 3 more',
      },
    ],
    [
      'an error that has only a cause',
      new PaymentRefused('', { cause: new Error('', { cause: 'no funds' }) }),
      { errorClass: 'PaymentRefused', errorMessage: 'no funds' },
    ],
    [
      'a failure that has only a cause',
      ApplicationFailure.create({ type: 'Declined', message: '', cause: new Error('no funds') }),
      { errorClass: 'Declined', errorMessage: 'no funds' },
    ],
    [
      'an error that has only a code',
      Object.assign(new Error(), { code: 'ECONNRESET' }),
      { errorClass: 'Error', errorMessage: 'ECONNRESET' },
    ],
    [
      'an error of another realm',
      runInNewContext(`new TypeError('no')`),
      { errorClass: 'TypeError', errorMessage: 'no' },
    ],
    [
      'parts that contain each other',
      cyclic(),
      { errorClass: 'AggregateError', errorMessage: expect.any(String) },
    ],
  ])('is described for %s', (_what, error, described) => {
    expect(describeError(error)).toEqual(described);
  });

  test('is the one beneath the wrappers of Temporal', () => {
    const cause = new TimeoutFailure('the vendor was slow', undefined, TimeoutType.START_TO_CLOSE);
    const wrapped = new ActivityFailure(
      'Activity failed',
      'charge',
      '1',
      RetryState.TIMEOUT,
      'worker',
      cause,
    );
    expect(describeError(wrapped)).toEqual({
      errorClass: 'TimeoutFailure',
      errorMessage: 'the vendor was slow',
    });
  });

  test.each([
    ['workflow', (cause: Error) => new WorkflowFailedError('Workflow failed', cause, RetryState.TIMEOUT)],
    ['update', (cause: Error) => new WorkflowUpdateFailedError('Workflow Update failed', cause)],
  ])('is the one of a failed %s that the handler waited for', (_what, wrap) => {
    const cause = ApplicationFailure.create({ type: 'CardDeclined', message: 'no funds' });
    expect(describeError(wrap(cause))).toEqual({ errorClass: 'CardDeclined', errorMessage: 'no funds' });
  });

  test('is the failure that the handler threw, also when that has a cause', () => {
    const error = ApplicationFailure.create({ type: 'Outer', message: 'outer', cause: new Error('inner') });
    expect(describeError(error)).toEqual({ errorClass: 'Outer', errorMessage: 'outer' });
  });

  test('is the outer one when the handler chained errors itself', () => {
    const error = new PaymentRefused('outer', { cause: new TypeError('inner') });
    expect(describeError(error)).toEqual({ errorClass: 'PaymentRefused', errorMessage: 'outer' });
  });

  test('is cut to what a row keeps, and says how long it was', () => {
    const { errorMessage } = describeError(new Error('x'.repeat(50_000)));
    expect(errorMessage.length).toBeLessThanOrEqual(MAX_MESSAGE_LENGTH);
    expect(errorMessage).toMatch(/x\.\.\. \(50000 characters\)$/);
  });

  test('is kept whole up to what a row keeps', () => {
    const message = 'x'.repeat(MAX_MESSAGE_LENGTH);
    expect(describeError(new Error(message)).errorMessage).toBe(message);
  });

  test('has what Postgres cannot store replaced, in message and class', () => {
    const error = ApplicationFailure.create({ type: 'Bad\0Type', message: 'bad \0 and \uD83D' });
    expect(describeError(error)).toEqual({
      errorClass: 'Bad\uFFFDType',
      errorMessage: 'bad \uFFFD and \uFFFD',
    });
  });

  test.each(['', 'x'])('has no half of a surrogate pair where it was cut, after "%s"', (start) => {
    const { errorMessage } = describeError(new Error(`${start}${'😀'.repeat(MAX_MESSAGE_LENGTH)}`));
    expect(errorMessage).not.toMatch(HALF_OF_A_PAIR);
  });

  test('has a class name of at most 200 characters', () => {
    expect(describeError(ApplicationFailure.create({ type: 'X'.repeat(1_000) })).errorClass).toHaveLength(
      200,
    );
  });

  // Code of others throws these. A description that throws would keep the job from ever failing.
  test.each([
    ['a message that is undefined', Object.assign(new Error('x'), { message: undefined })],
    ['a message that is an object', Object.assign(new Error('x'), { message: { reason: 'no' } })],
    ['a name that is undefined', Object.assign(new Error('no'), { name: undefined })],
    ['a name that is a number', Object.assign(new Error('no'), { name: 404 })],
    [
      'a message that throws',
      Object.defineProperty(new Error('x'), 'message', {
        get: () => {
          throw new Error('getter');
        },
      }),
    ],
    ['no constructor', Object.assign(new Error('no'), { constructor: undefined })],
  ])('is text, whatever is thrown: an error with %s', (_what, error) => {
    expect(describeError(error)).toEqual({
      errorClass: expect.any(String),
      errorMessage: expect.any(String),
    });
  });

  test('is text, whatever is thrown: an object that cannot be inspected', () => {
    const thrown = {
      [inspect.custom]: () => {
        throw new Error('cannot be inspected');
      },
    };
    expect(describeError(thrown)).toEqual({ errorClass: 'NonError', errorMessage: expect.any(String) });
  });
});

describe('the default policy of a job', () => {
  const { retry } = resolveJobOptions('job');
  const nextAfter = (number: number) =>
    retryDelay(retry, { number, error: new Error('no'), errorClass: 'Error' }, { ageMs: 0 });

  test('ends after five attempts over 15 seconds', () => {
    expect([1, 2, 3, 4, 5].map(nextAfter)).toEqual([1_000, 2_000, 4_000, 8_000, null]);
  });

  test('ends for every error, also one that asks to be retried', () => {
    const error = ApplicationFailure.create({ message: 'busy', nextRetryDelay: '1s', nonRetryable: false });
    expect(retryDelay(retry, { number: 5, error, errorClass: 'Error' }, { ageMs: 0 })).toBeNull();
    expect(nextAfter(1_000_000)).toBeNull();
  });
});

describe('the next attempt', () => {
  function delayOf(
    error: unknown,
    options: {
      number?: number;
      retry?: Parameters<typeof resolveRetry>[1];
      ageMs?: number;
      scheduleToCloseTimeoutMs?: number;
    } = {},
  ): number | null {
    const { number = 1, retry, ageMs = 0, scheduleToCloseTimeoutMs } = options;
    const { errorClass } = describeError(error);
    return retryDelay(
      resolveRetry('retry', retry),
      { number, error, errorClass },
      { ageMs, scheduleToCloseTimeoutMs },
    );
  }

  test('comes after growing pauses up to the longest', () => {
    const retry = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '10s' } as const;
    const delays = [1, 2, 3, 4, 5, 6, 2_000].map((number) => delayOf(new Error('no'), { number, retry }));
    expect(delays).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  });

  test('comes after equal pauses with a coefficient of 1', () => {
    const retry = { initialInterval: '3s', backoffCoefficient: 1 } as const;
    expect([1, 2, 50].map((number) => delayOf(new Error('no'), { number, retry }))).toEqual([
      3_000, 3_000, 3_000,
    ]);
  });

  test.each([
    [4, 8_000],
    [5, null],
    [6, null],
  ])('after number %i of at most 5 comes in %s ms', (number, delay) => {
    expect(delayOf(new Error('no'), { number, retry: { maximumAttempts: 5 } })).toBe(delay);
  });

  test('never comes with one attempt at most', () => {
    expect(delayOf(new Error('no'), { retry: { maximumAttempts: 1 } })).toBeNull();
  });

  test('comes without end where attempts have no limit', () => {
    expect(delayOf(new Error('no'), { number: 1_000_000 })).toBe(100_000);
  });

  test('never comes after a failure that says it is not retryable', () => {
    expect(delayOf(ApplicationFailure.nonRetryable('no'))).toBeNull();
    expect(delayOf(ApplicationFailure.retryable('no'))).toBe(1_000);
  });

  test.each([
    ['a failure of that type', ApplicationFailure.retryable('no', 'PaymentRefused')],
    ['an error of that class', new PaymentRefused('no')],
  ])('never comes after %s that is listed as not retryable', (_what, error) => {
    expect(delayOf(error, { retry: { nonRetryableErrorTypes: ['PaymentRefused'] } })).toBeNull();
    expect(delayOf(error, { retry: { nonRetryableErrorTypes: ['Payment'] } })).toBe(1_000);
  });

  test.each([
    ['5 minutes', 300_000],
    ['1ms', 1],
    [42, 42],
    [0, 0],
    ['0s', 0],
  ] as const)('comes when the failure asks for it: nextRetryDelay %j', (nextRetryDelay, delay) => {
    expect(delayOf(ApplicationFailure.create({ message: 'busy', nextRetryDelay }))).toBe(delay);
  });

  test('does not come because the failure asks for it when attempts are used up', () => {
    const error = ApplicationFailure.create({ message: 'busy', nextRetryDelay: '1s' });
    expect(delayOf(error, { number: 2, retry: { maximumAttempts: 2 } })).toBeNull();
  });

  test('comes as usual when the failure asks for a time that is none', () => {
    const error = ApplicationFailure.create({ message: 'busy', nextRetryDelay: 'soon' as never });
    expect(delayOf(error)).toBe(1_000);
  });

  test.each([
    [8_999, 1_000],
    [9_000, null],
    [20_000, null],
  ])('at an age of %i ms comes in %s ms, with ten seconds for all attempts', (ageMs, delay) => {
    expect(delayOf(new Error('no'), { ageMs, scheduleToCloseTimeoutMs: 10_000 })).toBe(delay);
  });

  test('comes at any age without a time for all attempts', () => {
    expect(delayOf(new Error('no'), { ageMs: 1e12 })).toBe(1_000);
  });
});

describe('the stack of an error', () => {
  test('has the calls, those of its causes and those of its parts', () => {
    const cause = new RangeError('inner');
    const stack = stackOf(new AggregateError([new TypeError('part')], 'outer', { cause }));
    expect(stack).toMatch(
      /^AggregateError: outer\n\s+at .*^Caused by: RangeError: inner\n\s+at .*^Part: TypeError: part\n\s+at /ms,
    );
  });

  test('is that of the error beneath the wrappers of Temporal', () => {
    const cause = new TypeError('inner');
    const wrapped = new ActivityFailure('Failed', 'charge', '1', RetryState.TIMEOUT, 'worker', cause);
    expect(stackOf(wrapped)).toBe(cause.stack);
  });

  test('is cut to what a row keeps, and a long message leaves room for the calls', () => {
    const error = new Error('x'.repeat(50_000));
    const stack = stackOf(error)!;
    expect(stack.length).toBeLessThanOrEqual(MAX_STACK_LENGTH);
    expect(stack).toMatch(/x\.\.\.\n\s+at .*outcome\.test/);
    error.stack = `Error\n${'    at somewhere\n'.repeat(10_000)}`;
    expect(stackOf(error)).toHaveLength(MAX_STACK_LENGTH);
  });

  test('has what Postgres cannot store replaced', () => {
    expect(stackOf(Object.assign(new Error('x'), { stack: 'Error: a\0b' }))).toBe('Error: a\uFFFDb');
  });

  const thrower = Object.defineProperty(new Error('x'), 'stack', {
    get: () => {
      throw new Error('getter');
    },
  });
  test.each([
    ['text', 'no'],
    ['an object', { stack: 'mine' }],
    ['an error without one', Object.assign(new Error('x'), { stack: undefined })],
    ['an error whose stack throws', thrower],
  ])('is none of %s', (_what, error) => {
    expect(stackOf(error)).toBeUndefined();
  });

  test('ends, also of errors that are their own causes', () => {
    const error = new Error('x');
    error.cause = error;
    expect(stackOf(error)).toBe(error.stack);
    expect(stackOf(cyclic())).toMatch(/^AggregateError/);
  });
});
