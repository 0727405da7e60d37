import { expect, test } from 'vitest';
import { defineCallback } from '../../src/index.ts';
import { firedCallbacks } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { createContractFixtures } from '../support/contract-fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld } from '../support/world.ts';

test('of different callbacks that are registered at once for one event, one is taken and the others are refused', async () => {
  await using world = await createWorld();
  await world.startWorker();
  const { onComplete, onSettled, another } = world.fixtures.callbacks;
  const batch = await world.batches.create({ description: 'Three at once' });
  const results = await Promise.allSettled(
    [onComplete, onSettled, another].map((callback) => batch.on('complete', callback)),
  );
  const refused = results.filter((result) => result.status === 'rejected');
  expect(refused.map(({ reason }) => reason.code)).toEqual(Array(2).fill('CALLBACK_ALREADY_REGISTERED'));
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(await firedCallbacks(world, batch.id)).toHaveLength(1);
});

test('a callback can be registered inside the block, and again without effect until the batch has ended', async () => {
  await using world = await createWorld();
  const { gate, jobs } = createGates();
  await world.startWorker({ jobs: Object.values(jobs) });
  const { onComplete } = world.fixtures.callbacks;
  const batch = await world.batches.create({ description: 'Early and late' });
  await batch.jobs(async () => {
    await jobs.pass.performAsync('gate');
    await batch.on('complete', onComplete);
  });
  await gate('gate').arrivals(1);
  await batch.on('complete', onComplete);
  gate('gate').open();
  await batch.wait({ timeout: PATIENCE });
  await expectCode(batch.on('complete', onComplete), 'BATCH_SETTLED');
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete']);
});

test('a callback whose workers are all killed before it starts waits as scheduled, and then runs once', async () => {
  await using world = await createWorld();
  const taskQueue = `${world.taskQueue}-callbacks`;
  const elsewhere = defineCallback(
    'Elsewhere',
    (batchId, { attempt }) =>
      world.ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null }),
    { taskQueue },
  );
  const victim = await world.spawnWorker();
  const batch = await world.batches.create({ description: 'No worker for its callback' });
  await batch.on('complete', elsewhere);
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await eventually(async () =>
    expect(await batch.callbacks()).toMatchObject([{ status: 'scheduled', attempts: 0 }]),
  );
  expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 1 });
  victim.kill('SIGKILL');
  await victim.exited;
  await world.startWorker();
  await world.startWorker({ taskQueue, callbacks: [elsewhere] });
  await batch.wait({ timeout: PATIENCE });
  expect((await world.ledger.of(batch.id, 'callback')).map(({ attempt }) => attempt)).toEqual([1]);
  expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 1 }]);
});

test('a callback whose worker is killed between its commit and its answer is not run again', async () => {
  await using world = await createWorld();
  const { callbacks } = createContractFixtures(world.ledger);
  const victim = await world.spawnWorker();
  const batch = await world.batches.create({ description: 'Killed after its commit' });
  await batch.on('complete', callbacks.killedAfterCommit);
  await batch.on('settled', world.fixtures.callbacks.onSettled);
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await victim.exited;
  expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 1 }, {}]);
  await world.startWorker({
    callbacks: [...Object.values(world.fixtures.callbacks), callbacks.killedAfterCommit],
  });
  await batch.wait({ timeout: PATIENCE });
  expect(await world.ledger.of(batch.id, 'effect')).toHaveLength(1);
  const ran = await world.ledger.of(batch.id, 'callback');
  expect(ran.map(({ detail }) => (detail as { name: string } | null)?.name ?? 'KilledAfterCommit')).toEqual([
    'KilledAfterCommit',
    'OnSettled',
  ]);
});
