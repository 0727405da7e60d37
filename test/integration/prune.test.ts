import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowFailedError } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { claimPrunable, deleteSlice } from '../../src/database/prune.ts';
import { defineCallback, defineJob, type BatchOutcome } from '../../src/index.ts';
import { pruneBatches, SLICE_SIZE } from '../../src/prune/prune-batches.js';
import type { pruneBatches as pruneWorkflow } from '../../workflows/prune.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { runCode } from '../support/processes.ts';
import { createWorld, type World } from '../support/world.ts';

let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));
const heldJob = defineJob('Held', () => released);
const heldCallback = defineCallback('HeldCallback', () => released);

let world: World;
beforeAll(async () => {
  world = await createWorld();
  const { jobs, callbacks } = world.fixtures;
  await world.startWorker({
    jobs: [...Object.values(jobs), heldJob],
    callbacks: [...Object.values(callbacks), heldCallback],
  });
});
afterAll(async () => {
  release();
  await world[Symbol.asyncDispose]();
});
// What an earlier test left is not to be pruned by the next.
beforeEach(() => world.knex.raw('delete from ??.batches where settled_at is not null', [world.schema]));

const ALL = ['complete', 'failed', 'cancelled'] as const;
const MONTH = { settledBeforeMs: Date.now() - 30 * 86_400_000, statuses: ALL, limit: null };

/** Rows of a batch that settled so many days ago, without a workflow. */
async function settledBatch(
  id: string,
  {
    days = 40,
    jobs = 1,
    status = 'complete',
    of = world,
  }: { days?: number; jobs?: number; status?: BatchOutcome; of?: World } = {},
) {
  const { knex, schema } = of;
  const bindings = { schema, id, days, jobs, status };
  await knex.raw(
    `insert into :schema:.batches
       (id, first_execution_run_id, description, status, total, completed_count, sealed_at, completed_at, settled_at)
     select :id, 'run', 'Rows alone', :status, :jobs, :jobs, t, t, t from (select now() - :days * interval '1 day') s (t)`,
    bindings,
  );
  await knex.raw(
    `insert into :schema:.batch_jobs (batch_id, position, jid, worker_class, args, status, error_class, finished_at)
     select :id, n, :id || '/' || n, 'Noop', '[]', 'failed', 'HopelessError', now() from generate_series(1, :jobs) n`,
    bindings,
  );
}

/** Lets a batch have settled so many days ago. */
async function age(id: string, days = 40): Promise<void> {
  await world.knex.raw(`update ??.batches set settled_at = now() - ? * interval '1 day' where id = ?`, [
    world.schema,
    days,
    id,
  ]);
}

async function cancelledBatch() {
  const batch = await createBatch(world);
  await batch.cancel();
  await batch.wait({ timeout: PATIENCE });
  return { batch };
}

/** Rows of these batches, by table. */
async function rowsOf(...ids: string[]) {
  const count = async (table: string, column: string) => {
    const rows = await world.knex.withSchema(world.schema).from(table).whereIn(column, ids).select(column);
    return rows.length;
  };
  return {
    batches: await count('batches', 'id'),
    jobs: await count('batch_jobs', 'batch_id'),
    callbacks: await count('batch_callbacks', 'batch_id'),
  };
}

const GONE = { batches: 0, jobs: 0, callbacks: 0 };

const prune = (options = {}) => world.batches.prune({ olderThan: '30 days', ...options });

