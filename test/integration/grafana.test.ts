import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Client, type FieldDef } from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Batch } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { interpolate, readDashboard, type DashboardChoice, type DashboardPanel } from '../support/grafana.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

type Row = Record<string, unknown>;

const { uid, panels, templating } = await readDashboard();
const queries = panels.flatMap((panel) =>
  (panel.targets ?? []).map((target) => ({ title: panel.title, panel, ...target })),
);
const variable = (name: string) => templating.list.find((known) => known.name === name)!;

/** Postgres's numbers for the types of a time axis: timestamptz, and float8 or numeric for seconds. */
const TIME_TYPES = [1184, 701, 1700];

const { gate, jobs: gated } = createGates();
const role = `grafana_${randomBytes(6).toString('hex')}`;

let world: World;
let failed: Batch;
let running: Batch;
let reader: Client;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gated)] });
  ({ batch: failed } = await runBatch(
    world,
    async (jobs) => {
      for (let i = 1; i <= 6; i++) await (i % 3 === 0 ? jobs.failForGood : jobs.noop).performAsync(i);
    },
    { id: 'rescore:2026-11-23', description: 'The failed one' },
  ));
  running = await createBatch(world, { description: 'The running one' });
  await running.jobs(async () => {
    for (let i = 1; i <= 3; i++) await world.fixtures.jobs.noop.performAsync(i);
    await gated.pass.performAsync('end');
  });
  await eventually(async () => expect(await running.progress()).toMatchObject({ complete: 3 }));
  await world.knex.transaction(async (trx) => {
    await trx.raw('set local search_path = ??', [world.schema]);
    await trx.raw(await grants());
  });
  reader = new Client({ connectionString: inject('databaseUrl') });
  await reader.connect();
  await reader.query(`set role ${role}; set search_path to ${world.schema}; set timezone to utc`);
});
afterAll(async () => {
  await reader.end();
  await world.knex.raw(`drop owned by ${role}; drop role ${role}`);
  gate('end').open();
  await running.wait({ timeout: PATIENCE });
  await world[Symbol.asyncDispose]();
});

/** The role of docs/sql.md, under a name and for a schema of the test's own. */
async function grants(): Promise<string> {
  const page = await readFile(new URL('../../docs/sql.md', import.meta.url), 'utf8');
  const block = [...page.matchAll(/^```sql\n(.*?)^```$/gms)].find(([, sql]) => sql!.includes('create role'));
  return block![1]!.replaceAll('dashboards', role).replaceAll('public', world.schema);
}

function choice(batch: Batch, idle = '1 minute'): DashboardChoice {
  const to = new Date(Date.now() + 60_000);
  return { from: new Date(to.getTime() - 3_600_000), to, variables: { batch: batch.id, idle } };
}

async function ask(sql: string, batch = failed): Promise<{ rows: Row[]; fields: FieldDef[] }> {
  return reader.query(interpolate(sql, choice(batch)));
}

async function show(title: string, batch = failed): Promise<Row[]> {
  const query = queries.find((known) => known.title === title);
  if (!query) throw new Error(`The dashboard has no panel "${title}".`);
  return (await ask(query.rawSql, batch)).rows;
}

