import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { BatchClient, defineCallback, defineJob } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createBatch } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
});
afterAll(() => world[Symbol.asyncDispose]());

test('an unknown event and a function that is no callback are refused', async () => {
  const batch = await createBatch(world);
  await expectCode(batch.on('done' as never, world.fixtures.callbacks.another), 'INVALID_OPTION');
  await expectCode(batch.on('complete', (() => {}) as never), 'INVALID_OPTION');
});

test('arguments that JSON cannot carry, or that are too large, are refused and nothing is enrolled', async () => {
  const batch = await createBatch(world);
  const { record } = world.fixtures.jobs;
  const { total } = await batch.jobs(async () => {
    for (const value of [new Date(), undefined, 1n, NaN, new Map(), () => {}, 'a\0b', 'x'.repeat(70_000)]) {
      await expectCode(record.performAsync(value), 'INVALID_ARGUMENTS');
    }
    await record.performAsync('fine');
  });
  expect(total).toBe(1);
});

test('wrong options of create are refused with the name of the option', async () => {
  const create = (options: object) => world.batches.create(options as never);
  await expect(create({})).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'description' });
  await expect(create({ description: 'd', id: 'no spaces' })).rejects.toMatchObject({ option: 'id' });
  await expect(create({ description: 'd', contxt: {} })).rejects.toMatchObject({ option: 'options.contxt' });
  await expect(create({ description: 'd', enrollmentTimeout: 'soon' })).rejects.toMatchObject({
    option: 'enrollmentTimeout',
  });
  await expectCode(create({ description: 'd', context: { when: new Date() } }), 'INVALID_ARGUMENTS');
});

test('an id that exists is refused with another definition, while its batch runs and after it has ended', async () => {
  const id = `taken-${world.schema}`;
  const batch = await world.batches.create({ id, description: 'first' });
  await expectCode(world.batches.create({ id, description: 'second' }), 'BATCH_EXISTS');
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  await expectCode(world.batches.create({ id, description: 'third' }), 'BATCH_EXISTS');
  expect((await world.batches.find(id)).description).toBe('first');
});

test('a batch that does not exist is not found', async () => {
  await expectCode(world.batches.find('nobody'), 'BATCH_NOT_FOUND');
});

test('create gives back description and context, and list finds the batch by status', async () => {
  const context = { leaderboardId: 7, tags: ['a', { deep: null }] };
  const batch = await world.batches.create({ description: 'To be listed', context });
  expect(batch).toMatchObject({ description: 'To be listed', context, status: 'pending', completedAt: null });
  const pending = await world.batches.list({ status: 'pending' });
  expect(pending.map(({ id }) => id)).toContain(batch.id);
  expect((await world.batches.list({ limit: 1 })).map(({ id }) => id)).toEqual([batch.id]);
  expect(await world.batches.list({ status: 'complete', offset: 1_000 })).toEqual([]);
});

test('a schema without migrations is refused by client and worker, with the command to run', async () => {
  const batches = new BatchClient({
    client: world.client,
    database: inject('databaseUrl'),
    schema: 'not_migrated',
  });
  await expect(batches.create({ description: 'd' })).rejects.toMatchObject({
    code: 'MIGRATIONS_PENDING',
    message: expect.stringContaining('batch-jobs migrate --schema not_migrated'),
  });
  await batches.close();
  await expectCode(
    createBatchWorker({
      connection: world.connection,
      database: inject('databaseUrl'),
      schema: 'not_migrated',
    }),
    'MIGRATIONS_PENDING',
  );
});

test('a database or a Temporal server that is not there is named', async () => {
  const nowhere = new BatchClient({ client: world.client, database: 'postgres://u:p@127.0.0.1:1/db' });
  await expectCode(nowhere.create({ description: 'd' }), 'DATABASE_UNAVAILABLE');
  await nowhere.close();
  const connection = Connection.lazy({ address: '127.0.0.1:1' });
  const away = new BatchClient({
    client: new Client({ connection }),
    database: world.knex,
    schema: world.schema,
  });
  await expectCode(away.create({ description: 'd' }), 'TEMPORAL_UNAVAILABLE');
  await away.close();
  await connection.close();
});

test('create without any worker says so, and leaves no batch behind', async () => {
  const id = `lonely-${world.schema}`;
  const lonely = new BatchClient({
    client: world.client,
    database: world.knex,
    schema: world.schema,
    taskQueue: `${world.taskQueue}-nobody`,
  });
  await expectCode(lonely.create({ id, description: 'd' }), 'WORKER_UNAVAILABLE');
  await expectCode(world.batches.find(id), 'BATCH_NOT_FOUND');
  const { status } = await world.client.workflow.getHandle(`batch:${id}`).describe();
  expect(status.name).toBe('TERMINATED');
  await lonely.close();
});

test('workers refuse definitions that are none, and two of one name', async () => {
  const options = { connection: world.connection, database: world.knex, schema: world.schema };
  const twin = () => defineJob('Twin', async () => {});
  await expectCode(createBatchWorker({ ...options, jobs: [twin(), twin()] }), 'INVALID_OPTION');
  await expectCode(createBatchWorker({ ...options, jobs: [{ name: 'x' } as never] }), 'INVALID_OPTION');
  await expectCode(createBatchWorker({ ...options, maxConcurrentJobs: 0 }), 'INVALID_OPTION');
  await expectCode(createBatchWorker({ ...options, callbacks: [twin() as never] }), 'INVALID_OPTION');
  expect(() => defineCallback('', () => {})).toThrow(/name must be a non-empty string/);
});