describe('prune', () => {
  test('removes settled batches by outcome and age, with their jobs and callbacks', async () => {
    const { batch: complete } = await runBatch(world, (jobs) => jobs.noop.performBulk([[1], [2], [3]]));
    const { batch: failed } = await runBatch(world, (jobs) => jobs.failForGood.performAsync('a'));
    const { batch: cancelled } = await cancelledBatch();
    const { batch: young } = await runBatch(world, (jobs) => jobs.noop.performAsync(1));
    for (const { id } of [complete, failed, cancelled]) await age(id, 31);
    await age(young.id, 29);

    expect(await prune({ status: 'complete' })).toEqual({ batches: 1, jobs: 3 });
    expect(await rowsOf(complete.id)).toEqual(GONE);
    expect(await codeOf(world.batches.find(complete.id))).toBe('BATCH_NOT_FOUND');
    expect(await codeOf(complete.progress())).toBe('BATCH_NOT_FOUND');
    expect(await prune({ status: ['complete', 'cancelled'] })).toEqual({ batches: 1, jobs: 0 });
    expect(await rowsOf(cancelled.id)).toEqual(GONE);
    expect(await prune()).toEqual({ batches: 1, jobs: 1 });
    expect(await rowsOf(failed.id)).toEqual(GONE);
    expect(await prune()).toEqual({ batches: 0, jobs: 0 });
    expect(await rowsOf(young.id)).toEqual({ batches: 1, jobs: 1, callbacks: 3 });
  });

  test('takes ages of years', async () => {
    await settledBatch('three-years', { days: 3 * 366 });
    await settledBatch('one-year', { days: 366 });
    expect(await prune({ olderThan: '2 years' })).toEqual({ batches: 1, jobs: 1 });
    expect(await rowsOf('one-year')).toMatchObject({ batches: 1 });
  });

  test('leaves alone what still runs, however old', async () => {
    const pending = await createBatch(world);
    const running = await createBatch(world);
    await running.jobs(() => heldJob.performAsync());
    // Decided before its jobs have ended.
    const decided = await createBatch(world, { failWhen: 'immediate' });
    await decided.jobs(async () => {
      await heldJob.performAsync();
      await world.fixtures.jobs.failForGood.performAsync('a');
    });
    await eventually(async () => expect((await decided.reload()).status).toBe('failed'));
    await world.knex.raw(
      `update ??.batches set created_at = now() - interval '1 year', completed_at = completed_at - interval '1 year'`,
      [world.schema],
    );
    expect(await prune({ olderThan: '1 ms' })).toEqual({ batches: 0, jobs: 0 });
    for (const { id } of [pending, running, decided]) expect(await rowsOf(id)).toMatchObject({ batches: 1 });
    await Promise.all([pending, running, decided].map((batch) => batch.cancel({ gracePeriod: '1ms' })));
  });

  test('keeps a batch whose callback is owed until it has ended', async () => {
    const batch = await createBatch(world);
    await batch.on('cancelled', heldCallback);
    await batch.cancel();
    await eventually(async () => expect((await batch.reload()).settledAt).not.toBeNull());
    await age(batch.id);
    expect(await prune()).toEqual({ batches: 0, jobs: 0 });
    expect(await rowsOf(batch.id)).toMatchObject({ batches: 1, callbacks: 4 });
    release();
    await batch.wait({ timeout: PATIENCE });
    expect(await prune()).toEqual({ batches: 1, jobs: 0 });
  });

  test.each([
    { status: 'registered', kept: 1 },
    { status: 'scheduled', kept: 1 },
    { status: 'running', kept: 1 },
    { status: 'completed', kept: 0 },
    { status: 'failed', kept: 0 },
    { status: 'skipped', kept: 0 },
  ])('keeps $kept batch with a callback that is $status', async ({ status, kept }) => {
    await settledBatch('owing');
    await world.knex
      .withSchema(world.schema)
      .into('batch_callbacks')
      .insert([
        { batch_id: 'owing', event: 'complete', callback: 'Mail', status },
        { batch_id: 'owing', event: 'failure', callback: 'Mail', status: 'skipped' },
      ]);
    await prune();
    expect(await rowsOf('owing')).toEqual({ batches: kept, jobs: kept, callbacks: 2 * kept });
  });

  test('of a dry run counts what would go, and removes nothing', async () => {
    await settledBatch('old', { jobs: 7 });
    await settledBatch('older', { days: 50, jobs: 2, status: 'failed' });
    expect(await prune({ dryRun: true })).toEqual({ batches: 2, jobs: 9 });
    expect(await prune({ dryRun: true, limit: 1 })).toEqual({ batches: 1, jobs: 2 });
    expect(await rowsOf('old', 'older')).toEqual({ batches: 2, jobs: 9, callbacks: 0 });
    expect(await world.batches.find('old')).toMatchObject({ status: 'complete' });
    expect(await prune()).toEqual({ batches: 2, jobs: 9 });
  });

  test('with a limit removes those first that settled first', async () => {
    for (const [id, days] of [
      ['a', 41],
      ['b', 43],
      ['c', 42],
    ] as const)
      await settledBatch(id, { days });
    expect(await prune({ limit: 2 })).toEqual({ batches: 2, jobs: 2 });
    expect(await rowsOf('a')).toMatchObject({ batches: 1 });
    expect(await rowsOf('b', 'c')).toEqual(GONE);
  });

  test('removes a large batch in slices: no transaction deletes more jobs than one', async () => {
    const { knex, schema } = world;
    await settledBatch('large', { jobs: 2 * SLICE_SIZE + 7 });
    await settledBatch('full', { jobs: SLICE_SIZE });
    await knex.raw(
      `create table :schema:.deletions (txid bigint, jobs integer);
       create function :schema:.note_deletion() returns trigger language plpgsql as $$
       begin
         insert into :schema:.deletions select txid_current(), count(*) from deleted;
         return null;
       end $$;
       create trigger note_deletion after delete on :schema:.batch_jobs
         referencing old table as deleted for each statement execute function :schema:.note_deletion();`,
      { schema },
    );
    const progress: number[] = [];
    const onProgress = ({ jobs }: { jobs: number }) => void progress.push(jobs);
    expect(await prune({ onProgress })).toEqual({ batches: 2, jobs: 3 * SLICE_SIZE + 7 });
    expect(progress).toEqual(progress.toSorted((a, b) => a - b));
    const { rows } = await knex.raw(
      'select sum(jobs)::int as jobs from ??.deletions group by txid having sum(jobs) > 0 order by 1',
      [schema],
    );
    await knex.raw('drop trigger note_deletion on ??.batch_jobs', [schema]);
    expect(rows.map(({ jobs }: { jobs: number }) => jobs)).toEqual([7, SLICE_SIZE, SLICE_SIZE, SLICE_SIZE]);
  });

  test('is refused for options that make no sense', async () => {
    expect(await codeOf(prune({ olderThan: undefined }))).toBe('INVALID_OPTION');
    expect(await codeOf(prune({ status: 'running' }))).toBe('INVALID_OPTION');
    expect(await codeOf(prune({ status: [] }))).toBe('INVALID_OPTION');
    expect(await codeOf(prune({ limit: 0 }))).toBe('INVALID_OPTION');
    expect(await codeOf(prune({ dryrun: true }))).toBe('INVALID_OPTION');
  });
});

