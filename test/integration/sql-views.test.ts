import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Knex } from 'knex';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { defineJob, type Batch } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

type Row = Record<string, unknown>;

const root = fileURLToPath(new URL('../..', import.meta.url));
const README = await readFile(path.join(root, 'README.md'), 'utf8');
const SQL_PAGE = await readFile(path.join(root, 'docs/sql.md'), 'utf8');

/** The batch that the pages' examples ask about. */
const EXAMPLE_ID = 'import-2026-11-23';

let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));
const heldJob = defineJob('Held', () => released);

let world: World;
let failed: Batch;
let running: Batch;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), heldJob] });
  ({ batch: failed } = await runBatch(world, async (jobs) => {
    for (let i = 1; i <= 6; i++) await (i % 3 === 0 ? jobs.failForGood : jobs.noop).performAsync(i);
  }));
  running = await createBatch(world, { description: 'Still running', context: { leaderboardId: 7 } });
  await running.jobs(async () => {
    for (let i = 1; i <= 5; i++) await world.fixtures.jobs.noop.performAsync(i);
    await world.fixtures.jobs.failForGood.performAsync('bad');
    for (let i = 1; i <= 2; i++) await heldJob.performAsync();
  });
  await eventually(async () => expect(await running.progress()).toMatchObject({ complete: 5, failed: 1 }));
});
afterAll(async () => {
  release();
  await running.wait({ timeout: PATIENCE });
  await world[Symbol.asyncDispose]();
});

/** Runs a query as the pages show it: against the example's batch, with the views on the search path. */
async function query(sql: string, batchId = failed.id): Promise<Row[]> {
  return inSchema(async (trx) => (await trx.raw(sql.replaceAll(EXAMPLE_ID, batchId))).rows);
}

function inSchema<T>(run: (trx: Knex.Transaction) => Promise<T>): Promise<T> {
  return world.knex.transaction(async (trx) => {
    await trx.raw('set local search_path = ??', [world.schema]);
    return run(trx);
  });
}

describe('the queries of the pages', () => {
  test.each([
    ...selects(README).map((sql) => ['README.md', titleOf(sql), sql]),
    ...selects(SQL_PAGE).map((sql) => ['docs/sql.md', titleOf(sql), sql]),
  ])('in %s run: %s', async (_page, _title, sql) => {
    expect(await query(sql)).toBeInstanceOf(Array);
  });

  test('in README.md are in docs/sql.md too, word for word', () => {
    expect(selects(README)).toHaveLength(4);
    expect(selects(SQL_PAGE)).toEqual(expect.arrayContaining(selects(README)));
  });

  test('"how far is it?" shows the running batch and not the finished one', async () => {
    const [row, ...others] = await query(find('how far is it?'));
    expect(others).toEqual([]);
    expect(row).toEqual({
      id: running.id,
      description: 'Still running',
      status: 'running',
      total: 8,
      complete: 5,
      failed: 1,
      pending: 2,
      percent: '75.0',
      jobs_per_second: expect.stringMatching(/^\d+\.\d$/),
      eta: expect.anything(),
    });
  });

  test('"one batch" shows a failed batch with what became of its callbacks', async () => {
    expect(await query(find('one batch'))).toEqual([
      {
        status: 'failed',
        complete: 4,
        failed: 2,
        pending: 0,
        percent: '100.0',
        eta: null,
        callbacks: {
          complete: { callback: 'OnComplete', status: 'skipped', attempts: 0 },
          failure: { callback: 'OnFailure', status: 'completed', attempts: 1 },
          settled: { callback: 'OnSettled', status: 'completed', attempts: 1 },
        },
      },
    ]);
  });

  test('"which failed, and why?" and its next page show each failed job once, in order', async () => {
    const job = (value: number) => ({
      worker_class: 'FailForGood',
      args: [value],
      error_class: 'HopelessError',
      error_message: `${value} cannot succeed`,
    });
    expect(await query(find('which failed, and why?'))).toEqual(
      [3, 6].map((i) => ({ ...job(i), attempts: 1 })),
    );
    const nextPage = find('the next page').replace('40007', '3');
    expect(await query(nextPage)).toEqual([{ position: 6, ...job(6) }]);
  });

  test('"failures, grouped" counts each kind', async () => {
    expect(await query(find('failures, grouped'))).toEqual([
      {
        jobs: 2,
        worker_class: 'FailForGood',
        error_class: 'HopelessError',
        error_pattern: '# cannot succeed',
        first_position: 3,
        error_message: '3 cannot succeed',
      },
    ]);
  });

  test('"what does not move?" shows a running batch once it has been idle for long', async () => {
    const titles = ['what does not move?', 'what does not move and needs somebody?'];
    for (const title of titles) expect(await query(find(title))).toEqual([]);
    await inSchema(async (trx) => {
      await trx.raw(`update batches set updated_at = now() - interval '11 minutes'`);
      for (const title of titles) {
        expect((await trx.raw(find(title))).rows).toEqual([
          {
            id: running.id,
            description: 'Still running',
            idle: expect.objectContaining({ minutes: 11 }),
            reason: 'jobs_open',
            detail: null,
          },
        ]);
      }
      await trx.rollback(new Rollback());
    }).catch(expectRollback);
  });

  test('"how fast is it?" counts each job that ended once, of one batch and of all that run', async () => {
    const sum = (rows: Row[], column: string) => rows.reduce((total, row) => total + Number(row[column]), 0);
    const one = await query(find('how fast is it?'));
    expect([sum(one, 'complete'), sum(one, 'failed')]).toEqual([4, 2]);
    expect(one.every(({ minute }) => (minute as Date).getTime() % 60_000 === 0)).toBe(true);
    const all = await query(find('how fast is it all?'));
    expect([sum(all, 'complete'), sum(all, 'failed')]).toEqual([5, 1]);
  });

  test('find a batch by its context, and a callback that failed for good', async () => {
    const { batch } = await failingCallback();
    expect(await query(find('the newest batches for one thing of the app'))).toMatchObject([
      { id: running.id },
    ]);
    expect(await query(find('callbacks that failed for good'))).toEqual([
      { id: batch.id, event: 'complete', callback: 'FailsForGood', error_message: 'never works\uFFFD' },
    ]);
  });

  test('about batches that are over leave out the running one', async () => {
    for (const title of ['how long did they take?', 'the slowest of the week']) {
      const rows = await query(find(title));
      expect(rows.map(({ id }) => id)).toContain(failed.id);
      expect(rows.map(({ id }) => id)).not.toContain(running.id);
    }
  });
});

