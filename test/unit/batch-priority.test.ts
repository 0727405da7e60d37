import { expect, test } from 'vitest';
import { resolveBatchOptions } from '../../src/client/batch-options.ts';
import type { BatchPriority } from '../../src/index.ts';

const untyped = (value: unknown) => value as never;
const priorityOf = (priority?: BatchPriority) =>
  resolveBatchOptions({ description: 'd', ...(priority ? { priority } : {}) }, () => 'id').settings.priority;

test.each([
  { priorityKey: 1 },
  { priorityKey: 2 ** 31 - 1 },
  { fairnessKey: 'x'.repeat(64) },
  { fairnessKey: '語'.repeat(21) },
  { fairnessWeight: 0.001 },
  { fairnessWeight: 1_000 },
  { priorityKey: 2, fairnessKey: 'tenant-7', fairnessWeight: 2.5 },
])('the priority %j is passed as it is', (priority) => {
  expect(priorityOf(priority)).toStrictEqual(priority);
});

test('nothing is passed by default, nor for what is undefined', () => {
  expect(priorityOf()).toStrictEqual({});
  expect(priorityOf(untyped({ priorityKey: undefined }))).toStrictEqual({});
});

test.each([
  ['priority', 3],
  ['priority', null],
  ['priority.key', { key: 1 }],
  ['priority.priorityKey', { priorityKey: 0 }],
  ['priority.priorityKey', { priorityKey: 1.5 }],
  ['priority.priorityKey', { priorityKey: '1' }],
  ['priority.priorityKey', { priorityKey: 2 ** 31 }],
  ['priority.fairnessKey', { fairnessKey: '' }],
  ['priority.fairnessKey', { fairnessKey: 7 }],
  ['priority.fairnessKey', { fairnessKey: 'x'.repeat(65) }],
  ['priority.fairnessKey', { fairnessKey: '語'.repeat(22) }],
  ['priority.fairnessWeight', { fairnessWeight: 0 }],
  ['priority.fairnessWeight', { fairnessWeight: 1_001 }],
  ['priority.fairnessWeight', { fairnessWeight: NaN }],
  ['priority.fairnessWeight', { fairnessWeight: '2' }],
])('%s of %j is refused', (option, priority) => {
  const options = untyped({ description: 'd', priority });
  expect(() => resolveBatchOptions(options, () => 'id')).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION', option }),
  );
});