describe('a batch that is being pruned', () => {
  const views = async (id: string) => {
    const ask = (view: string, column: string) =>
      world.knex.withSchema(world.schema).from(view).where(column, id).pluck(column);
    return [
      ...(await ask('batch_progress', 'id')),
      ...(await ask('jobs', 'batch_id')),
      ...(await ask('failed_jobs', 'batch_id')),
    ];
  };

  test('is no more for anybody, and its id is free once it has gone', async () => {
    await settledBatch('half');
    expect(await views('half')).toEqual(['half', 'half', 'half']);
    const batch = await world.batches.find('half');
    expect(await claimPrunable(world.batches.database, MONTH)).toEqual(['half']);
    expect(await views('half')).toEqual([]);
    expect(await codeOf(world.batches.find('half'))).toBe('BATCH_NOT_FOUND');
    expect(await codeOf(batch.progress())).toBe('BATCH_NOT_FOUND');
    expect(await batch.failedJobs()).toEqual([]);
    expect((await world.batches.list()).map(({ id }) => id)).not.toContain('half');
    expect(await codeOf(world.batches.create({ id: 'half', description: 'Again' }))).toBe('BATCH_EXISTS');
    expect(await prune({ dryRun: true })).toEqual({ batches: 1, jobs: 1 });
    expect(await prune()).toEqual({ batches: 1, jobs: 1 });
    const again = await world.batches.create({ id: 'half', description: 'Again' });
    await again.cancel();
  });

  test('is removed by the next prune where one was killed in the middle', async () => {
    await settledBatch('cut', { jobs: 3 * SLICE_SIZE });
    const script = `
      import { openDatabase } from './src/database/connect.js';
      import { pruneBatches } from './src/prune/prune-batches.js';
      const database = openDatabase(process.env.DATABASE_URL, { schema: process.env.SCHEMA });
      const onProgress = () => process.kill(process.pid, 'SIGKILL');
      await pruneBatches(database, ${JSON.stringify(MONTH)}, { onProgress });`;
    const { signal } = await runCode(script, {
      env: { DATABASE_URL: inject('databaseUrl'), SCHEMA: world.schema },
    });
    expect(signal).toBe('SIGKILL');
    expect(await rowsOf('cut')).toMatchObject({ batches: 1, jobs: 2 * SLICE_SIZE });
    expect(await codeOf(world.batches.find('cut'))).toBe('BATCH_NOT_FOUND');
    // Whatever the next one is asked for.
    expect(await prune({ olderThan: '10 years', status: 'failed' })).toEqual({
      batches: 1,
      jobs: 2 * SLICE_SIZE,
    });
    expect(await rowsOf('cut')).toEqual(GONE);
  });

  test('is left to the next prune when one is no longer wanted', async () => {
    await settledBatch('unwanted', { jobs: 2 * SLICE_SIZE });
    let isWanted = true;
    const stopping = pruneBatches(world.batches.database, MONTH, {
      onProgress: () => (isWanted = false),
      assertWanted: () => {
        if (!isWanted) throw new Error('The worker shuts down');
      },
    });
    await expect(stopping).rejects.toThrow('The worker shuts down');
    expect(await rowsOf('unwanted')).toMatchObject({ batches: 1, jobs: SLICE_SIZE });
    expect(await prune()).toEqual({ batches: 1, jobs: SLICE_SIZE });
  });

  test('is shared by prunes that run at once: each row is removed and counted once', async () => {
    await settledBatch('large', { jobs: 6 * SLICE_SIZE });
    const ids = Array.from({ length: 250 }, (_, n) => `small-${n}`);
    for (const id of ids) await settledBatch(id);
    const results = await Promise.all([1, 2, 3].map(() => prune()));
    const sum = (of: 'batches' | 'jobs') => results.reduce((total, result) => total + result[of], 0);
    expect({ batches: sum('batches'), jobs: sum('jobs') }).toEqual({
      batches: 251,
      jobs: 6 * SLICE_SIZE + 250,
    });
    expect(results.filter(({ batches }) => batches > 0).length).toBeGreaterThan(1);
    expect(await rowsOf('large', ...ids)).toEqual(GONE);
  });

  test('takes no jobs of a later batch of its id with it', async () => {
    const { database } = world.batches;
    await settledBatch('twice', { jobs: SLICE_SIZE + 1 });
    await claimPrunable(database, MONTH);
    expect(await deleteSlice(database, 'twice', 0, SLICE_SIZE)).toMatchObject({ jobs: SLICE_SIZE });
    // Another prune ends it, and the id is used again, before this one goes on.
    await prune();
    await settledBatch('twice', { jobs: SLICE_SIZE + 1 });
    expect(await deleteSlice(database, 'twice', SLICE_SIZE, SLICE_SIZE)).toBeUndefined();
    expect(await rowsOf('twice')).toMatchObject({ batches: 1, jobs: SLICE_SIZE + 1 });
  });

  test('cannot run again; one that runs again before is left alone', async () => {
    const { knex, schema } = world;
    await settledBatch('revived');
    const revive = `update :schema:.batches
      set status = 'running', completed_at = null, settled_at = null where id = :id`;
    const trx = await knex.transaction();
    await trx.raw(revive, { schema, id: 'revived' });
    // Locked, and not committed yet.
    const late = delay(PATIENCE, 'It waits for the lock', { ref: false });
    const first = await Promise.race([prune(), late]);
    await trx.commit();
    expect(first).toEqual({ batches: 0, jobs: 0 });
    expect(await prune()).toEqual({ batches: 0, jobs: 0 });
    expect(await rowsOf('revived')).toMatchObject({ batches: 1, jobs: 1 });

    await settledBatch('claimed');
    await claimPrunable(world.batches.database, MONTH);
    await expect(knex.raw(revive, { schema, id: 'claimed' })).rejects.toMatchObject({ code: '23514' });
    await knex.raw('delete from ??.batches where id = ?', [schema, 'revived']);
  });

  test('is found and removed by indexes', async () => {
    // Without a worker, and rows of other tests: servers count scans up to 10 s after they were made.
    await using own = await createWorld();
    const { knex, schema } = own;
    await settledBatch('large', { jobs: 20_000, of: own });
    await knex.raw(
      `insert into ??.batches (id, first_execution_run_id, description, status, sealed_at, completed_at, settled_at)
       select 'many-' || n, 'run', 'Many', 'complete', now(), now(), now() - n * interval '1 minute'
       from generate_series(1, 5000) n`,
      [schema],
    );
    await knex.raw('analyze ??.batches, ??.batch_jobs', [schema, schema]);
    const indexes = await indexesUsed(own, async () => {
      await own.batches.prune({ olderThan: '30 days', limit: 1 });
    });
    expect(indexes).toEqual(['batch_jobs_pkey', 'batches_pkey', 'batches_pruned', 'batches_settled_at']);
  });

  /** Which indexes were scanned meanwhile, on tables of which none was scanned as a whole. */
  async function indexesUsed({ knex, schema }: World, run: () => Promise<void>): Promise<string[]> {
    const read = async () => {
      const { rows } = await knex.raw(
        `select 'table ' || relname as name, seq_scan as scans from pg_stat_user_tables
           where schemaname = :schema and relname in ('batches', 'batch_jobs')
         union all select indexrelname, idx_scan from pg_stat_user_indexes
           where schemaname = :schema and relname in ('batches', 'batch_jobs')`,
        { schema },
      );
      return new Map<string, number>(
        rows.map(({ name, scans }: { name: string; scans: string }) => [name, Number(scans)]),
      );
    };
    const flush = () => knex.raw('select pg_stat_force_next_flush()');
    await flush();
    const before = await read();
    await run();
    return eventually(async () => {
      await flush();
      const after = await read();
      const used = [...after].filter(([name, scans]) => scans > before.get(name)!).map(([name]) => name);
      if (!used.includes('batch_jobs_pkey')) throw new Error('The statistics are not there yet');
      return used.sort();
    });
  }
});

