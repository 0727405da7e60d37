import { expect, test } from 'vitest';
import { MIGRATION_NAMES, MIGRATIONS_TABLE, BatchMigrationSource } from '../../migrations/index.ts';
import { migrationSql } from '../../src/index.ts';

test('creates the schema first', async () => {
  expect(await migrationSql({ schema: 'elsewhere' })).toMatch(/^create schema if not exists "elsewhere";\n/);
});

test('is for the schema public by default', async () => {
  expect(await migrationSql()).toContain('create table "public".batches (');
});

test.each(['table "elsewhere".batches', 'table "elsewhere".batch_jobs', 'table "elsewhere".batch_callbacks'])(
  'creates the %s once',
  async (created) => {
    const sql = await migrationSql({ schema: 'elsewhere' });
    expect(sql.split(`create ${created} (`)).toHaveLength(2);
  },
);

test.each(['batch_progress', 'failed_jobs'])('creates the view %s once', async (view) => {
  const sql = await migrationSql({ schema: 'elsewhere' });
  expect(sql.split(`create view "elsewhere".${view} as`)).toHaveLength(2);
});

test('names the schema wherever it names a table or view', async () => {
  const sql = await migrationSql({ schema: 'elsewhere' });
  const statements = sql.replaceAll(/--.*$/gm, '');
  const relations = [...statements.matchAll(/(?:\bfrom|\bon|references|table|view)\s+("?\w+"?\.)?(\w+)/g)];
  const ours = relations.filter(([, , name]) => /^(batch|batches|failed_jobs|batch_\w+)$/.test(name!));
  expect(ours.length).toBeGreaterThan(8);
  expect(ours.filter(([, schema]) => schema !== '"elsewhere".').map(([text]) => text)).toEqual([]);
});

test('leaves no placeholder in the text', async () => {
  const sql = await migrationSql({ schema: 'elsewhere' });
  expect(sql.match(/:schema|\$\d|\?\?/g)).toBeNull();
});

test('says which statements belong to which migration, in order', async () => {
  const sql = await migrationSql();
  const names = [...sql.matchAll(/^-- (\d{4}_\w+)$/gm)].map(([, name]) => name);
  expect(names).toEqual(MIGRATION_NAMES);
  expect(names).toEqual(names.toSorted((a, b) => a!.localeCompare(b!)));
});

test('records each migration in the version table, so that clients and workers accept the schema', async () => {
  const sql = await migrationSql({ schema: 'elsewhere' });
  expect(sql).toMatch(new RegExp(`create table (if not exists )?"elsewhere"\\."?${MIGRATIONS_TABLE}"? `));
  const recorded = new RegExp(`insert into "elsewhere"\\."?${MIGRATIONS_TABLE}"?[^;]*`, 'gi');
  const inserts = sql.match(recorded)?.join('\n') ?? '';
  expect(MIGRATION_NAMES.filter((name) => !inserts.includes(`'${name}'`))).toEqual([]);
});

test('refuses a schema that is not a plain name', async () => {
  await expect(migrationSql({ schema: 'a"; drop schema public; --' })).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    option: 'schema',
  });
});

test('knows migrations by names without a file extension', async () => {
  const source = new BatchMigrationSource('public');
  const names = await source.getMigrations();
  expect(names).toEqual(MIGRATION_NAMES);
  expect(names.every((name) => /^\d{4}_[a-z_]+$/.test(name))).toBe(true);
  await expect(source.getMigration('0000_unknown')).rejects.toThrow('Unknown migration "0000_unknown"');
});
