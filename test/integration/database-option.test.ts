import { afterAll, beforeAll, expect, test } from 'vitest';
import { BatchClient, migrate, migrationStatus } from '../../src/index.ts';
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