describe('every query of the dashboard', () => {
  test.each(queries.map(({ title, rawSql, format, panel }) => ({ title, rawSql, format, panel })))(
    'runs for the read-only role, and has the columns that its panel formats: $title',
    async ({ rawSql, format, panel }) => {
      const { fields } = await ask(rawSql);
      const names = fields.map(({ name }) => name);
      const formatted = panel.fieldConfig!.overrides.map(({ matcher }) => matcher.options);
      expect(names).toEqual(expect.arrayContaining(formatted));
      if (format === 'time_series') {
        expect(names[0]).toBe('time');
        expect(TIME_TYPES).toContain(fields[0]!.dataTypeID);
      }
    },
  );

  test.each(queries.map(({ title, rawSql }) => ({ title, rawSql })))(
    'is short, whatever there is: $title',
    ({ rawSql }) => {
      // A list has a limit; all else is one row, or one a minute, a callback or a round.
      expect(rawSql).toMatch(/\blimit \d+$|\bcount\(|\bsum\(|\bid = |jobs_per_minute|batch_rounds/);
    },
  );

  test('finds the batches to choose from', async () => {
    const { rows } = await ask(variable('batch').query);
    expect(rows).toEqual([
      { __value: running.id, __text: `The running one (${running.id})` },
      { __value: failed.id, __text: `The failed one (${failed.id})` },
    ]);
  });
});

describe('the dashboard', () => {
  test('shows what runs', async () => {
    expect(await show('Batches that run')).toEqual([{ batches: '1' }]);
    expect(await show('Jobs pending')).toEqual([{ jobs: '1' }]);
    expect(await show('What runs')).toMatchObject([
      { id: running.id, status: 'running', total: 4, complete: 3, pending: 1, percent: '75.0' },
    ]);
  });

  test('shows what does not move once it has been idle for longer than was chosen', async () => {
    const moved = (minutesAgo: number) =>
      world.knex
        .withSchema(world.schema)
        .from('batches')
        .where('id', running.id)
        .update('updated_at', world.knex.raw(`now() - ? * interval '1 minute'`, [minutesAgo]));
    await moved(0);
    expect(await show('Batches that do not move')).toEqual([{ batches: '0' }]);
    await moved(5);
    expect(await show('Batches that do not move')).toEqual([{ batches: '1' }]);
    expect(await show('What does not move, and why')).toMatchObject([
      { id: running.id, reason: 'jobs_open' },
    ]);
    const patient = queries.find(({ title }) => title === 'Batches that do not move')!.rawSql;
    const { rows } = await reader.query(interpolate(patient, choice(running, '10 minutes')));
    expect(rows).toEqual([{ batches: '0' }]);
  });

  test('shows what ended, and how', async () => {
    expect(await show('Batches that failed')).toEqual([{ batches: '1' }]);
    expect(await show('Jobs of batches that ended')).toEqual([{ jobs: '6' }]);
    const sum = (rows: Row[], column: string) => rows.reduce((total, row) => total + Number(row[column]), 0);
    const minutes = await show('Jobs a minute');
    expect([sum(minutes, 'complete'), sum(minutes, 'failed')]).toEqual([7, 2]);
    const outcomes = await show('Batches by outcome');
    expect([sum(outcomes, 'complete'), sum(outcomes, 'failed')]).toEqual([0, 1]);
    expect(await show('Failures by kind')).toMatchObject([
      { batch_id: failed.id, jobs: 2, error_class: 'HopelessError', error_pattern: '# cannot succeed' },
    ]);
    expect(await show('The slowest batches')).toMatchObject([{ id: failed.id, status: 'failed' }]);
  });

  test('shows one batch', async () => {
    expect(await show('Progress')).toEqual([{ percent: '100.0' }]);
    expect(await show('Jobs')).toEqual([{ total: 6, complete: 4, failed: 2, cancelled: 0, pending: 0 }]);
    expect(await show('How it stands')).toMatchObject([{ status: 'failed', round: 1, eta: null }]);
    expect(await show('Its failures by kind')).toMatchObject([
      { jobs: 2, error_message: '3 cannot succeed' },
    ]);
    expect(await show('Its failed jobs')).toMatchObject([{ args: [3] }, { args: [6] }]);
    expect(await show('Its callbacks')).toMatchObject([
      { event: 'complete', status: 'skipped' },
      { event: 'failure', status: 'completed', attempts: 1 },
      { event: 'settled', status: 'completed' },
    ]);
    expect(await show('Its rounds')).toMatchObject([{ round: 1, status: 'failed' }]);
    expect(await show('Its jobs a minute')).not.toEqual([]);
    expect(await show('How long its jobs take')).not.toEqual([]);
  });

  test('asks one data source, which people choose, and has a place for each panel', () => {
    const source = { type: 'grafana-postgresql-datasource', uid: '${datasource}' };
    expect(variable('datasource')).toMatchObject({ type: 'datasource', query: source.type });
    for (const { title, panel, datasource } of queries) {
      expect({ title, of: [panel.datasource, datasource] }).toEqual({ title, of: [source, source] });
    }
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    expect(overlaps(panels)).toEqual([]);
    expect(uid).toBe('batch-jobs');
    expect(variable('idle').query.split(',')).toContain(variable('idle').current.value);
  });
});

/** Pairs of panels that lie upon each other, or reach over the 24 columns. */
function overlaps(all: readonly DashboardPanel[]): string[] {
  const wide = all.filter(({ gridPos: { x, w } }) => x + w > 24).map(({ title }) => title);
  const pairs = all.flatMap((one, index) =>
    all
      .slice(index + 1)
      .filter(({ gridPos: b }) => {
        const a = one.gridPos;
        return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
      })
      .map(({ title }) => `${one.title} / ${title}`),
  );
  return [...wide, ...pairs];
}
