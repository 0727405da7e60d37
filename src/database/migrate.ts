import knexFactory, { type Knex } from 'knex';
import { BatchMigrationSource, MIGRATION_NAMES, MIGRATIONS_TABLE } from '../../migrations/index.ts';
import { MigrationsPendingError } from '../errors.ts';
import { openDatabase, type Database, type DatabaseOptions } from './connect.ts';

/** Which migrations a schema has, and which this version would add. */
export interface MigrationStatus {
  readonly applied: string[];
  readonly pending: string[];
}

/**
 * Brings a schema up to this version, in one transaction on one connection. Safe to run from many processes at once: an
 * advisory lock lets one work while the others wait and then find nothing to do. (Without it, plain Knex fails in all
 * but one process.) The role needs no right to create schemas where the schema exists.
 *
 * @returns the names of the migrations that this call applied
 * @throws {@link DatabaseUnavailableError} @throws {@link DatabaseRefusedError}
 * @example await migrate(process.env.DATABASE_URL, { schema: 'batch_jobs' });
 */
export async function migrate(
  database: string | Knex,
  options: DatabaseOptions = {},
): Promise<{ applied: string[] }> {
  return withDatabase(database, options, ({ knex, schema }) =>
    knex.transaction(async (trx) => {
      // The lock of a transaction, not of a session: that would need a connection beside this one, and a pooler that
      // keeps sessions.
      await trx.raw(`select pg_advisory_xact_lock(hashtext('temporal-batch-jobs'), hashtext(?))`, [schema]);
      // The views have a backslash in a text.
      await trx.raw('set local standard_conforming_strings = on');
      // "if not exists" would ask for the right to create schemas, even where the schema exists.
      const { rowCount } = await trx.raw('select from pg_namespace where nspname = ?', [schema]);
      if (rowCount === 0) await trx.raw('create schema ??', [schema]);
      const [, applied] = await trx.migrate.latest(migrationConfig(schema));
      return { applied };
    }),
  );
}

/** Tells which migrations a schema has and which it lacks. Changes nothing. */
export async function migrationStatus(
  database: string | Knex,
  options: DatabaseOptions = {},
): Promise<MigrationStatus> {
  return withDatabase(database, options, readStatus);
}

/** The SQL of all migrations for people with a migrator of their own. */
export async function migrationSql(options: DatabaseOptions = {}): Promise<string> {
  const { schema } = openDatabase('postgres://unused', options);
  const statements: string[] = [];
  const recorder = knexFactory({ client: 'pg' });
  // Only `raw` is used by migrations; it renders its bindings here instead of running them.
  const recording = {
    raw: (sql: string, bindings: Knex.ValueDict) => {
      statements.push(recorder.raw(sql, bindings).toQuery().trim());
      return Promise.resolve();
    },
  } as unknown as Knex;
  await recording.raw(VERSION_TABLES, { schema, table: MIGRATIONS_TABLE, lock: `${MIGRATIONS_TABLE}_lock` });
  const source = new BatchMigrationSource(schema);
  for (const name of await source.getMigrations()) {
    statements.push(`-- ${name}`);
    await (await source.getMigration(name)).up(recording);
    await recording.raw(
      'insert into :schema:.:table: (name, batch, migration_time) values (:name, 1, current_timestamp);',
      { schema, table: MIGRATIONS_TABLE, name },
    );
  }
  await recorder.destroy();
  return `${[`create schema if not exists "${schema}";`, ...statements].join('\n\n')}\n`;
}

/**
 * Checks that a schema has every migration of this version.
 *
 * @throws {@link MigrationsPendingError} with the command to run, when it has not
 * @internal
 */
export async function assertMigrated(database: Database): Promise<void> {
  const { pending } = await readStatus(database);
  if (pending.length > 0) throw new MigrationsPendingError(database.schema, pending);
}

/** What Knex creates by itself when it migrates, so that clients, workers and later migrations find it. */
const VERSION_TABLES = `create table :schema:.:table: (
  id serial primary key, name varchar(255), batch integer, migration_time timestamptz
);

create table :schema:.:lock: (index serial primary key, is_locked integer);

insert into :schema:.:lock: (is_locked) values (0);`;

async function readStatus({ knex, schema }: Database): Promise<MigrationStatus> {
  // The existence check comes first: selecting from a missing table is an error in the host's log. In the catalog, which
  // also has tables that the role may not read: those are not missing.
  const { rowCount } = await knex.raw('select from pg_tables where schemaname = ? and tablename = ?', [
    schema,
    MIGRATIONS_TABLE,
  ]);
  const applied: string[] =
    rowCount > 0 ? await knex.withSchema(schema).table(MIGRATIONS_TABLE).orderBy('id').pluck('name') : [];
  return { applied, pending: MIGRATION_NAMES.filter((name) => !applied.includes(name)) };
}

function migrationConfig(schema: string): Knex.MigratorConfig {
  return {
    migrationSource: new BatchMigrationSource(schema),
    schemaName: schema,
    tableName: MIGRATIONS_TABLE,
    // A newer release may have run more migrations than this one knows: that is fine, its changes are additive.
    disableMigrationsListValidation: true,
  };
}

async function withDatabase<T>(
  database: string | Knex,
  options: DatabaseOptions,
  run: (database: Database) => Promise<T>,
): Promise<T> {
  const opened = openDatabase(database, { poolSize: 1, ...options });
  try {
    return await run(opened);
  } finally {
    await opened.close();
  }
}
