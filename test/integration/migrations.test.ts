import { randomBytes } from 'node:crypto';
import knexFactory, { type Knex } from 'knex';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { migrate, migrationSql, migrationStatus } from '../../src/index.ts';
import { runCode } from '../support/processes.ts';

let knex: Knex;
const schemas: string[] = [];
beforeAll(() => {
  knex = knexFactory({ client: 'pg', connection: inject('databaseUrl'), pool: { min: 0, max: 5 } });
});
afterAll(async () => {
  for (const schema of schemas) await knex.raw('drop schema if exists ?? cascade', [schema]);
  await knex.destroy();
});

function newSchema(): string {
  const schema = `migrate_${randomBytes(6).toString('hex')}`;
  schemas.push(schema);
  return schema;
}

async function relationsOf(schema: string): Promise<string[]> {
  const { rows } = await knex.raw(
    `select relname from pg_class where relnamespace = ?::regnamespace and relkind in ('r', 'v') order by 1`,
    [schema],
  );
  return rows.map(({ relname }: { relname: string }) => relname);
}

test('20 processes that migrate the same schema at once all succeed, and one does the work', async () => {
  const schema = newSchema();
  const script =
    "import { migrate } from './src/database/migrate.js';" +
    'const { applied } = await migrate(process.env.DATABASE_URL, { schema: process.env.SCHEMA });' +
    'process.stdout.write(String(applied.length));';
  const runs = await Promise.all(
    Array.from({ length: 20 }, () =>
      runCode(script, { env: { DATABASE_URL: inject('databaseUrl'), SCHEMA: schema } }),
    ),
  );
  expect(runs.filter(({ exitCode }) => exitCode !== 0).map(({ stderr }) => stderr)).toEqual([]);
  const applied = runs.map(({ stdout }) => Number(stdout)).toSorted((a, b) => a - b);
  expect(applied).toEqual([...Array.from({ length: 19 }, () => 0), 1]);
});

test('a schema that is migrated twice is left as it is', async () => {
  const schema = newSchema();
  expect((await migrate(knex, { schema })).applied).toEqual(['0001_create_batches']);
  expect((await migrate(knex, { schema })).applied).toEqual([]);
  expect(await migrationStatus(knex, { schema })).toEqual({ applied: ['0001_create_batches'], pending: [] });
});

test('the status of a schema that does not exist lists all migrations as pending', async () => {
  expect(await migrationStatus(knex, { schema: newSchema() })).toEqual({
    applied: [],
    pending: ['0001_create_batches'],
  });
});

test('migrationSql makes the same tables and views as migrate, which then has nothing left to do', async () => {
  const [byCall, bySql] = [newSchema(), newSchema()];
  await migrate(knex, { schema: byCall });
  await knex.raw(await migrationSql({ schema: bySql }));
  expect(await relationsOf(bySql)).toEqual(await relationsOf(byCall));
  expect((await migrate(knex, { schema: bySql })).applied).toEqual([]);
});

test('the down migration leaves nothing but the version table', async () => {
  const { BatchMigrationSource } = await import('../../migrations/index.ts');
  const schema = newSchema();
  await migrate(knex, { schema });
  const migration = await new BatchMigrationSource(schema).getMigration('0001_create_batches');
  await migration.down!(knex);
  expect(await relationsOf(schema)).toEqual(['batch_jobs_migrations', 'batch_jobs_migrations_lock']);
});

test('the checks refuse states that cannot be, and a deleted batch takes its jobs along', async () => {
  const schema = newSchema();
  await migrate(knex, { schema });
  const table = (name: string) => knex.withSchema(schema).from(name);
  await table('batches').insert({ id: 'b', first_execution_run_id: 'r', description: 'd', total: 1 });
  await table('batch_jobs').insert({ batch_id: 'b', position: 1, jid: 'b/1', worker_class: 'W', args: '[]' });
  const refused = async (query: Promise<unknown>) => expect(query).rejects.toMatchObject({ code: '23514' });
  await refused(table('batches').where('id', 'b').update({ status: 'done' }).then());
  await refused(table('batches').where('id', 'b').update({ status: 'complete' }).then());
  await refused(table('batches').where('id', 'b').update({ completed_count: 2 }).then());
  await refused(table('batch_jobs').where('batch_id', 'b').update({ status: 'complete' }).then());
  await refused(
    table('batch_jobs')
      .where('batch_id', 'b')
      .update({ status: 'failed', finished_at: knex.fn.now() })
      .then(),
  );
  await table('batches').where('id', 'b').delete();
  expect(await table('batch_jobs').select('jid')).toEqual([]);
});
