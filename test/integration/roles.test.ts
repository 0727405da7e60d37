import { randomBytes } from 'node:crypto';
import type { Knex } from 'knex';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BatchClient, currentBatch, defineJob, migrate, migrationStatus } from '../../src/index.ts';
import { runCli } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createRoles, openAs, type Roles } from '../support/roles.ts';
import { createWorld, type World } from '../support/world.ts';

// docs/operations.md gives each part of a deployment a role of its own. Here each part works with its own.
const { gate, jobs: gated } = createGates();
const stored = defineJob('Stored', async (value: number) => ({ value }), { storeResult: true });
const adds = defineJob('AddsOne', async () => {
  await currentBatch().jobs(() => stored.performAsync(7));
});

let world: World;
let roles: Roles;
let worker: Knex;
let enqueuer: Knex;
let reader: Knex;
let batches: BatchClient;
beforeAll(async () => {
  world = await createWorld();
  roles = await createRoles(world.schema, async () => {});
  worker = openAs(roles, 'batch_worker');
  enqueuer = openAs(roles, 'batch_enqueuer');
  reader = openAs(roles, 'batch_reader');
  const { fixtures, client, schema, taskQueue } = world;
  await world.startWorker({
    database: worker,
    jobs: [...Object.values(fixtures.jobs), ...Object.values(gated), stored, adds],
  });
  batches = new BatchClient({ client, database: enqueuer, schema, taskQueue });
});
afterAll(async () => {
  gate('end').open();
  await batches.close();
  await Promise.all([enqueuer, reader].map((knex) => knex.destroy()));
  await world[Symbol.asyncDispose]();
  await worker.destroy();
  await roles[Symbol.asyncDispose]();
});

async function refused(knex: Knex, sql: string): Promise<void> {
  const run = knex.transaction(async (trx) => {
    await trx.raw('set local search_path = ??', [world.schema]);
    await trx.raw(sql);
  });
  await expect(run, sql).rejects.toMatchObject({ code: '42501' });
}

