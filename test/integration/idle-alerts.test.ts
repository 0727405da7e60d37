import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineCallback, type Batch, type BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let gates: ReturnType<typeof createGates>;
/** How many first attempts of the callback throw, by batch. */
const failures = new Map<string, number>();
const onIdle = defineCallback(
  'OnIdle',
  async (batchId, { attempt }) => {
    await world.ledger.write({
      what: 'callback',
      batch_id: batchId,
      jid: null,
      attempt,
      detail: { name: 'OnIdle' },
    });
    if (attempt <= (failures.get(batchId) ?? 0)) throw new Error('Not yet');
  },
  { retry: { initialInterval: '50ms' } },
);

beforeAll(async () => {
  world = await createWorld();
  gates = createGates();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs)],
    callbacks: [...Object.values(world.fixtures.callbacks), onIdle],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** A batch whose jobs wait at gates of their own. */
async function waitingBatch(jobs: number, options: Partial<BatchOptions> = {}): Promise<Batch> {
  const batch = await createBatch(world, { alertAfterIdle: '1s', ...options });
  await batch.on('idle', onIdle);
  await batch.jobs(async () => {
    for (let i = 1; i <= jobs; i++) await gates.jobs.pass.performAsync(`${batch.id}-${i}`);
  });
  return batch;
}

const gateOf = (batch: Batch, job: number) => gates.gate(`${batch.id}-${job}`);

async function alertsOf(batch: Batch): Promise<number> {
  const row = await world.knex.withSchema(world.schema).from('batch_progress').where('id', batch.id).first();
  return row.alerts;
}

async function callsOf(batch: Batch): Promise<number> {
  const entries = await world.ledger.of(batch.id, 'callback');
  return entries.filter(({ detail }) => (detail as { name: string }).name === 'OnIdle').length;
}

test('a batch of which no job ends for alertAfterIdle gives one alert, and another after something has moved', async () => {
  // Two jobs: of more, the last ones may end so long after each other that there is another alert.
  const batch = await waitingBatch(2);
  await eventually(async () => expect(await callsOf(batch)).toBe(1));
  expect(await alertsOf(batch)).toBe(1);
  gateOf(batch, 1).open();
  await eventually(async () => expect(await callsOf(batch)).toBe(2));
  expect(await alertsOf(batch)).toBe(2);
  gateOf(batch, 2).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
  await expectConsistent(world, batch);
  expect(await callsOf(batch)).toBe(2);
  // The batch does not wait for the end of this callback.
  await eventually(async () =>
    expect(await batch.callbacks()).toContainEqual(
      expect.objectContaining({ event: 'idle', status: 'completed', attempts: 1 }),
    ),
  );
});

test('a batch that moves, or has no job that is pending, gives none', async () => {
  const reference = await waitingBatch(2, { alertAfterIdle: '10 minutes' });
  const batch = await createBatch(world, { alertAfterIdle: '10 minutes' });
  await batch.on('idle', onIdle);
  await batch.jobs(async () => {
    await world.fixtures.jobs.record.performAsync(1);
    // The block is open, and all its jobs have ended.
    await eventually(async () => expect((await batch.progress()).complete).toBe(1));
    await batch.update({ alertAfterIdle: Math.round(2_000 * SLOWNESS) });
    // It stands still from a later moment on, and may do so for longer: by its alert the batch would have given one.
    gateOf(reference, 1).open();
    await eventually(async () => expect((await reference.progress()).complete).toBe(1));
    await reference.update({ alertAfterIdle: Math.round(4_000 * SLOWNESS) });
    await eventually(async () => expect(await callsOf(reference)).toBe(1));
    await world.fixtures.jobs.record.performAsync(2);
  });
  await batch.wait({ timeout: PATIENCE });
  expect(await alertsOf(batch)).toBe(0);
  expect(await batch.callbacks()).toContainEqual(
    expect.objectContaining({ event: 'idle', status: 'skipped' }),
  );
  gateOf(reference, 2).open();
  await reference.wait({ timeout: PATIENCE });
});

test('a batch that is paused gives none, and is counted anew from its resumption', async () => {
  const batch = await waitingBatch(1, { alertAfterIdle: '10 minutes' });
  await batch.pause();
  await batch.update({ alertAfterIdle: '2s' });
  const reference = await waitingBatch(1, { alertAfterIdle: '4s' });
  // By then the paused one would have given one, or two.
  await eventually(async () => expect(await callsOf(reference)).toBe(1));
  expect(await alertsOf(batch)).toBe(0);
  await batch.resume();
  await eventually(async () => expect(await callsOf(batch)).toBe(1));
  for (const one of [batch, reference]) {
    gateOf(one, 1).open();
    await one.wait({ timeout: PATIENCE });
  }
});

test('an alert is retried by its callback, whose end the batch does not wait for', async () => {
  const id = `${world.schema}-retried`;
  failures.set(id, Infinity);
  const batch = await waitingBatch(1, { id });
  await eventually(async () => expect(await callsOf(batch)).toBeGreaterThan(2));
  gateOf(batch, 1).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  failures.set(id, 0);
  await eventually(async () =>
    expect(await batch.callbacks()).toContainEqual(
      expect.objectContaining({ event: 'idle', status: 'completed' }),
    ),
  );
});

test('alertAfterIdle can be set and taken away while the batch runs', async () => {
  const batch = await waitingBatch(2, { alertAfterIdle: null });
  await batch.update({ alertAfterIdle: '500ms' });
  await eventually(async () => expect(await callsOf(batch)).toBe(1));
  await batch.update({ alertAfterIdle: null });
  gateOf(batch, 1).open();
  const reference = await waitingBatch(1, { alertAfterIdle: '2s' });
  await eventually(async () => expect(await callsOf(reference)).toBe(1));
  expect(await callsOf(batch)).toBe(1);
  gateOf(batch, 2).open();
  gateOf(reference, 1).open();
  await batch.wait({ timeout: PATIENCE });
  await reference.wait({ timeout: PATIENCE });
  expect(await codeOf(world.batches.create({ description: 'x', alertAfterIdle: -1 }))).toBe('INVALID_OPTION');
});

test('a batch that continues as new gives the same alerts', async () => {
  const batch = await waitingBatch(40, { continueAsNewAfterEvents: 20 });
  await eventually(async () => expect(await callsOf(batch)).toBe(1));
  // However long after each other these end: nothing moves from then on.
  await batch.update({ alertAfterIdle: null });
  for (let job = 1; job <= 39; job++) gateOf(batch, job).open();
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 39 }));
  await batch.update({ alertAfterIdle: '1s' });
  await eventually(async () => expect(await callsOf(batch)).toBe(2));
  expect(await alertsOf(batch)).toBe(2);
  gateOf(batch, 40).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 40 });
});