describe('docs/sql.md', () => {
  test.each([
    'batch_progress',
    'failed_jobs',
    'jobs',
    'batch_rounds',
    'job_rounds',
    'failed_jobs_by_error',
    'idle_batches',
    'jobs_per_minute',
    'limits',
    'limit_keys',
  ])('lists exactly the columns of %s, with their types', async (view) => {
    const { rows } = await world.knex.raw(
      `select column_name as name, replace(data_type, 'timestamp with time zone', 'timestamptz') as type
       from information_schema.columns where table_schema = ? and table_name = ? order by ordinal_position`,
      [world.schema, view],
    );
    expect(documentedColumns(view)).toEqual(rows);
  });

  test('has grants that let a role read the views and nothing else', async () => {
    const role = `reader_${randomBytes(6).toString('hex')}`;
    const grants = blocks(SQL_PAGE)
      .find((sql) => sql.includes('create role'))!
      .replaceAll('dashboards', role)
      .replaceAll('public', world.schema);
    await inSchema(async (trx) => {
      await trx.raw(grants);
      await trx.raw('set local role ??', [role]);
      expect((await trx.raw('select id from batch_progress where id = ?', [failed.id])).rows).toHaveLength(1);
      expect(
        (await trx.raw('select jid from failed_jobs where batch_id = ?', [failed.id])).rows,
      ).toHaveLength(2);
      for (const view of [
        'batch_rounds',
        'failed_jobs_by_error',
        'idle_batches',
        'jobs_per_minute',
        'limits',
        'limit_keys',
      ]) {
        expect((await trx.raw('select * from ??', [view])).rows).toBeInstanceOf(Array);
      }
      for (const refused of [
        'select id from batches',
        'select jid from batch_jobs',
        'select jid from jobs',
        'delete from batch_progress',
      ]) {
        await expect(trx.transaction((savepoint) => savepoint.raw(refused))).rejects.toMatchObject({
          code: '42501',
        });
      }
      await trx.rollback(new Rollback());
    }).catch(expectRollback);
  });
});

