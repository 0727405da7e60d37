import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from 'vitest';
import {
  BatchClient,
  currentJob,
  DatabaseMismatchError,
  defineCallback,
  defineJob,
  migrate,
} from '../../src/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { startStepApp } from '../support/steps.ts';
import type { BatchWorkerOptions } from '../../src/worker/index.ts';
import { createWorld, type World } from '../support/world.ts';

// Two environments, with a schema each, whose workers poll one task queue by mistake.
let world: World;
let other: string;
/** One client of Temporal has one worker for a task queue. */
let connection: NativeConnection;
const ran: string[] = [];
const { gate } = createGates();
const job = defineJob('NoteRun', async (name: string) => void ran.push(name));
const heldRun = defineJob('NoteRunAndPass', async (name: string) => {
  ran.push(name);
  await gate(name).pass();
});
const failsOnce = defineJob(
  'FailsOnce',
  async (_batchId: string) => {
    if (currentJob().round === 1) throw new Error('Not in this round');
  },
  { retry: { maximumAttempts: 1 } },
);
const called: string[] = [];
const callback = defineCallback('NoteCall', async (batchId) => void called.push(batchId));

beforeAll(async () => {
  world = await createWorld();
  other = `${world.schema}_other`;
  await migrate(world.knex, { schema: other });
  connection = await NativeConnection.connect({ address: inject('temporalAddress') });
});
afterAll(async () => {
  await world.knex.raw('drop schema ?? cascade', [other]);
  await world[Symbol.asyncDispose]();
  await connection.close();
});

const create = () => world.batches.create({ description: 'A test', callbacks: { complete: callback } });

async function start(options: Partial<BatchWorkerOptions> = {}) {
  const worker = await world.startWorker({
    jobs: [job, heldRun, failsOnce],
    callbacks: [callback],
    ...options,
  });
  onTestFinished(() => worker.stop());
  return worker;
}
const startRight = () => start();
const startWrong = () => start({ schema: other, connection });

async function idOf(schema: string): Promise<string> {
  return (await world.knex.withSchema(schema).from('batch_schema').first('id')).id;
}

async function countIn(schema: string, table: string): Promise<number> {
  return Number((await world.knex.withSchema(schema).from(table).count<{ count: string }[]>('*'))[0]!.count);
}

describe('workers of two schemas on one task queue', () => {
  test('run every job, once the right ones get it, and none fails or is cancelled', async () => {
    await Promise.all([startRight(), startWrong()]);
    const batches = await Promise.all(Array.from({ length: 6 }, create));
    const names = await Promise.all(
      batches.map(async (batch) => {
        const own = Array.from({ length: 50 }, (_, index) => `${batch.id}/${index}`);
        await batch.jobs(() => job.performBulk(own.map((name) => [name] as [string])));
        return own;
      }),
    );
    for (const batch of batches) {
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 50 });
      await expectConsistent(world, batch);
    }
    expect([...new Set(ran)].toSorted()).toEqual(names.flat().toSorted());
    expect(called.toSorted()).toEqual(batches.map(({ id }) => id).toSorted());
    expect(await countIn(other, 'batches')).toBe(0);
  });

  test('open a round where its batch is', async () => {
    await Promise.all([startRight(), startWrong()]);
    const batch = await create();
    await batch.jobs(() => failsOnce.performAsync(batch.id));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
    expect(called.filter((id) => id === batch.id)).toHaveLength(1);
  });

  test('make a step in one of them, and read it there', async () => {
    await using app = await startStepApp(world);
    await Promise.all([startRight(), startWrong()]);
    const steps = Array.from({ length: 4 }, (_, index) =>
      app.execute('importFile', app.options({ jobs: [{ name: job.name, args: [`step ${index}`] }] })),
    );
    for (const step of steps) expect(await step).toMatchObject({ status: 'complete', complete: 1 });
  });
});

