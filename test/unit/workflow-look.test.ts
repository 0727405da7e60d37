import { describe, expect, test } from 'vitest';
import {
  endOf,
  endOfActivity,
  isOfJob,
  nextLookMs,
  type ExecutionJob,
  type SeenRun,
} from '../../activities/workflow-look.ts';

const job: ExecutionJob = {
  batchId: 'b-1',
  kind: 'workflow',
  id: 'order-1',
  runId: 'r1',
  mayAttach: false,
  isRetried: false,
};
const seen: SeenRun = { runId: 'r1', firstRunId: 'r1', isClosed: false, startedAt: 0, mark: undefined };
const mark = { batchId: 'b-1', id: 'order-1' };

describe('the newest run of a workflow id', () => {
  test('is of the job when its chain began with the run that was started', () => {
    expect(isOfJob(job, seen)).toBe(true);
    expect(isOfJob(job, { ...seen, runId: 'r3' })).toBe(true);
    expect(isOfJob(job, { ...seen, runId: 'r9', firstRunId: 'r9' })).toBe(false);
    expect(isOfJob(job, { ...seen, runId: 'r9', firstRunId: 'r9', mark })).toBe(false);
  });

  test('is of the job when a start that may attach met it in the middle of its chain', () => {
    expect(isOfJob({ ...job, runId: 'r2', mayAttach: true }, { ...seen, runId: 'r2' })).toBe(true);
  });

  test('is of a job whose start was not answered when it has its mark', () => {
    const unanswered = { ...job, runId: null };
    expect(isOfJob(unanswered, { ...seen, mark })).toBe(true);
    expect(isOfJob(unanswered, { ...seen, mark: 'unreadable' })).toBe(true);
    expect(isOfJob(unanswered, seen)).toBe(false);
    expect(isOfJob(unanswered, { ...seen, mark: { ...mark, batchId: 'b-2' } })).toBe(false);
    // A workflow that copies its memo to another one does not make that one the job.
    expect(isOfJob(unanswered, { ...seen, mark: { ...mark, id: 'order-2' } })).toBe(false);
  });

  test('is of a job whose start was not answered, whoever started it, when that may attach', () => {
    expect(isOfJob({ ...job, runId: null, mayAttach: true }, seen)).toBe(true);
  });

  test('is of a job that is retried, whoever started it', () => {
    expect(isOfJob({ ...job, isRetried: true }, { ...seen, runId: 'r9', firstRunId: 'r9' })).toBe(true);
  });
});