describe('with a role of its own for each part,', () => {
  test('a batch is created, enrolled, run, judged and called back, and its failed jobs run again', async () => {
    const { jobs, callbacks } = world.fixtures;
    const batch = await batches.create({ description: 'By roles' });
    await batch.on('failure', callbacks.onFailure);
    await batch.on('settled', callbacks.onSettled);
    await batch.jobs(async () => {
      await jobs.noop.performAsync(1);
      await jobs.failTimes.performAsync(2, 1);
      await jobs.failForGood.performAsync(3);
      await jobs.noop.set({ startDelay: '1s' }).performAsync(4);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 3,
      failed: 1,
    });
    expect(await batch.failedJobs()).toHaveLength(1);
    expect((await batch.callbacks()).map(({ status }) => status)).toEqual(['completed', 'completed']);

    await batch.retryFailed();
    await batch.wait({ timeout: PATIENCE });
    expect(await batch.rounds()).toHaveLength(2);
    expect((await batches.list()).map(({ id }) => id)).toContain(batch.id);
  });

  test('jobs are added under keys, in several blocks, after a takeover and by handlers, with results', async () => {
    const batch = await batches.create({ description: 'Open-ended', autoSeal: false });
    await batch.jobs(async () => {
      await stored.set({ key: 'a' }).performAsync(1);
      await stored.set({ key: 'a' }).performAsync(1);
    });
    await batch.jobs(
      async () => {
        await stored.set({ key: 'b' }).performAsync(2);
        await adds.performAsync();
      },
      { resume: true },
    );
    await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 4 }));
    await batch.seal();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 4 });
    const results = (await batch.results()).map(({ result }) => result);
    expect(results).toEqual([{ value: 1 }, { value: 2 }, { value: 7 }]);
  });

  test('jobs run under a limit that the owner has set, and an app may set one after a further grant', async () => {
    const { client, knex, schema, taskQueue } = world;
    const owner = new BatchClient({ client, database: knex, schema, taskQueue });
    await owner.limits.set('api', { maxConcurrent: 1, perSecond: 50, perKey: { maxConcurrent: 1 } });
    await owner.close();
    const { noop } = world.fixtures.jobs;
    const batch = await batches.create({ description: 'Limited' });
    await batch.jobs(async () => {
      for (let i = 0; i < 3; i++) await noop.set({ limit: { name: 'api', key: 'a' } }).performAsync(i);
      await expect(noop.set({ limit: 'ap' }).performAsync(3)).rejects.toMatchObject({
        code: 'UNKNOWN_LIMIT',
      });
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 3 });
    expect(await batches.limits.list()).toMatchObject([{ name: 'api', maxConcurrent: 1 }]);

    await expect(batches.limits.set('api', { maxConcurrent: 2 })).rejects.toMatchObject({
      code: 'DATABASE_REFUSED',
      sqlstate: '42501',
    });
    await expect(batches.limits.delete('api')).rejects.toMatchObject({ code: 'DATABASE_REFUSED' });
    await roles.grant('on batch_jobs.named_limits to batch_enqueuer');
    expect(await batches.limits.set('api', { maxConcurrent: 0 })).toMatchObject({ maxConcurrent: 0 });
    const held = await batches.create({ description: 'Held by its limit' });
    await held.jobs(() => noop.set({ limit: 'api' }).performAsync(1));
    const reading = ['--json', '--schema', schema, '--database-url', roles.urlOf('batch_reader')];
    await eventually(async () => {
      const { stdout } = await runCli(['doctor', held.id, ...reading]);
      expect(stdout).toContain('WAITING_FOR_LIMIT');
    });
    expect(await batches.limits.delete('api')).toBe(true);
    expect(await held.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('a batch is paused, changed, resumed and cancelled', async () => {
    const batch = await batches.create({ description: 'Steered' });
    await batch.jobs(() => gated.pass.performAsync('end'));
    await gate('end').arrivals(1);
    await batch.pause();
    await batch.update({ failWhenFailed: 'all' });
    await batch.resume();
    await batch.cancel({ reason: 'enough', gracePeriod: '100ms' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
  });

  test('an empty batch leaves no row, and a batch can be a job of another', async () => {
    const empty = await batches.create({ description: 'Empty' });
    await expect(empty.jobs(() => {})).rejects.toMatchObject({ code: 'EMPTY_BATCH' });
    await eventually(async () =>
      expect(await world.knex.withSchema(world.schema).from('batches').where('id', empty.id)).toEqual([]),
    );
    const inner = await batches.create({ description: 'Inner' });
    const outer = await batches.create({ description: 'Outer' });
    await outer.jobs(() => inner.enrol());
    await inner.jobs(() => world.fixtures.jobs.noop.performAsync(1));
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('the doctor reads, and workers prune', async () => {
    const batch = await batches.create({ description: 'To be pruned' });
    await batch.jobs(() => world.fixtures.jobs.failForGood.performAsync(1));
    await batch.wait({ timeout: PATIENCE });
    await batch.retryFailed();
    await batch.wait({ timeout: PATIENCE });
    const examined = await runCli([
      'doctor',
      batch.id,
      '--schema',
      world.schema,
      '--database-url',
      roles.urlOf('batch_reader'),
    ]);
    expect(examined).toMatchObject({ exitCode: 0, stderr: '' });

    const { client, schema, taskQueue } = world;
    const pruning = new BatchClient({ client, database: worker, schema, taskQueue });
    await world.knex
      .withSchema(schema)
      .from('batches')
      .where('id', batch.id)
      .update('settled_at', world.knex.raw(`now() - interval '2 days'`));
    const { batches: pruned } = await pruning.prune({ olderThan: '1 day' });
    expect(pruned).toBe(1);
    await pruning.close();
  });

  test('an app hears that there is no worker, though its role may delete nothing', async ({
    onTestFinished,
  }) => {
    const { client, schema } = world;
    const alone = new BatchClient({
      client,
      database: enqueuer,
      schema,
      taskQueue: `${world.taskQueue}-none`,
    });
    onTestFinished(() => alone.close());
    await expect(alone.create({ description: 'Nobody is there' })).rejects.toMatchObject({
      code: 'WORKER_UNAVAILABLE',
    });
  });
});

test('an app cannot change what became of batches and jobs, nor delete or create any but jobs', async () => {
  for (const sql of [
    `update batches set status = 'complete'`,
    'update batches set completed_count = 0',
    `update batch_jobs set status = 'pending'`,
    'update batch_callbacks set attempts = 0',
    'delete from batches',
    'delete from batch_jobs',
    `insert into batches (id, first_execution_run_id, description) values ('x', 'x', 'x')`,
    'truncate batch_jobs',
    'drop view jobs',
    'create table mine (id integer)',
  ]) {
    await refused(enqueuer, sql);
  }
});

test('a worker cannot change the tables themselves, nor say which migrations there are', async () => {
  for (const sql of [
    'alter table batches add column mine text',
    'drop table batch_jobs',
    'truncate batch_jobs',
    'delete from batch_jobs_migrations',
    'create table mine (id integer)',
  ]) {
    await refused(worker, sql);
  }
});

test('the role of the doctor cannot change anything', async () => {
  for (const sql of [
    'update batches set total = total',
    'insert into batch_jobs default values',
    'delete from batch_callbacks',
  ]) {
    await refused(reader, sql);
  }
});

test('the owner creates its schema and migrates it, and no other role could', async () => {
  const schema = `owned_${randomBytes(6).toString('hex')}`;
  await using own = await createRoles(schema, (url) => migrate(url, { schema }));
  expect(await migrationStatus(own.urlOf('batch_worker'), { schema })).toMatchObject({ pending: [] });
  expect(await migrationStatus(own.urlOf('batch_reader'), { schema })).toMatchObject({ pending: [] });
  await expect(migrate(own.urlOf('batch_worker'), { schema: `${schema}_2` })).rejects.toMatchObject({
    code: 'DATABASE_REFUSED',
    sqlstate: '42501',
  });
});