describe('a schedule', () => {
  const describeSchedule = (scheduleId: string) => world.client.schedule.getHandle(scheduleId).describe();

  test('is created, changed and deleted, and prunes when it is its time', async () => {
    await settledBatch('scheduled', { jobs: 3 });
    await settledBatch('kept', { status: 'failed' });
    const { scheduleId } = await world.batches.schedulePrune({ olderThan: '30 days', status: 'failed' });
    expect(scheduleId).toBe(`prune:${world.taskQueue}`);
    expect((await describeSchedule(scheduleId)).spec.intervals).toMatchObject([{ every: 86_400_000 }]);

    const changed = { olderThan: '30 days', status: 'complete', every: '1 hour' } as const;
    await Promise.all([world.batches.schedulePrune(changed), world.batches.schedulePrune(changed)]);
    const description = await describeSchedule(scheduleId);
    expect(description).toMatchObject({
      spec: { intervals: [{ every: 3_600_000 }] },
      policies: { overlap: 'SKIP' },
      action: {
        workflowType: 'pruneBatches',
        taskQueue: world.taskQueue,
        args: [{ olderThan: '30 days', status: ['complete'] }],
      },
    });

    await world.client.schedule.getHandle(scheduleId).trigger();
    await eventually(async () => expect(await rowsOf('scheduled')).toEqual(GONE));
    expect(await rowsOf('kept')).toMatchObject({ batches: 1 });
    const workflowId = await eventually(async () => {
      const [action] = (await describeSchedule(scheduleId)).info.recentActions;
      return action!.action.workflow.workflowId;
    });
    expect(await world.client.workflow.getHandle(workflowId).result()).toEqual({ batches: 1, jobs: 3 });

    expect(await world.batches.unschedulePrune()).toBe(true);
    expect(await world.batches.unschedulePrune()).toBe(false);
  });

  test('that was paused stays so when it is changed', async () => {
    const { scheduleId } = await world.batches.schedulePrune({ olderThan: '1 day' });
    await world.client.schedule.getHandle(scheduleId).pause('not now');
    await world.batches.schedulePrune({ olderThan: '2 days' });
    expect((await describeSchedule(scheduleId)).state).toMatchObject({ paused: true, note: 'not now' });
    await world.batches.unschedulePrune();
  });

  test('of another kind is neither changed nor deleted', async () => {
    const scheduleId = `${world.taskQueue}-theirs`;
    const handle = await world.client.schedule.create({
      scheduleId,
      spec: { intervals: [{ every: '1 day' }] },
      action: { type: 'startWorkflow', workflowType: 'theirs', taskQueue: world.taskQueue },
    });
    expect(await codeOf(world.batches.schedulePrune({ olderThan: '1 day', scheduleId }))).toBe(
      'INVALID_OPTION',
    );
    expect(await codeOf(world.batches.unschedulePrune({ scheduleId }))).toBe('INVALID_OPTION');
    expect((await handle.describe()).action).toMatchObject({ workflowType: 'theirs' });
    await handle.delete();
  });

  test('whose workflow gets options that make no sense fails at once', async () => {
    const running = world.client.workflow.execute<typeof pruneWorkflow>('pruneBatches', {
      workflowId: `${world.taskQueue}-senseless`,
      taskQueue: world.taskQueue,
      args: [{ olderThan: 'soon' as never }],
    });
    const error = await running.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(WorkflowFailedError);
    expect((error as WorkflowFailedError).cause?.cause).toMatchObject({ type: 'INVALID_OPTION' });
  });
});

