import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BatchClient, currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { MISSING_JOB } from '../../src/database/missing-rows.ts';
import { scaledMs } from '../../workflows/timeouts.ts';
import { expectConsistent } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { openSplitDatabase } from '../support/lagging-replica.ts';
import { startMemberApp } from '../support/member-app.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

// A read that finds nothing proves nothing: a replica may lag, and a proxy may have sent the read there.
const called: string[] = [];
const callback = defineCallback('NoteEnd', async (batchId) => void called.push(batchId));
const noted: number[] = [];
const note = defineJob('Note', async (value: number) => void noted.push(value));

const failsAtFirst = defineJob(
  'FailsInRound1',
  async () => {
    if (currentJob().round === 1) throw new Error('Not in this round');
  },
  { retry: { maximumAttempts: 1 } },
);

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

/** What reads the jobs of a chunk. */
const CHUNKS = /^\s*select job\.position, job\.status/;

/** A worker and a client, which both read from a replica. */
async function onReplica(apart: World, except?: RegExp) {
  const database = await openSplitDatabase(apart, except);
  const { client, schema, taskQueue } = apart;
  const worker = await apart.startWorker({
    database: database.knex,
    jobs: [note, failsAtFirst],
    callbacks: [callback],
  });
  const batches = new BatchClient({ client, database: database.knex, schema, taskQueue });
  const create = () => batches.create({ description: 'On a replica', callbacks: { settled: callback } });
  const dispose = async () => {
    await batches.close();
    await worker.stop();
  };
  return { ...database, batches, create, [Symbol.asyncDispose]: dispose };
}

describe('rows that a read does not find', () => {
  test('are asked for again, and the jobs run', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart);
    const batch = await replica.create();
    await batch.jobs(() => note.performBulk(Array.from({ length: 100 }, (_, index) => [index] as [number])));
    await eventually(async () => {
      const { codes } = await examine(apart, batch.id);
      expect(codes).toContain('JOB_ROWS_MISSING');
    });
    expect(await batch.progress()).toMatchObject({ status: 'running', pending: 100, failed: 0 });
    replica.catchUp();
    expect(await batch.wait({ timeout: PATIENCE })).toEqual({
      status: 'complete',
      total: 100,
      complete: 100,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
    expect(noted).toHaveLength(100);
    await expectConsistent(apart, batch);
  });

  test('and that are there after all are never counted, however late the replica is', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart);
    const batch = await replica.create();
    await batch.jobs(() => note.performAsync(500));
    const queryRanges = () => apart.client.workflow.getHandle(`batch:${batch.id}`).query<object>('ranges');
    const startedAt = Date.now();
    // Longer than rows are asked for again before a write decides.
    await eventually(async () => {
      expect(JSON.stringify(await queryRanges())).toContain('unknownSince');
      expect(Date.now() - startedAt).toBeGreaterThan(scaledMs(32_000));
    });
    expect(await batch.progress()).toMatchObject({ pending: 1, failed: 0 });
    const rows = apart.knex.withSchema(apart.schema).from('batch_jobs');
    expect(await rows.where({ worker_class: MISSING_JOB })).toEqual([]);
    replica.catchUp();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });
});

