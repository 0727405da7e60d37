import { expect, test } from 'vitest';
import { markedBatch } from '../../workflows/mark.ts';

const mark = { batchId: 'b1', workflowId: 'order-1' };

test('a workflow with a mark of its own is a job of that batch', () => {
  expect(markedBatch({ batchJobs: mark, other: 1 }, 'order-1')).toBe('b1');
});

test.each([
  ['no memo', undefined],
  ['no mark', { other: 1 }],
  ['the mark of another workflow, copied', { batchJobs: { ...mark, workflowId: 'order-2' } }],
  ['a mark without a workflow', { batchJobs: { batchId: 'b1' } }],
  ['what is no id of a batch', { batchJobs: { ...mark, batchId: 'b 1' } }],
  ['null', { batchJobs: null }],
  ['a text', { batchJobs: 'b1' }],
])('a workflow is no job by %s', (_title, memo) => {
  expect(markedBatch(memo, 'order-1')).toBeUndefined();
});