describe('a worker that shuts down', () => {
  test('leaves a prune to another one, which ends it', async () => {
    await using own = await createWorld();
    const { client, knex, schema, taskQueue } = own;
    const worker = await own.startWorker();
    await settledBatch('long', { jobs: 2 * SLICE_SIZE, of: own });
    // Holds the prune in its second slice.
    const holder = await knex.transaction();
    const { rowCount } = await holder.raw(
      `select 1 from ??.batch_jobs where batch_id = 'long' and position > ? for update`,
      [schema, SLICE_SIZE],
    );
    expect(rowCount).toBe(SLICE_SIZE);
    const workflow = await client.workflow.start<typeof pruneWorkflow>('pruneBatches', {
      workflowId: `${taskQueue}-prune`,
      taskQueue,
      args: [{ olderThan: '30 days' }],
    });
    const left = async () => (await knex.withSchema(schema).from('batches').pluck('pruned_at')) as unknown[];
    await eventually(async () => expect(await left()).toEqual([expect.any(Date)]));
    const stopping = worker.stop();
    await holder.rollback();
    await stopping;
    expect(await left()).toEqual([expect.any(Date)]);
    await own.startWorker();
    expect(await workflow.result()).toMatchObject({ batches: 1 });
    expect(await left()).toEqual([]);
  });
});