describe('rows that somebody deleted', () => {
  beforeAll(async () => {
    await world.startWorker({ jobs: [note] });
  });
  test('count as failed, once, and the rows, the batch, wait(), the doctor and the command line say why', async () => {
    const batch = await world.batches.create({ description: 'A test' });
    await batch.pause();
    await batch.jobs(() => note.performBulk([[1_001], [1_002], [1_003], [1_004]]));
    const { knex, schema } = world;
    const rows = () => knex.withSchema(schema).from('batch_jobs').where({ batch_id: batch.id });
    await rows().whereIn('position', [2, 3]).delete();
    await batch.resume();
    await eventually(async () => {
      const { codes } = await examine(world, batch.id);
      expect(codes).toContain('JOB_ROWS_MISSING');
    });
    const reason =
      '2 of its jobs had no row: somebody deleted them, or the database was restored to an earlier moment.';
    expect(await batch.wait({ timeout: PATIENCE })).toEqual({
      status: 'failed',
      total: 4,
      complete: 2,
      failed: 2,
      cancelled: 0,
      pending: 0,
      reason,
    });
    expect((await batch.reload()).failureReason).toBe(reason);
    expect(await batch.failedJobs()).toMatchObject([
      { position: 2, errorClass: 'JobRowMissingError' },
      { position: 3, errorClass: 'JobRowMissingError' },
    ]);
    const view = knex.withSchema(schema).from('batch_progress').where({ id: batch.id });
    expect(await view.first('failed', 'cancelled', 'failure_reason')).toEqual({
      failed: 2,
      cancelled: 0,
      failure_reason: reason,
    });
    expect(await examine(world, batch.id)).toMatchObject({ codes: ['JOB_ROWS_MISSING', 'OVER'] });
    const { stdout } = await runCli(['failed', batch.id, '--schema', world.schema]);
    expect(stdout).toContain(reason);
  });

  test('fail again in a later round, and say the same', async () => {
    const batch = await world.batches.create({ description: 'A test' });
    await batch.pause();
    await batch.jobs(() => note.performBulk([[2_001], [2_002]]));
    const { knex, schema } = world;
    await knex.withSchema(schema).from('batch_jobs').where({ batch_id: batch.id, position: 1 }).delete();
    await batch.resume();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: 1, failed: 1 });
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 1,
      reason: expect.stringContaining('1 of its jobs had no row'),
    });
  });
});

describe('where a replica knows nothing of a batch,', () => {
  test('its end is written, its callback runs once, and its creator finds it', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart, CHUNKS);
    const batch = await replica.create();
    await batch.jobs(() => note.performBulk([[3_001], [3_002]]));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
    expect((await replica.batches.find(batch.id)).status).toBe('complete');
    expect(called.filter((id) => id === batch.id)).toHaveLength(1);
    expect(replica.reads()).toBeGreaterThan(0);
  });

  test('or knows an older state, wait() gives the end of each round', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart, CHUNKS);
    const batch = await replica.create();
    await replica.replicateBatches();
    await batch.jobs(() => failsAtFirst.performAsync());
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    await replica.replicateBatches();
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });

  test('its block is not taken for one that nobody has', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart);
    const batch = await replica.batches.create({
      description: 'A block whose process dies at once',
      enrollmentTimeout: '1s',
      // Long enough that its block is there by then.
      openTimeout: 4_000 * SLOWNESS,
    });
    await replica.batches.claimBlock(batch.id);
    // The batch looks at the row, and would close itself as never opened if it found no block there.
    await batch.wait({ timeout: PATIENCE });
    expect(batch.enrollmentError).toContain('enrollmentTimeout');
  });

  test('a nested batch is not taken for deleted', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart, CHUNKS);
    const [inner, outer] = await Promise.all([replica.create(), replica.create()]);
    // As if it had waited for longer than a nested batch may take to be created.
    await outer.pause();
    await outer.jobs(() => inner.enrol());
    const { knex, schema } = apart;
    await knex
      .withSchema(schema)
      .from('batch_jobs')
      .where({ batch_id: outer.id })
      .update({ created_at: knex.raw("now() - interval '1 hour'") });
    await outer.resume();
    await eventually(() => expect(replica.reads()).toBeGreaterThan(0));
    await inner.jobs(() => note.performAsync(4_001));
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });

  test('workflows that are its jobs are asked to cancel when it is stopped', async () => {
    await using apart = await createWorld();
    await using replica = await onReplica(apart, CHUNKS);
    await using app = await startMemberApp(apart);
    const batch = await replica.create();
    const workflowId = app.newId();
    await batch.jobs(() =>
      app.client.workflow.start('waits', { workflowId, taskQueue: app.taskQueue, args: [] }),
    );
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    await eventually(async () => {
      const { status } = await app.client.workflow.getHandle(workflowId).describe();
      expect(status.name).toBe('CANCELLED');
    });
  });
});
