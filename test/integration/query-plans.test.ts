import { randomBytes } from 'node:crypto';
import knexFactory, { type Knex } from 'knex';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { openDatabase } from '../../src/database/connect.ts';
import { waysQuery } from '../../src/database/members.ts';
import { selectResults } from '../../src/database/results.ts';
import { migrate } from '../../src/index.ts';
import { nodeTypesOf, readsOf } from '../support/plans.ts';

// What docs/sql.md says about a million rows, at a size at which the planner chooses in the same way: many times the
// rows that it would rather read one after the other.
const schema = `plans_${randomBytes(6).toString('hex')}`;
const LARGE = 30_000;
const OTHERS = 60;
const OTHER = 1_000;

let knex: Knex;
beforeAll(async () => {
  await migrate(inject('databaseUrl'), { schema });
  knex = knexFactory({ client: 'pg', connection: inject('databaseUrl'), searchPath: [schema] });
  await insertBatch('large', LARGE, 'running');
  for (let i = 1; i <= OTHERS; i++) await insertBatch(`other-${i}`, OTHER, 'failed');
  await knex.raw('analyze batches, batch_jobs, batch_callbacks');
});
afterAll(async () => {
  await knex.raw('drop schema ?? cascade', [schema]);
  await knex.destroy();
});

/** A batch of which every 100th job failed and, if it runs, the last tenth is pending. */
async function insertBatch(id: string, total: number, status: 'running' | 'failed'): Promise<void> {
  const ended = status === 'running' ? total * 0.9 : total;
  const over = status === 'running' ? null : knex.fn.now();
  await knex('batches').insert({
    id,
    first_execution_run_id: 'run',
    description: id,
    status,
    total,
    completed_count: ended - ended / 100,
    failed_count: ended / 100,
    sealed_at: knex.fn.now(),
    completed_at: over,
    settled_at: over,
    updated_at: knex.raw(`now() - interval '1 hour'`),
  });
  await knex('batch_callbacks').insert({
    batch_id: id,
    event: 'complete',
    callback: 'Done',
    status: over === null ? 'registered' : 'skipped',
  });
  await knex.raw(
    `insert into batch_jobs
       (batch_id, position, jid, worker_class, args, status, result, error_class, error_message, started_at, finished_at)
     select :id, n, :id || '/' || n, 'Score', '[]', status,
       case when status = 'complete' then '1'::jsonb end,
       case when status = 'failed' then 'HopelessError' end,
       case when status = 'failed' then 'entry ' || n || ' has no score' end,
       case when status <> 'pending' then now() end, case when status <> 'pending' then now() end
     from (
       select n, case when n > :ended then 'pending' when n % 100 = 0 then 'failed' else 'complete' end as status
       from generate_series(1, :total::integer) n
     ) job`,
    { id, total, ended },
  );
}

test('a question that no index answers is seen to scan the jobs', async () => {
  const unserved = `select count(*) from batch_jobs where status = 'pending'`;
  expect(await readsOf(knex, 'batch_jobs', unserved)).toEqual({ indexes: [], sequentially: true });
});

test.each(['batch_progress', 'batch_rounds'])('%s of one batch reads no job', async (view) => {
  const key = view === 'batch_progress' ? 'id' : 'batch_id';
  expect(await readsOf(knex, 'batch_jobs', `select * from ${view} where ${key} = 'large'`)).toBeUndefined();
});

test('batch_progress of all batches reads no job', async () => {
  expect(await readsOf(knex, 'batch_jobs', 'select * from batch_progress')).toBeUndefined();
});

describe('without a sequential scan of the jobs, in a table of many batches,', () => {
  test.each<[view: string, sql: string, indexes: string[]]>([
    ['failed_jobs', `select * from failed_jobs where batch_id = 'large'`, ['batch_jobs_errors']],
    [
      'failed_jobs_by_error',
      `select * from failed_jobs_by_error where batch_id = 'large' order by jobs desc`,
      ['batch_jobs_errors', 'batch_jobs_pkey'],
    ],
    [
      'jobs_per_minute',
      `select * from jobs_per_minute where batch_id = 'large' and minute > now() - interval '1 hour'`,
      ['batch_jobs_pkey'],
    ],
    [
      'idle_batches',
      `select * from idle_batches where id = 'large'`,
      ['batch_jobs_errors', 'batch_jobs_pkey'],
    ],
  ])('%s shows one batch', async (_view, sql, indexes) => {
    expect(await readsOf(knex, 'batch_jobs', sql)).toEqual({ indexes, sequentially: false });
  });

  test.each<[view: string, sql: string, indexes: string[]]>([
    [
      'failed_jobs_by_error',
      `select * from batch_progress b join failed_jobs_by_error f on f.batch_id = b.id where b.settled_at is null`,
      ['batch_jobs_errors', 'batch_jobs_pkey'],
    ],
    [
      'jobs_per_minute',
      `select m.minute, sum(m.complete) from batch_progress b join jobs_per_minute m on m.batch_id = b.id
       where b.settled_at is null and m.minute > now() - interval '1 hour' group by 1`,
      ['batch_jobs_pkey'],
    ],
    ['idle_batches', 'select * from idle_batches', ['batch_jobs_errors', 'batch_jobs_pkey']],
  ])('%s shows the batches that run', async (_view, sql, indexes) => {
    expect(await readsOf(knex, 'batch_jobs', sql)).toEqual({ indexes, sequentially: false });
  });
});

test('a page of results is found by the primary key, in its order', async () => {
  const page = selectResults(openDatabase(knex, { schema }), 'large')
    .where('position', '>', LARGE / 2)
    .limit(1_000)
    .toQuery();
  expect(await readsOf(knex, 'batch_jobs', page)).toEqual({
    indexes: ['batch_jobs_pkey'],
    sequentially: false,
  });
  const nodeTypes = await nodeTypesOf(knex, page);
  expect(nodeTypes).toContain('Limit');
  expect(nodeTypes.filter((type) => /Sort|Bitmap/.test(type))).toEqual([]);
});

test('batches that wait for each other are found by the index of members, however large they are', async () => {
  const ways = waysQuery(openDatabase(knex, { schema }), 'other-1', ['large', 'other-2']).toQuery();
  expect(await readsOf(knex, 'batch_jobs', ways)).toEqual({
    indexes: ['batch_jobs_members'],
    sequentially: false,
  });
});