describe('the last event of a run', () => {
  const failure = {
    message: 'No payment',
    applicationFailureInfo: { type: 'PaymentError' },
    cause: {
      message: 'Activity task failed',
      activityFailureInfo: {},
      cause: { message: 'The card was declined', applicationFailureInfo: { type: 'CardDeclinedError' } },
    },
  };

  test.each([
    ['completed', { workflowExecutionCompletedEventAttributes: {} }, undefined],
    [
      'failed, by its innermost application failure',
      { workflowExecutionFailedEventAttributes: { failure } },
      { errorClass: 'CardDeclinedError', errorMessage: 'The card was declined' },
    ],
    [
      'failed without a type',
      {
        workflowExecutionFailedEventAttributes: { failure: { message: 'oh', applicationFailureInfo: {} } },
      },
      { errorClass: 'ApplicationFailure', errorMessage: 'oh' },
    ],
    [
      'failed by what is no application failure',
      {
        workflowExecutionFailedEventAttributes: {
          failure: {
            message: 'Activity task timed out',
            cause: { message: 'timeout', timeoutFailureInfo: {} },
          },
        },
      },
      { errorClass: 'TimeoutFailure', errorMessage: 'timeout' },
    ],
    [
      'failed with nothing',
      { workflowExecutionFailedEventAttributes: {} },
      { errorClass: 'WorkflowFailedError', errorMessage: '' },
    ],
    [
      'timed out',
      { workflowExecutionTimedOutEventAttributes: {} },
      { errorClass: 'WorkflowTimedOutError', errorMessage: 'The workflow did not end within its timeout.' },
    ],
    [
      'was cancelled',
      { workflowExecutionCanceledEventAttributes: {} },
      { errorClass: 'WorkflowCancelledError', errorMessage: 'The workflow was cancelled.' },
    ],
    [
      'was terminated, with a reason',
      { workflowExecutionTerminatedEventAttributes: { reason: 'by ops' } },
      { errorClass: 'WorkflowTerminatedError', errorMessage: 'The workflow was terminated: by ops' },
    ],
    [
      'was terminated, without one',
      { workflowExecutionTerminatedEventAttributes: {} },
      { errorClass: 'WorkflowTerminatedError', errorMessage: 'The workflow was terminated.' },
    ],
  ])('says that it %s', (_how, event, expected) => {
    expect(endOf(event)).toEqual({ failure: expected });
  });

  test.each([
    ['continued as new', { workflowExecutionContinuedAsNewEventAttributes: { newExecutionRunId: 'r2' } }],
    ['is retried by its policy', { workflowExecutionFailedEventAttributes: { newExecutionRunId: 'r2' } }],
    ['is retried after a timeout', { workflowExecutionTimedOutEventAttributes: { newExecutionRunId: 'r2' } }],
    [
      'runs again by its cron schedule',
      { workflowExecutionCompletedEventAttributes: { newExecutionRunId: 'r2' } },
    ],
  ])('is not the end when it %s', (_how, event) => {
    expect(endOf(event)).toEqual({ nextRunId: 'r2' });
  });

  test('is no end when it closes nothing', () => {
    expect(endOf({ workflowExecutionStartedEventAttributes: {} })).toBeUndefined();
    expect(endOf({})).toBeUndefined();
  });
});

describe('the time to the next look', () => {
  const few = { pending: 1, intervalMs: 30_000 };

  test('grows with the age of the workflow, from half a second to the interval', () => {
    expect(nextLookMs(0, few)).toBe(500);
    expect(nextLookMs(1_000, few)).toBe(500);
    const minute = nextLookMs(60_000, few);
    expect(minute).toBeGreaterThan(3_000);
    expect(minute).toBeLessThanOrEqual(6_000);
    expect(nextLookMs(86_400_000, few)).toBe(30_000);
    expect(nextLookMs(86_400_000, { ...few, intervalMs: 1_000 })).toBe(1_000);
  });

  test('is the same for workflows of about the same age', () => {
    const delays = new Set(Array.from({ length: 1_000 }, (_, index) => nextLookMs(100_000 + index, few)));
    expect(delays.size).toBe(1);
  });

  test('is longer where there are many, so that all of them cost a hundred looks a second', () => {
    expect(nextLookMs(0, { ...few, pending: 1_000 })).toBe(10_000);
    expect(nextLookMs(86_400_000, { ...few, pending: 100_000 })).toBe(1_000_000);
  });
});

describe('the status of an activity', () => {
  const cause = { message: 'The card was declined', applicationFailureInfo: { type: 'CardDeclinedError' } };
  const failure = { message: 'No payment', applicationFailureInfo: { type: 'PaymentError' }, cause };

  test.each([
    [3, failure, 'CardDeclinedError', 'The card was declined'],
    [3, { message: 'lost' }, 'ActivityFailedError', 'lost'],
    [4, undefined, 'ActivityCancelledError', 'The activity was cancelled.'],
    [5, { message: 'no need' }, 'ActivityTerminatedError', 'The activity was terminated: no need'],
    [6, { message: 'late' }, 'ActivityTimedOutError', 'The activity did not end in time: late'],
    [6, undefined, 'ActivityTimedOutError', 'The activity did not end in time.'],
  ])('%j with %j is its failure', (status, given, errorClass, errorMessage) => {
    expect(endOfActivity(status, given)).toEqual({ failure: { errorClass, errorMessage } });
  });

  test('says that it is complete', () => {
    expect(endOfActivity(2, undefined)).toEqual({ failure: undefined });
  });

  test.each([0, 1, 7, undefined, null])('%j is not its end', (status) => {
    expect(endOfActivity(status, undefined)).toBeUndefined();
  });
});
