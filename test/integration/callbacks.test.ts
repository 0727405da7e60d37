import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBatch, firedCallbacks } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const gates = createGates();
let world: World;
let worker: Awaited<ReturnType<World['startWorker']>>;
let callbacks: World['fixtures']['callbacks'];
let record: World['fixtures']['jobs']['record'];
beforeAll(async () => {
  world = await createWorld();
  worker = await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs)],
  });
  callbacks = world.fixtures.callbacks;
  ({ record } = world.fixtures.jobs);
});
afterAll(() => world[Symbol.asyncDispose]());

test('registering the same callback again changes nothing; another one is refused', async () => {
  const batch = await world.batches.create({ description: 'on twice' });
  await Promise.all([1, 2, 3].map(() => batch.on('complete', callbacks.onComplete)));
  await expectCode(batch.on('complete', callbacks.another), 'CALLBACK_ALREADY_REGISTERED');
  await batch.jobs(() => record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete']);
});

test('callbacks that create was given are there from the first moment, run once, and are part of what the batch is', async () => {
  const { onComplete, onFailure, onSettled, another } = callbacks;
  const options = {
    id: `given-${world.schema}`,
    description: 'given',
    callbacks: { complete: onComplete, failure: onFailure, settled: onSettled },
  };
  const batch = await world.batches.create(options);
  expect((await batch.callbacks()).map(({ event, callback, status }) => [event, callback, status])).toEqual([
    ['complete', 'OnComplete', 'registered'],
    ['failure', 'OnFailure', 'registered'],
    ['settled', 'OnSettled', 'registered'],
  ]);
  await batch.on('complete', onComplete);
  await expectCode(batch.on('complete', another), 'CALLBACK_ALREADY_REGISTERED');
  await batch.on('cancelled', another);
  await batch.jobs(() => record.performAsync(1));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  expect((await world.batches.create(options)).status).toBe('complete');
  const { callbacks: _none, ...without } = options;
  for (const other of [without, { ...options, callbacks: { complete: another } }]) {
    await expect(world.batches.create(other)).rejects.toMatchObject({
      code: 'BATCH_EXISTS',
      message: expect.stringContaining('callbacks'),
    });
  }
});

test('callbacks that create was given run in a later round, too', async () => {
  const { onComplete, onFailure } = callbacks;
  const given = { complete: onComplete, failure: onFailure };
  const batch = await world.batches.create({ description: 'rounds', callbacks: given });
  await batch.jobs(() => world.fixtures.jobs.failForGood.performAsync(1));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed' });
  await batch.retryFailed();
  await batch.wait({ timeout: PATIENCE });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnFailure']);
});

test('a callback can be registered while the jobs run, and is refused after the end', async () => {
  const batch = await world.batches.create({ description: 'late registration' });
  await batch.jobs(() => gates.jobs.pass.performAsync(batch.id));
  await batch.on('complete', callbacks.onComplete);
  gates.gate(batch.id).open();
  await batch.wait({ timeout: PATIENCE });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete']);
  await expectCode(batch.on('settled', callbacks.onSettled), 'BATCH_SETTLED');
});

test('the rows show each callback: completed, or skipped when its event did not happen', async () => {
  const batch = await createBatch(world);
  expect((await batch.callbacks()).map(({ event, status }) => [event, status])).toEqual([
    ['complete', 'registered'],
    ['failure', 'registered'],
    ['settled', 'registered'],
  ]);
  await batch.jobs(() => record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const rows = await batch.callbacks();
  expect(rows.map(({ event, status, attempts }) => [event, status, attempts])).toEqual([
    ['complete', 'completed', 1],
    ['failure', 'skipped', 0],
    ['settled', 'completed', 1],
  ]);
  expect(rows[0]!.finishedAt!.getTime()).toBeGreaterThanOrEqual(rows[0]!.scheduledAt!.getTime());
});

test('a callback that throws is retried until it returns', async () => {
  const batch = await world.batches.create({ description: 'retries' });
  await batch.on('complete', callbacks.failsTwice);
  await batch.on('settled', callbacks.onSettled);
  await batch.jobs(() => record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const entries = await world.ledger.of(batch.id, 'callback');
  expect(entries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 1]);
  expect(await batch.callbacks()).toMatchObject([
    { event: 'complete', status: 'completed', attempts: 3, errorClass: null },
    { event: 'settled', status: 'completed' },
  ]);
});

test('a callback whose policy ends is failed with its error, and settled still fires', async () => {
  const batch = await world.batches.create({ description: 'exhausted' });
  await batch.on('complete', callbacks.failsForGood);
  await batch.on('settled', callbacks.onSettled);
  await batch.jobs(() => record.performAsync(1));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  expect(await batch.callbacks()).toMatchObject([
    { status: 'failed', attempts: 2, errorClass: 'BrokenError', errorMessage: 'never works\uFFFD' },
    { status: 'completed' },
  ]);
});

test('a callback opens the next batch', async () => {
  const batch = await world.batches.create({ description: 'chain' });
  await batch.on('complete', callbacks.chain);
  await batch.jobs(() => record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const next = await world.batches.find(`${batch.id}-next`);
  expect(await next.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  expect(await firedCallbacks(world, next.id)).toEqual(['OnComplete']);
});

test('a callback that no worker knows is reported in its row, and runs once a worker knows it', async () => {
  const { defineCallback } = await import('../../src/index.ts');
  const newcomer = defineCallback(
    'Newcomer',
    (batchId) =>
      world.ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt: 1, detail: null }),
    { retry: { initialInterval: '200ms', backoffCoefficient: 1 } },
  );
  const batch = await world.batches.create({ description: 'newcomer' });
  await batch.on('complete', newcomer);
  await batch.jobs(() => record.performAsync(1));
  await eventually(async () =>
    expect(await batch.callbacks()).toMatchObject([
      { status: 'scheduled', attempts: 0, errorClass: 'UnknownCallbackError' },
    ]),
  );
  // A process has one worker a task queue: the newer release takes over from the older.
  await worker.stop();
  worker = await world.startWorker({ callbacks: [...Object.values(callbacks), newcomer] });
  await batch.wait({ timeout: PATIENCE });
  expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 1, errorClass: null }]);
});