describe('where only workers of another schema poll the task queue,', () => {
  test('create names both schemas and leaves nothing behind', async () => {
    const worker = await startWrong();
    const id = `never-${world.schema}`;
    const creating = world.batches.create({ id, description: 'In the wrong place' });
    await expect(creating).rejects.toBeInstanceOf(DatabaseMismatchError);
    const error = await creating.catch((caught: unknown) => caught as DatabaseMismatchError);
    expect(error).toMatchObject({ code: 'DATABASE_MISMATCH' });
    for (const schema of [world.schema, other])
      expect((error as Error).message).toContain(await idOf(schema));

    expect((await world.client.workflow.getHandle(`batch:${id}`).describe()).status.name).toBe('TERMINATED');
    for (const schema of [world.schema, other]) {
      expect(await world.knex.withSchema(schema).from('batches').where({ id })).toEqual([]);
    }
    await worker.stop();
    // The id is free.
    await startRight();
    expect((await world.batches.create({ id, description: 'In the right place' })).status).toBe('pending');
  });

  test('jobs wait, calls and the doctor say why, and all goes on with a right worker', async () => {
    const before = await startRight();
    const batch = await create();
    await before.stop();
    await startWrong();
    await batch.jobs(() => heldRun.performAsync(batch.id));
    await eventually(async () => {
      const { findings } = await examine(world, batch.id);
      const found = findings.find(({ code }) => code === 'DATABASE_MISMATCH');
      for (const schema of [world.schema, other]) expect(found?.message).toContain(await idOf(schema));
    });
    expect(await batch.pause()).toEqual({
      queued: true,
      reason: expect.stringContaining(await idOf(other)),
    });
    expect(await batch.progress()).toMatchObject({ pending: 1, failed: 0, cancelled: 0 });
    expect(ran).not.toContain(batch.id);
    await startRight();
    // The right worker may have started the job before it hears of the pause: the job holds the batch.
    expect(await batch.resume()).toEqual({ queued: false });
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });
});

test('an id that a batch of another schema has is refused with both schemas, and that batch goes on', async () => {
  await startRight();
  const batch = await create();
  const elsewhere = new BatchClient({
    client: world.client,
    database: world.knex,
    schema: other,
    taskQueue: world.taskQueue,
  });
  await expect(elsewhere.create({ id: batch.id, description: 'Another' })).rejects.toMatchObject({
    code: 'DATABASE_MISMATCH',
    message: expect.stringContaining(await idOf(world.schema)),
  });
  await batch.jobs(() => job.performAsync('mine'));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  await elsewhere.close();
});

test('a schedule of a client prunes its own schema, whichever worker is asked', async () => {
  await startWrong();
  const { scheduleId } = await world.batches.schedulePrune({ olderThan: 1, every: '1 day' });
  const schedule = world.client.schedule.getHandle(scheduleId);
  const { knex } = world;
  const settled = { description: 'd', status: 'complete', sealed_at: new Date(0), completed_at: new Date(0) };
  for (const schema of [world.schema, other]) {
    await knex
      .withSchema(schema)
      .from('batches')
      .insert({ id: 'old', first_execution_run_id: 'r', ...settled, settled_at: new Date(0) });
  }
  await schedule.trigger();
  await startRight();
  await eventually(async () => {
    expect(await knex.withSchema(world.schema).from('batches').where({ id: 'old' })).toEqual([]);
  });
  expect(await knex.withSchema(other).from('batches').where({ id: 'old' })).toHaveLength(1);
  await world.batches.unschedulePrune();
});

test('a schema that was migrated anew beneath a worker is its schema', async () => {
  await using apart = await createWorld();
  await apart.startWorker();
  await apart.knex.withSchema(apart.schema).from('batch_schema').update({ id: 'anew' });
  const batches = apart.openClient();
  const batch = await batches.create({ description: 'After a reset' });
  await batch.jobs(() => apart.fixtures.jobs.noop.performAsync(1));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
});