describe('batch-jobs prune', () => {
  const cli = (...args: string[]) => runCli(['prune', ...args]);
  const inSchema = () => ['--schema', world.schema];

  test('shows what would go, and removes it with --yes', async () => {
    await settledBatch('old', { days: 40, jobs: 1_200 });
    await settledBatch('older', { days: 45, jobs: 3, status: 'failed' });
    const day = (days: number) => new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
    const moment = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`;
    const before = Date.now() - 30 * 86_400_000;
    const shown = await cli('--older-than', '30d', ...inSchema());
    const [settledBefore] = new RegExp(moment).exec(shown.stdout)!;
    // The database's clock may be a little off.
    expect(Math.abs(Date.parse(settledBefore) - before)).toBeLessThan(60_000);
    expect(shown).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: [
        `Batches that settled before ${settledBefore} (30 d ago):`,
        '',
        'status    batches   jobs  settled',
        `complete        1  1,200  ${day(40)}`,
        `failed          1      3  ${day(45)}`,
        'total           2  1,203',
        '',
        'Nothing was changed. --yes removes them.',
        '',
      ].join('\n'),
    });
    const { stdout } = await cli('--older-than', '30d', '--json', ...inSchema());
    expect(JSON.parse(stdout)).toMatchObject({
      dryRun: true,
      settledBefore: expect.stringMatching(/^\d{4}-.*Z$/),
      batches: 2,
      jobs: 1_203,
    });
    expect(await cli('--older-than', '30d', '--status', 'failed', '--yes', ...inSchema())).toEqual({
      exitCode: 0,
      stderr: '',
      stdout: expect.stringMatching(
        new RegExp(String.raw`^Removed 1 batch with 3 jobs, settled before ${moment} \(30 d ago\)\.\n$`),
      ),
    });
    expect(await rowsOf('old')).toMatchObject({ batches: 1 });
    const removed = await cli('--older-than', '30d', '--yes', '--json', '--limit', '5', ...inSchema());
    expect(JSON.parse(removed.stdout)).toEqual({
      dryRun: false,
      settledBefore: expect.stringMatching(/^\d{4}-.*Z$/),
      batches: 1,
      jobs: 1_200,
    });
    expect((await cli('--older-than', '2 weeks', ...inSchema())).stdout).toMatch(
      new RegExp(String.raw`^No batch would be removed: none settled before ${moment} \(14 d ago\)\.\n$`),
    );
  });

  test('removes nothing for an age without a unit', async () => {
    await settledBatch('young', { days: 1 });
    for (const age of ['30', '1M']) {
      expect(await cli('--older-than', age, '--yes', ...inSchema())).toMatchObject({
        exitCode: 2,
        stdout: '',
        stderr: expect.stringContaining(`--older-than must be`),
      });
    }
    expect(await codeOf(prune({ olderThan: '30' }))).toBe('INVALID_OPTION');
    expect(await rowsOf('young')).toMatchObject({ batches: 1 });
  });

  test('creates, changes and deletes a schedule', async () => {
    const queue = ['--task-queue', world.taskQueue];
    const id = `prune:${world.taskQueue}`;
    const scheduled = await cli('--older-than', '30d', '--schedule', '1 day', ...queue);
    expect(scheduled).toMatchObject({ exitCode: 0, stderr: '' });
    expect(scheduled.stdout).toContain(
      `Schedule "${id}" prunes every 1 day on task queue "${world.taskQueue}". A run now would remove what settled before 2`,
    );
    await cli('--older-than', '60d', '--status', 'complete', 'failed', '--schedule', '2 days', ...queue);
    expect(await world.client.schedule.getHandle(id).describe()).toMatchObject({
      spec: { intervals: [{ every: 2 * 86_400_000 }] },
      action: { args: [{ olderThan: '60d', status: ['complete', 'failed'] }] },
    });
    expect(await cli('--unschedule', ...queue)).toMatchObject({ stdout: `Deleted schedule "${id}".\n` });
    expect(await cli('--unschedule', ...queue)).toMatchObject({
      exitCode: 0,
      stdout: `There is no schedule "${id}".\n`,
    });
  });

  test('says when the database lacks the migrations, and when Temporal does not answer', async () => {
    expect(await cli('--older-than', '30d', '--schema', 'not_there')).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining('[MIGRATIONS_PENDING]'),
    });
    expect(await cli('--older-than', '30d', '--schedule', '1 day', '--address', '127.0.0.1:1')).toMatchObject(
      { exitCode: 1, stdout: '' },
    );
  });
});
