import {
  ActivityFailure,
  ApplicationFailure,
  ChildWorkflowFailure,
  RetryState,
  TerminatedFailure,
  TimeoutFailure,
  TimeoutType,
} from '@temporalio/common';
import { expect, test } from 'vitest';
import { describeFailure } from '../../workflows/failure.ts';

function activityFailure(cause: Error): ActivityFailure {
  return new ActivityFailure(
    'Activity task failed',
    'runCallback',
    '7',
    RetryState.MAXIMUM_ATTEMPTS_REACHED,
    'w',
    cause,
  );
}

test('names what the code in an activity threw, not the wrapper', () => {
  const failure = activityFailure(ApplicationFailure.create({ type: 'SmtpError', message: 'mailbox full' }));
  expect(describeFailure(failure)).toEqual({ errorClass: 'SmtpError', message: 'mailbox full' });
});

test('looks beneath several wrappers', () => {
  const inner = activityFailure(ApplicationFailure.create({ type: 'SmtpError', message: 'mailbox full' }));
  const child = new ChildWorkflowFailure(
    'default',
    { workflowId: 'w', runId: 'r' },
    'batchRunner',
    RetryState.MAXIMUM_ATTEMPTS_REACHED,
    inner,
  );
  expect(describeFailure(child)).toEqual({ errorClass: 'SmtpError', message: 'mailbox full' });
});

test('stops at what the code threw, also when that has a cause', () => {
  const failure = ApplicationFailure.create({
    type: 'SmtpError',
    message: 'mailbox full',
    cause: ApplicationFailure.create({ type: 'SocketError', message: 'reset' }),
  });
  expect(describeFailure(activityFailure(failure))).toEqual({
    errorClass: 'SmtpError',
    message: 'mailbox full',
  });
});

test('names a timeout by its own kind', () => {
  const failure = activityFailure(new TimeoutFailure('activity timed out', undefined, TimeoutType.HEARTBEAT));
  expect(describeFailure(failure)).toEqual({ errorClass: 'TimeoutFailure', message: 'activity timed out' });
});

test('names a termination', () => {
  expect(describeFailure(new TerminatedFailure('Workflow execution terminated'))).toMatchObject({
    errorClass: 'TerminatedFailure',
  });
});

test('calls an application failure without a type an Error', () => {
  expect(describeFailure(ApplicationFailure.create({ message: 'no' }))).toEqual({
    errorClass: 'Error',
    message: 'no',
  });
});

test('takes any other error by its name', () => {
  expect(describeFailure(new RangeError('too far'))).toEqual({
    errorClass: 'RangeError',
    message: 'too far',
  });
});

test.each([
  ['just text', 'just text'],
  [undefined, 'undefined'],
  [42, '42'],
])('describes %j, which is no error', (thrown, message) => {
  expect(describeFailure(thrown)).toEqual({ errorClass: 'NonError', message });
});
