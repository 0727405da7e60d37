import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import knexFactory, { type Knex } from 'knex';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { BatchClient, defineCallback, migrate, migrationStatus, type Callback } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const openPool = (max: number): Knex =>
  knexFactory({ client: 'pg', connection: inject('databaseUrl'), pool: { min: 0, max } });

/** Creates a batch with this callback, and runs a job in it. */
async function runWith(callback: Callback, batches = world.batches) {
  const batch = await batches.create({ description: 'With a callback', callbacks: { complete: callback } });
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const [row] = await batch.callbacks();
  return row!;
}

describe('transactional callbacks', () => {
  const readMs: number[] = [];
  let runs = 0;
  let refusals = 0;
  const reads = defineCallback(
    'ReadsBeside',
    async (batchId, { batches, trx }) => {
      runs++;
      await trx.raw('select pg_sleep(0.2)');
      const from = performance.now();
      await Promise.all([1, 2, 3].map(async () => (await batches.find(batchId)).progress()));
      readMs.push(performance.now() - from);
    },
    { transaction: true },
  );
  const conflicts = defineCallback(
    'Conflicts',
    async (_batchId, { trx, attempt }) => {
      if (attempt < 3)
        await trx.raw(
          `do $$ begin raise exception 'conflict' using errcode = 'serialization_failure'; end $$`,
        );
    },
    { transaction: true, retry: { maximumAttempts: 1 } },
  );
  const elsewhere = defineCallback(
    'Elsewhere',
    async () => {
      refusals++;
      throw Object.assign(new Error('connect ECONNREFUSED 192.0.2.1:443'), { code: 'ECONNREFUSED' });
    },
    { transaction: true, retry: { maximumAttempts: 2, initialInterval: '50ms' } },
  );
  let pool: Knex;
  let worker: Awaited<ReturnType<World['startWorker']>>;
  beforeAll(async () => {
    pool = openPool(4);
    const callbacks = [reads, conflicts, elsewhere];
    worker = await world.startWorker({ database: pool, callbacks });
  });
  afterAll(async () => {
    await worker.stop();
    await pool.destroy();
  });

  test('that read run beside each other in a small pool, once each, and never wait for each other', async () => {
    const COUNT = 16;
    const rows = await Promise.all(Array.from({ length: COUNT }, () => runWith(reads)));
    expect(rows.map(({ status, attempts }) => ({ status, attempts }))).toEqual(
      Array.from({ length: COUNT }, () => ({ status: 'completed', attempts: 1 })),
    );
    expect(runs).toBe(COUNT);
    expect(Math.max(...readMs)).toBeLessThan(3_000 * SLOWNESS);
  });

  test('whose transaction the database rolled back run again, are counted, and are charged no attempt', async () => {
    expect(await runWith(conflicts)).toMatchObject({ status: 'completed', attempts: 3, errorClass: null });
  });

  test('whose handler fails with an error of another server are charged an attempt each time', async () => {
    expect(await runWith(elsewhere)).toMatchObject({
      status: 'failed',
      attempts: 2,
      errorMessage: 'connect ECONNREFUSED 192.0.2.1:443',
    });
    expect(refusals).toBe(2);
  });

  test('need a pool of two connections, and a worker with less is refused', async () => {
    const one = openPool(1);
    const { connection, schema } = world;
    const options = { connection, schema, callbacks: [reads] };
    await expect(
      createBatchWorker({ ...options, database: inject('databaseUrl'), poolSize: 1 }),
    ).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      option: 'poolSize',
      message: expect.stringMatching(/at least 2.*"ReadsBeside"/),
    });
    await expect(createBatchWorker({ ...options, database: one })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      option: 'database',
      message: expect.stringMatching(/at least 2 connections.*"ReadsBeside"/),
    });
    // Others need no more than one.
    const plain = defineCallback('Plain', () => {});
    const small = await world.startWorker({
      database: one,
      callbacks: [plain],
      taskQueue: `${schema}-small`,
    });
    await small.stop();
    await one.destroy();
  });
});

describe('a pool of one connection', () => {
  let one: Knex;
  let batches: BatchClient;
  let worker: Awaited<ReturnType<World['startWorker']>>;
  beforeAll(async () => {
    one = openPool(1);
    const { client, schema, taskQueue } = world;
    batches = new BatchClient({ client, database: one, schema, taskQueue, logger: { warn: () => {} } });
    worker = await world.startWorker();
  });
  afterAll(async () => {
    await worker.stop();
    await batches.close();
    await one.destroy();
  });
  const tooSmall = {
    code: 'INVALID_OPTION',
    option: 'database',
    message: expect.stringMatching(/pool has at least 2 connections/),
  };

  test('is enough for an app that does not hold it', async () => {
    const batch = await batches.create({ description: 'One connection' });
    const total = { total: 2_000 };
    const { noop } = world.fixtures.jobs;
    const args = Array.from({ length: total.total }, (_, index): [unknown] => [index]);
    expect(await batch.jobs(() => noop.performBulk(args))).toEqual(total);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2_000 });
    // Also while others of the app come and go.
    await Promise.all([...Array.from({ length: 20 }, () => one.raw('select pg_sleep(0.3)')), batches.list()]);
  });

  test('that the block itself holds makes the block fail in seconds, with the size that is needed', async () => {
    const batch = await batches.create({ description: 'Held by the block' });
    const from = performance.now();
    const block = batch.jobs(() =>
      one.transaction(async (trx) => {
        await trx.raw('select 1');
        for (;;) {
          await world.fixtures.jobs.noop.performAsync(1);
          await delay(1);
        }
      }),
    );
    await expect(block).rejects.toMatchObject(tooSmall);
    expect(performance.now() - from).toBeLessThan(20_000 * SLOWNESS);
    await batch.wait({ timeout: PATIENCE });
  });

  test('that a transaction of the app holds makes a call in it fail in seconds', async () => {
    await one.transaction(async () => {
      await expect(batches.list()).rejects.toMatchObject(tooSmall);
    });
    expect(await batches.list()).not.toEqual([]);
  });

  test('migrates, in one transaction', async () => {
    const schema = `one_${randomBytes(6).toString('hex')}`;
    try {
      expect(await migrate(one, { schema })).toEqual({ applied: ['0001_create_batches'] });
      expect(await migrationStatus(one, { schema })).toMatchObject({ pending: [] });
    } finally {
      await world.knex.raw('drop schema if exists ?? cascade', [schema]);
    }
  });
});

test('a role that owns its schema migrates it without the right to create others', async () => {
  const name = `owner_${randomBytes(6).toString('hex')}`;
  await world.knex.raw(`create role ?? login password 'x'`, [name]);
  await world.knex.raw('create schema ?? authorization ??', [name, name]);
  const url = new URL(inject('databaseUrl'));
  [url.username, url.password] = [name, 'x'];
  try {
    expect(await migrate(url.href, { schema: name })).toEqual({ applied: ['0001_create_batches'] });
    expect(await migrate(url.href, { schema: name })).toEqual({ applied: [] });
    await expect(migrate(url.href, { schema: `${name}_2` })).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      sqlstate: '42501',
    });
  } finally {
    await world.knex.raw('drop schema ?? cascade', [name]);
    await world.knex.raw('drop owned by ??', [name]);
    await world.knex.raw('drop role ??', [name]);
  }
});
