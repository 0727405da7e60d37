import { expect, test } from 'vitest';
import { BATCH_COLUMNS, JOB_COLUMNS, toBatchRecord, type BatchRow } from '../../src/database/rows.ts';

const ROW: BatchRow = {
  id: 'b-1',
  first_execution_run_id: 'r-1',
  parent_batch_id: 'b-0',
  description: 'Rescore leaderboard 7',
  context: { leaderboardId: 7 },
  definition: {},
  auto_seal: true,
  status: 'running',
  total: 10,
  completed_count: 6,
  failed_count: 1,
  cancelled_count: 0,
  round: 1,
  enrollment_error: 'Error: no',
  failure_reason: null,
  enrollment_token: null,
  sealed_at: new Date(2_000),
  completed_at: new Date(3_000),
  settled_at: null,
  fail_when_failed: 'any',
  deadline_at: new Date(9_000),
  paused_at: new Date(6_000),
  stopped_at: new Date(7_000),
  stop_reason: 'no need',
  stop_outcome: 'cancelled',
  created_at: new Date(1_000),
  updated_at: new Date(5_000),
};

test('turns a row of a batch into a record, with the pending jobs counted', () => {
  expect(toBatchRecord(ROW)).toEqual({
    id: 'b-1',
    runId: 'r-1',
    autoSeal: true,
    description: 'Rescore leaderboard 7',
    context: { leaderboardId: 7 },
    status: 'running',
    progress: { status: 'running', total: 10, complete: 6, failed: 1, cancelled: 0, pending: 3 },
    round: 1,
    parentId: 'b-0',
    enrollmentError: 'Error: no',
    failureReason: null,
    completedAt: new Date(3_000),
    settledAt: null,
    pausedAt: new Date(6_000),
    stoppedAt: new Date(7_000),
    stopReason: 'no need',
    deadlineAt: new Date(9_000),
    createdAt: new Date(1_000),
    updatedAt: new Date(5_000),
  });
});

test('says why jobs failed that never ran', () => {
  const { failureReason, progress } = toBatchRecord({ ...ROW, failure_reason: '1 of its jobs had no row.' });
  expect(failureReason).toBe('1 of its jobs had no row.');
  expect(progress.reason).toBe('1 of its jobs had no row.');
});

test('counts jobs that had not ended when their batch settled as cancelled', () => {
  const { progress, settledAt } = toBatchRecord({ ...ROW, status: 'cancelled', settled_at: new Date(8_000) });
  expect(progress).toEqual({
    status: 'cancelled',
    total: 10,
    complete: 6,
    failed: 1,
    cancelled: 3,
    pending: 0,
  });
  expect(settledAt).toEqual(new Date(8_000));
});

test('counts jobs that stay cancelled from an earlier round, while the others run', () => {
  const { progress } = toBatchRecord({ ...ROW, round: 2, cancelled_count: 2 });
  expect(progress).toMatchObject({ complete: 6, failed: 1, cancelled: 2, pending: 1 });
});

test('selects every column that a batch record is made of', () => {
  expect(BATCH_COLUMNS.toSorted()).toEqual(Object.keys(ROW).toSorted());
});

test('names each column of a job in camel case', () => {
  const toCamelCase = (column: string) =>
    column.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  for (const [property, column] of Object.entries(JOB_COLUMNS)) expect(property).toBe(toCamelCase(column));
});
