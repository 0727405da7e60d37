import { activityInfo } from '@temporalio/activity';
import { expect, test } from 'vitest';
import { currentJob, defineJob } from '../../src/index.ts';
import { createBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createWorld } from '../support/world.ts';

test('a handler sees the activity of its own batch, also when a job of another one made room for it', async () => {
  await using world = await createWorld();
  const seen: { batchId: string | undefined; workflowId: string }[] = [];
  const look = defineJob('Look', async () => {
    // A turn of the event loop, so that slots are freed by other jobs.
    await new Promise(setImmediate);
    const { workflowId } = activityInfo().workflowExecution!;
    seen.push({ batchId: currentJob().batchId, workflowId });
  });
  await world.startWorker({ maxConcurrentJobs: 2, jobs: [look] });
  const batches = await Promise.all([1, 2, 3].map(() => createBatch(world)));
  await Promise.all(
    batches.map((batch) =>
      batch.jobs(async () => {
        for (let i = 0; i < 50; i++) await look.performAsync();
      }),
    ),
  );
  // Its callbacks are not of this worker.
  await eventually(async () => {
    const progress = await Promise.all(batches.map((batch) => batch.progress()));
    expect(progress.map(({ pending }) => pending)).toEqual(batches.map(() => 0));
  });
  expect(seen).toHaveLength(150);
  expect(seen.filter(({ batchId, workflowId }) => !workflowId.startsWith(`batch:${batchId}`))).toEqual([]);
});
