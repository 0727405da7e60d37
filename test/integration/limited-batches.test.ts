import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBatch, expectConsistent } from '../support/batches.ts';
import { countedBatch } from '../support/concurrency.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

// What a batch with limits does beside keeping them: for that see limits.test.ts.
let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.spawnWorker({ maxConcurrentJobs: 100 });
});
afterAll(() => world[Symbol.asyncDispose]());

test.concurrent(
  'a limited batch retries its jobs, delays them, and fails those that cannot succeed',
  async () => {
    const batch = await createBatch(world, { maxConcurrentJobs: 5 });
    const { failTimes, failForGood, noop } = world.fixtures.jobs;
    await batch.jobs(async () => {
      for (let i = 0; i < 60; i++) await failTimes.performAsync(i, i % 4);
      for (let i = 0; i < 5; i++) await failForGood.performAsync(i);
      for (let i = 0; i < 5; i++) await noop.set({ startDelay: '2s' }).performAsync(i);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 50,
      failed: 20,
    });
    await expectConsistent(world, batch);
    expect(await batch.failedJobs().where('attempts', 3)).toHaveLength(15);
  },
);

test.concurrent('a limited batch goes on with the other task queues when one has no worker', async () => {
  const batch = await createBatch(world, { maxConcurrentJobs: 1 });
  const { record } = world.fixtures.jobs;
  await batch.jobs(async () => {
    for (let i = 0; i < 20; i++) {
      await record.set({ taskQueue: `${world.schema}-nobody` }).performAsync(i);
      await record.performAsync(i);
    }
  });
  await eventually(async () => expect((await batch.progress()).complete).toBe(20));
  await batch.cancel();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 20 });
});

test.concurrent('a limited batch is stopped by its deadline while jobs wait for their turn', async () => {
  const batch = await countedBatch(world, 100, 1_000 * SLOWNESS, {
    maxConcurrentJobs: 1,
    deadline: Math.ceil(3_000 * SLOWNESS),
  });
  const progress = await batch.wait({ timeout: PATIENCE });
  expect(progress).toMatchObject({ status: 'failed', failed: 0, pending: 0 });
  expect(progress.cancelled).toBeGreaterThan(90);
});

test.concurrent(
  'a runner that is terminated as its batch gets a limit is replaced by the batch itself',
  async () => {
    await using apart = await createWorld();
    const { gate, jobs } = createGates();
    await apart.startWorker({ jobs: [jobs.pass] });
    const batch = await createBatch(apart, { continueAsNewAfterEvents: 80 });
    await batch.jobs(() => jobs.pass.performBulk(Array.from({ length: 400 }, () => ['held'] as const)));
    await gate('held').arrivals(50);
    const runner = apart.client.workflow.getHandle(`batch:${batch.id}/runner/1`);
    await Promise.all([batch.update({ maxConcurrentJobs: 20 }), runner.terminate('by an operator')]);
    gate('held').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 400 });
    await expectConsistent(apart, batch);
  },
);

test.concurrent(
  'a range that is handed back twice, late or in pieces that cannot be changes nothing',
  async () => {
    await using apart = await createWorld();
    const { gate, jobs } = createGates();
    const { record } = apart.fixtures.jobs;
    await apart.startWorker({ jobs: [record, jobs.pass] });
    const batch = await createBatch(apart, { continueAsNewAfterEvents: 80 });
    const times = <T>(count: number, value: T) => Array.from({ length: count }, (): [T] => [value]);
    await batch.jobs(async () => {
      await record.performBulk(times(10, 'first'));
      await jobs.pass.performBulk(times(490, 'runner'));
      await record.performBulk(times(500, 'last'));
      // It starts last, and keeps the batch running for what comes late.
      await jobs.pass.performAsync('batch');
    });
    await gate('runner').arrivals(50);
    const handle = apart.client.workflow.getHandle(`batch:${batch.id}`);
    const pace = { size: 5, window: 2 };
    const range = { ready: [[1, 10]], lost: [], suspect: [], delayed: [], completed: 0, failed: 0, pace };
    for (const message of [
      {},
      { runner: '1' },
      { runner: '1', range: { ...range, ready: [[1, 5_000]] } },
      { runner: 'nobody', range },
      { runner: 'constructor', range },
    ])
      await handle.signal('rangeReturned', message);
    await batch.update({ maxConcurrentJobs: 20 });
    gate('runner').open();
    await eventually(async () => {
      const { runners } = await handle.query<{ runners: Record<string, { inline: boolean }> }>('state');
      expect(Object.values(runners).every(({ inline }) => inline)).toBe(true);
    });
    await handle.signal('rangeReturned', { runner: '1', range });
    gate('batch').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_001 });
    await expectConsistent(apart, batch);
    expect(await apart.ledger.count(batch.id, 'job')).toBe(510);
  },
);
