import type { Knex } from 'knex';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BatchClient, defineCallback, defineJob, migrate, migrationStatus } from '../../src/index.ts';
import { createInlineBatches } from '../../src/testing/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const REFUSED = { code: 'INVALID_OPTION', option: 'database' };

test('a transaction is refused as the database, wherever one is taken', async () => {
  const { client, connection, knex, schema, taskQueue } = world;
  await knex.transaction(async (trx) => {
    const options = { database: trx, schema, taskQueue };
    expect(() => new BatchClient({ client, ...options })).toThrow(expect.objectContaining(REFUSED));
    await expect(createBatchWorker({ connection, ...options })).rejects.toMatchObject(REFUSED);
    await expect(migrate(trx, { schema })).rejects.toMatchObject(REFUSED);
    await expect(migrationStatus(trx, { schema })).rejects.toMatchObject(REFUSED);
    await trx.transaction(async (savepoint) => {
      expect(() => new BatchClient({ client, ...options, database: savepoint })).toThrow(
        'database must be a Knex instance and not a transaction',
      );
    });
  });
});

test('the testing kit takes a transaction, so that a test can roll back what its callbacks wrote', async () => {
  const { knex, schema } = world;
  await knex.schema.withSchema(schema).createTable('effects', (table) => table.text('batch'));
  const effects = (db: Knex) => db.withSchema(schema).from('effects');
  const noop = defineJob('Noop', async () => {});
  const write = defineCallback(
    'Write',
    async (batchId, { trx }) => void (await effects(trx).insert({ batch: batchId })),
    { transaction: true },
  );
  await knex
    .transaction(async (trx) => {
      await using batches = createInlineBatches({ jobs: [noop], knex: trx });
      const batch = await batches.create({ description: 'In a test', callbacks: { complete: write } });
      await batch.jobs(() => noop.performAsync());
      await batches.drain();
      expect(await effects(trx)).toEqual([{ batch: batch.id }]);
      await trx.rollback(new Error('The test is over'));
    })
    .catch((error: Error) => expect(error.message).toBe('The test is over'));
  expect(await effects(knex)).toEqual([]);
});
