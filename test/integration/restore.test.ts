import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch } from '../../src/index.ts';
import { createBatch } from '../support/batches.ts';
import { doctor } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

// What docs/operations.md says of a mirror that is restored to an earlier moment, while batches run.
const TABLES = ['batches', 'batch_jobs', 'batch_callbacks'];

const { gate, jobs: gated } = createGates();
let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const start = () =>
  world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gated)] });

/** The rows as they are now, to go back to. */
async function backUp(): Promise<() => Promise<void>> {
  const { knex, schema } = world;
  for (const table of TABLES) {
    await knex.raw('create table ?? as table ??', [`${schema}.${table}_backup`, `${schema}.${table}`]);
  }
  return () =>
    knex.transaction(async (trx) => {
      await trx.raw(
        'truncate ??, ??, ?? cascade',
        TABLES.map((table) => `${schema}.${table}`),
      );
      for (const table of TABLES) {
        await trx.raw('insert into ?? table ??', [`${schema}.${table}`, `${schema}.${table}_backup`]);
      }
    });
}

async function ended(batch: Batch, complete: number): Promise<void> {
  await eventually(async () => {
    expect(await batch.progress()).toMatchObject({ complete });
    // By its workflow, too: what it has heard of it does not run again.
    expect(await world.client.workflow.getHandle(`batch:${batch.id}`).query('progress')).toMatchObject({
      complete,
    });
  });
}

test('after a restore, jobs whose outcome was lost are cancelled at the end and can be run again; lost rows failed', async () => {
  const worker = await start();
  const lostOutcomes = await createBatch(world, { autoSeal: false });
  await lostOutcomes.jobs(() => world.fixtures.jobs.record.performAsync('before'));
  await ended(lostOutcomes, 1);
  const lostRows = await createBatch(world, { autoSeal: false });
  // Its job is not to run before its row is lost.
  await lostRows.pause();
  await lostOutcomes.jobs(() => gated.pass.performAsync('after'));
  const restore = await backUp();
  gate('after').open();
  await ended(lostOutcomes, 2);
  await lostRows.jobs(() => world.fixtures.jobs.record.performAsync('never'));
  const lostBatch = await createBatch(world, { autoSeal: false });
  await worker.stop();

  await restore();
  await start();
  await lostRows.resume();
  await lostOutcomes.seal();
  expect(await lostOutcomes.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'complete',
    total: 2,
    complete: 1,
    cancelled: 1,
  });
  await lostOutcomes.retryFailed({ cancelled: true });
  expect(await lostOutcomes.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });

  await lostRows.seal();
  expect(await lostRows.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'failed',
    total: 1,
    failed: 1,
    cancelled: 0,
    reason: expect.stringContaining('1 of its jobs had no row'),
  });

  await expect(world.batches.find(lostBatch.id)).rejects.toMatchObject({ code: 'BATCH_NOT_FOUND' });
  expect((await doctor(world, lostBatch.id)).stdout).toContain('no row');
  await world.client.workflow.getHandle(`batch:${lostBatch.id}`).terminate();
});
