import { expect, test } from 'vitest';
import { gatherMs, NONE_ENDED, takeEnded, workflowsEnded } from '../../workflows/ended-workflows.ts';

const ids = (count: number, prefix = 'w') => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

test('what is said twice is kept once', () => {
  const once = workflowsEnded(NONE_ENDED, { workflowIds: ['a', 'b'] });
  expect(workflowsEnded(once, { workflowIds: ['b', 'c'] }).workflowIds).toEqual(['a', 'b', 'c']);
});

test('what makes no sense is dropped', () => {
  for (const workflowIds of [undefined, 'abc', 7, null, [1, null, {}, '']]) {
    expect(workflowsEnded(NONE_ENDED, { workflowIds: workflowIds as unknown[] })).toEqual(NONE_ENDED);
  }
});

test('at most 5,000 are kept, and 500 looked up at once', () => {
  const many = workflowsEnded(NONE_ENDED, { workflowIds: ids(7_000) });
  expect(many.workflowIds).toHaveLength(5_000);
  const { taken, rest } = takeEnded(many);
  expect(taken).toEqual(ids(500));
  expect(rest.workflowIds).toHaveLength(4_500);
});

test('others are waited for in a large batch, and none in a small one', () => {
  expect(gatherMs(1)).toBeLessThan(10);
  expect(gatherMs(100)).toBe(200);
  expect(gatherMs(1_000_000)).toBe(1_000);
});