describe('a view', () => {
  test('of failures finds those of one batch by the index batch_jobs_errors', async () => {
    await inSchema(async (trx) => {
      // Enough rows that the planner has a choice to make.
      await trx.raw(
        `insert into batches (id, first_execution_run_id, description) values ('large', 'run', 'Large')`,
      );
      await trx.raw(
        `insert into batch_jobs (batch_id, position, jid, worker_class, args, status, error_class, finished_at)
         select 'large', n, 'large/' || n, 'Noop', '[]', case when n % 1000 = 0 then 'failed' else 'complete' end,
           case when n % 1000 = 0 then 'HopelessError' end, now()
         from generate_series(1, 20000) n`,
      );
      await trx.raw('analyze batch_jobs');
      for (const title of ['which failed, and why?', 'the next page']) {
        const plan = await explain(trx, find(title).replaceAll(EXAMPLE_ID, 'large'));
        expect({ title, indexes: namesIn(plan, 'Index Name') }).toEqual({
          title,
          indexes: ['batch_jobs_errors'],
        });
      }
      await trx.rollback(new Rollback());
    }).catch(expectRollback);
  });

  test('of failures by error tells kinds apart, and not numbers, UUIDs, dates and hashes', async () => {
    const kinds = async (messages: string[]) => {
      const { batch } = await runBatch(world, async (jobs) => {
        for (const message of messages) await jobs.failForGood.performAsync(message);
      });
      const rows = await query(
        `select jobs, error_pattern from failed_jobs_by_error where batch_id = '${EXAMPLE_ID}'
         order by first_position`,
        batch.id,
      );
      return rows.map(({ jobs, error_pattern }) => [jobs, error_pattern]);
    };
    expect(
      await kinds([
        'entry 17',
        'entry 4,711',
        'file 0f8fad5b-d9cd-469f-a165-70867728950e',
        'file deadbeef-0000-4000-8000-000000000000',
        'day 2026-11-23',
        'commit 9c4e9b4aa0',
        'retry5',
        'a decade',
      ]),
    ).toEqual([
      [1, 'entry # cannot succeed'],
      [1, 'entry #,# cannot succeed'],
      [2, 'file # cannot succeed'],
      [1, 'day # cannot succeed'],
      [1, 'commit # cannot succeed'],
      [1, 'retry# cannot succeed'],
      [1, 'a decade cannot succeed'],
    ]);
  });

  test('of jobs a minute counts what failed in a round before, too', async () => {
    const { batch } = await runBatch(world, async (jobs) => {
      await jobs.noop.performAsync(1);
      await jobs.failForGood.performAsync(2);
    });
    await batch.retryFailed();
    await batch.wait({ timeout: PATIENCE });
    const [row] = await query(
      `select sum(complete)::int as complete, sum(failed)::int as failed, avg(mean_duration) > interval '0' as takes_time
       from jobs_per_minute where batch_id = '${EXAMPLE_ID}'`,
      batch.id,
    );
    expect(row).toEqual({ complete: 1, failed: 2, takes_time: true });
  });

  test('shows nothing of a batch that is being pruned', async () => {
    await inSchema(async (trx) => {
      await trx.raw(
        `update batches set pruned_at = now(), updated_at = now() - interval '1 hour' where id = ?`,
        [failed.id],
      );
      for (const view of ['failed_jobs_by_error', 'jobs_per_minute']) {
        expect((await trx.raw('select 1 from ?? where batch_id = ?', [view, failed.id])).rows).toEqual([]);
      }
      await trx.rollback(new Rollback());
    }).catch(expectRollback);
  });

  test('of batches reads no job', async () => {
    await inSchema(async (trx) => {
      const plan = await explain(trx, `select * from batch_progress where id = '${failed.id}'`);
      expect(namesIn(plan, 'Relation Name')).toEqual(['batch_callbacks', 'batches']);
    });
  });
});

async function failingCallback(): Promise<{ batch: Batch }> {
  const batch = await world.batches.create({ description: 'Its callback fails' });
  await batch.on('complete', world.fixtures.callbacks.failsForGood);
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  return { batch };
}

/** Ends a transaction whose changes are of no use to others. */
class Rollback extends Error {}

function expectRollback(error: unknown): void {
  if (!(error instanceof Rollback)) throw error;
}

function blocks(page: string): string[] {
  return [...page.matchAll(/^```sql\n(.*?)^```$/gms)].map(([, sql]) => sql!);
}

function selects(page: string): string[] {
  const statements = blocks(page).flatMap((sql) => sql.split(/;$/m).map((statement) => statement.trim()));
  return statements.filter((sql) => /^(--.*\n)*(select|with)\b/.test(sql));
}

function titleOf(sql: string): string {
  return /^-- (.*)/.exec(sql)?.[1] ?? sql;
}

/** The query of docs/sql.md whose comment begins so. */
function find(title: string): string {
  const sql = selects(SQL_PAGE).find((sql) => titleOf(sql).startsWith(title));
  if (sql === undefined) throw new Error(`docs/sql.md has no query "${title}".`);
  return sql;
}

/** The table under a view's heading, in the page's order. */
function documentedColumns(view: string): { name: string; type: string }[] {
  const section = SQL_PAGE.split(/^## /m).find((text) => text.startsWith(`${view}\n`))!;
  return [...section.matchAll(/^\| `(\w+)` +\| `([\w ]+)` +\| \S/gm)].map(([, name, type]) => ({
    name: name!,
    type: type!,
  }));
}

async function explain(trx: Knex.Transaction, sql: string): Promise<unknown> {
  const { rows } = await trx.raw(`explain (format json) ${sql}`);
  return rows[0]['QUERY PLAN'];
}

/** The values of one key anywhere in a plan, each once. */
function namesIn(plan: unknown, key: string): string[] {
  const names = new Set<string>();
  JSON.stringify(plan, (name, value: unknown) => {
    if (name === key) names.add(String(value));
    return value;
  });
  return [...names].sort();
}
