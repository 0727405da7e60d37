import { expect, test } from 'vitest';
import * as rules from '../../workflows/batch-state.ts';
import { batchDetails, groupDigits } from '../../workflows/details.ts';

const SETTINGS: rules.BatchSettings = {
  afterDeadline: 'fail',
  afterFailure: 'continue',
  alertAfterIdleMs: null,
  autoSeal: true,
  deadlineAt: null,
  failWhen: 'settled',
  failWhenFailed: 'any',
  jobLimits: {},
  maxConcurrentJobs: null,
  perSecond: null,
  enrollmentTimeoutMs: 300_000,
  openTimeoutMs: 86_400_000,
  unknownJobTimeoutMs: 600_000,
  workflowCheckIntervalMs: 30_000,
  maxHistoryEvents: 4_000,
};

function running(
  jobs: number,
  counts: { completed: number; failed: number },
  error?: string,
): rules.BatchState {
  const open = rules.opened(rules.initialBatch(0), 'token', 0);
  const seal = { token: 'token', upTo: jobs, queues: [], ...(error === undefined ? {} : { error }) };
  const sealed = rules.sealed(open, seal, 0);
  const lanes = { '': { dispatched: 0, pace: { size: 25, window: 8, jobMs: 300 } } };
  const { state } = rules.assignRanges({ ...sealed, lanes }, SETTINGS);
  return rules.decided(rules.reported(state, { runner: '1', ...counts, ended: false }), SETTINGS);
}

const registration = (event: rules.BatchEvent, callback: string): rules.CallbackRegistration => ({
  event,
  callback,
  startToCloseTimeoutMs: 1_000,
  retry: { initialIntervalMs: 1, backoffCoefficient: 1, maximumIntervalMs: 1, nonRetryableErrorTypes: [] },
});

test('shows status, percentage and counts, and where the rows are', () => {
  expect(batchDetails('b-1', running(12_470, { completed: 11_010, failed: 0 }))).toBe(
    [
      '**running** (88 %)',
      '',
      '| total | complete | failed | pending |',
      '| ---: | ---: | ---: | ---: |',
      '| 12,470 | 11,010 | 0 | 1,460 |',
      '',
      "Rows: `select * from batch_progress where id = 'b-1'`",
    ].join('\n'),
  );
});

test('shows no percentage of nothing', () => {
  expect(batchDetails('b-1', rules.initialBatch(0))).toMatch(/^\*\*pending\*\*\n/);
});

test('shows 100 % once all jobs are terminal and not before', () => {
  expect(batchDetails('b-1', running(1_000, { completed: 999, failed: 0 }))).toMatch(
    /^\*\*running\*\* \(99 %\)\n/,
  );
  expect(batchDetails('b-1', running(1_000, { completed: 999, failed: 1 }))).toMatch(
    /^\*\*failed\*\* \(100 %\)\n/,
  );
});

test('says how to list failed jobs once there are some', () => {
  const query = "Failed: `select * from failed_jobs where batch_id = 'b-1'`";
  expect(batchDetails('b-1', running(10, { completed: 1, failed: 0 }))).not.toContain('Failed:');
  expect(batchDetails('b-1', running(10, { completed: 1, failed: 2 }))).toContain(query);
});

test('says why the enrolment block broke', () => {
  const state = running(1, { completed: 0, failed: 0 }, 'TypeError: no');
  expect(batchDetails('b-1', state)).toContain('\nEnrolment broke: TypeError: no\n');
  expect(batchDetails('b-1', running(1, { completed: 0, failed: 0 }))).not.toContain('Enrolment broke');
});

test('lists the callbacks by event', () => {
  let state = running(1, { completed: 0, failed: 0 });
  expect(batchDetails('b-1', state)).not.toContain('Callbacks');
  state = rules.registered(state, registration('complete', 'RebuildCache'));
  state = rules.registered(state, registration('failure', 'AlertOps'));
  expect(batchDetails('b-1', state)).toContain(
    '\nCallbacks: RebuildCache on complete, AlertOps on failure\n',
  );
});

test.each([
  [0, '0'],
  [999, '999'],
  [1_000, '1,000'],
  [12_345, '12,345'],
  [1_234_567, '1,234,567'],
])('groups the digits of %i as %s', (value, text) => {
  expect(groupDigits(value)).toBe(text);
});

test('shows the limits, if there are any', () => {
  const state = running(1, { completed: 0, failed: 0 });
  expect(batchDetails('b-1', state)).not.toContain('Limits');
  expect(batchDetails('b-1', state, '50 at once; Mail: 3 a second')).toContain(
    '\nLimits: 50 at once; Mail: 3 a second\n',
  );
});
