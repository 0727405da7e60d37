import { expect, test } from 'vitest';
import { resolvePruneOptions, resolvePruneSchedule } from '../../src/prune/options.ts';

const DAY = 86_400_000;

/** Calls as JavaScript can, whatever the types say. */
const untyped = (value: object) => value as never;

const refused = (option: string) => expect.objectContaining({ code: 'INVALID_OPTION', option });

test('a prune is of all outcomes and without a limit, unless it says otherwise', () => {
  expect(resolvePruneOptions({ olderThan: '30 days' })).toEqual({
    selection: { olderThanMs: 30 * DAY, statuses: ['complete', 'failed', 'cancelled'], limit: null },
    dryRun: false,
    onProgress: undefined,
  });
  expect(resolvePruneOptions({ olderThan: 5, status: 'failed', limit: 7, dryRun: true })).toMatchObject({
    selection: { olderThanMs: 5, statuses: ['failed'], limit: 7 },
    dryRun: true,
  });
  expect(resolvePruneOptions({ olderThan: 5, status: ['failed', 'complete'] }).selection.statuses).toEqual([
    'failed',
    'complete',
  ]);
});

test.each([
  { options: {}, option: 'olderThan' },
  { options: { olderThan: '200 years' }, option: 'olderThan' },
  { options: { olderThan: '30' }, option: 'olderThan' },
  { options: { olderThan: '1M' }, option: 'olderThan' },
  { options: { olderThan: 1, status: 'pending' }, option: 'status' },
  { options: { olderThan: 1, status: ['failed', 'running'] }, option: 'status' },
  { options: { olderThan: 1, status: null }, option: 'status' },
  { options: { olderThan: 1, limit: 1.5 }, option: 'limit' },
  { options: { olderThan: 1, dryRun: 'yes' }, option: 'dryRun' },
  { options: { olderThan: 1, onProgress: true }, option: 'onProgress' },
  { options: { olderThan: 1, every: '1 day' }, option: 'options.every' },
])('a prune with $options is refused', ({ options, option }) => {
  expect(() => resolvePruneOptions(untyped(options))).toThrow(refused(option));
});

test('a schedule prunes once a day, and is known by its task queue', () => {
  expect(resolvePruneSchedule({ olderThan: '30 days' }, 'batch-jobs')).toEqual({
    everyMs: DAY,
    scheduleId: 'prune:batch-jobs',
    input: { olderThan: '30 days', status: ['complete', 'failed', 'cancelled'] },
  });
  expect(
    resolvePruneSchedule({ olderThan: 5, every: '2 weeks', scheduleId: 'mine', limit: 9 }, 'batch-jobs'),
  ).toMatchObject({ everyMs: 14 * DAY, scheduleId: 'mine', input: { limit: 9 } });
});

test.each([
  { options: { olderThan: 1, every: '59 s' }, option: 'every' },
  { options: { olderThan: 1, every: 'daily' }, option: 'every' },
  { options: { olderThan: 1, every: '600000' }, option: 'every' },
  { options: { olderThan: 1, scheduleId: '' }, option: 'scheduleId' },
  { options: { every: '1 day' }, option: 'olderThan' },
  { options: { olderThan: 1, dryRun: true }, option: 'options.dryRun' },
])('a schedule with $options is refused', ({ options, option }) => {
  expect(() => resolvePruneSchedule(untyped(options), 'batch-jobs')).toThrow(refused(option));
});
