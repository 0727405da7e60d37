import { expect, test } from 'vitest';
import { resolveBatchOptions } from '../../src/client/batch-options.ts';

const settings = (workflowCheckInterval?: string | number) =>
  resolveBatchOptions(
    { description: 'd', ...(workflowCheckInterval === undefined ? {} : { workflowCheckInterval }) } as never,
    () => 'id',
  );

test('workflows are checked every 30 seconds, or as often as the option says', () => {
  expect(settings().settings.workflowCheckIntervalMs).toBe(30_000);
  expect(settings('1 minute').settings.workflowCheckIntervalMs).toBe(60_000);
  expect(settings(1_000).settings.workflowCheckIntervalMs).toBe(1_000);
  // It is a part of what `create` compares.
  expect(settings('1 hour').definition).toMatchObject({ workflowCheckInterval: 3_600_000 });
});

test.each(['999ms', '61 minutes', 0, -1])('%j is refused as an interval', (interval) => {
  expect(() => settings(interval)).toThrow('workflowCheckInterval must be');
});
