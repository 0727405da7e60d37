import { activityInfo } from '@temporalio/activity';
import type { Priority } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

/** The priority of the task that ran it, by jid or batch id. */
const seen = new Map<string, Priority | undefined>();
const look = defineJob('Look', async (_value: number) => {
  const { jid } = currentJob();
  seen.set(jid, activityInfo().priority);
});
const lookBack = defineCallback('LookBack', async (batchId) => {
  seen.set(batchId, activityInfo().priority);
});

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [look], callbacks: [lookBack] });
});
afterAll(() => world[Symbol.asyncDispose]());

async function priorityOf(workflowId: string): Promise<Priority | undefined> {
  return (await world.client.workflow.getHandle(workflowId).describe()).priority;
}

const priority = { priorityKey: 2, fairnessKey: 'tenant-7', fairnessWeight: 2.5 };

test('a batch, its chunks and its callbacks have the priority that it was created with', async () => {
  const batch = await world.batches.create({ description: 'First', priority });
  await batch.on('settled', lookBack);
  await batch.jobs(() => look.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(await priorityOf(`batch:${batch.id}`)).toEqual(priority);
  expect(seen.get(`${batch.id}/1`)).toEqual(priority);
  expect(seen.get(batch.id)).toEqual(priority);
});

test('runners, and a batch that continued as new, keep it', async () => {
  // Histories too short for chunks: all jobs have runners, and the batch continues as new.
  const batch = await world.batches.create({ description: 'Long', priority, continueAsNewAfterEvents: 20 });
  await batch.on('settled', lookBack);
  await batch.jobs(async () => {
    for (let i = 0; i < 200; i++) await look.performAsync(i);
  });
  await batch.wait({ timeout: PATIENCE });
  const { first_execution_run_id: firstRunId } = await world.knex
    .withSchema(world.schema)
    .from('batches')
    .where({ id: batch.id })
    .first();
  const { runId } = await world.client.workflow.getHandle(`batch:${batch.id}`).describe();
  expect(runId).not.toBe(firstRunId);
  expect(await priorityOf(`batch:${batch.id}`)).toEqual(priority);
  expect(await priorityOf(`batch:${batch.id}/runner/1`)).toEqual(priority);
  const ofJobs = Array.from({ length: 200 }, (_, i) => seen.get(`${batch.id}/${i + 1}`));
  expect(ofJobs).toEqual(ofJobs.map(() => priority));
  expect(seen.get(batch.id)).toEqual(priority);
});

test('a batch without one has none', async () => {
  const batch = await world.batches.create({ description: 'As any other' });
  await batch.jobs(() => look.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(Object.values((await priorityOf(`batch:${batch.id}`)) ?? {}).filter(Boolean)).toEqual([]);
  expect(Object.values(seen.get(`${batch.id}/1`) ?? {}).filter(Boolean)).toEqual([]);
});
