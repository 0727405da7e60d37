import { readFile } from 'node:fs/promises';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createBatch } from '../support/batches.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
});
afterAll(() => world[Symbol.asyncDispose]());

async function replay(workflowIds: readonly string[]): Promise<void> {
  const workflowBundle = { code: await readFile(inject('workflowBundlePath'), 'utf8') };
  for (const workflowId of workflowIds) {
    const history = await world.client.workflow.getHandle(workflowId).fetchHistory();
    await Worker.runReplayHistory({ workflowBundle }, history, workflowId);
  }
}

test('histories of batches and runners that just ran replay without a difference', async () => {
  const { jobs } = world.fixtures;
  const small = await createBatch(world);
  await small.jobs(async () => {
    await jobs.failTimes.performAsync('retried', 1);
    await jobs.failForGood.performAsync('failed');
    await jobs.record.set({ startDelay: '500ms' }).performAsync('late');
  });
  const large = await createBatch(world, { failWhen: 'immediate' });
  await large.jobs(async () => {
    for (let i = 0; i < 3_000; i++) await jobs.noop.performAsync(i);
    await jobs.failForGood.performAsync('failed');
  });
  const broken = await createBatch(world);
  await expect(broken.jobs(() => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
  const jid = await jobs.record.performAsync('plain');
  await Promise.all([small, large, broken].map((batch) => batch.wait({ timeout: '40s' })));
  await world.client.workflow.result(`job:${jid}`);
  await replay([
    ...[small, large, broken].map(({ id }) => `batch:${id}`),
    `batch:${large.id}/runner/1`,
    `job:${jid}`,
  ]);
});
