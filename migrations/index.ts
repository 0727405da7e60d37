import type { Knex } from 'knex';
import * as createBatches from './0001-create-batches.ts';

interface SchemaMigration {
  up(knex: Knex, schema: string): Promise<void>;
  down(knex: Knex, schema: string): Promise<void>;
}

/** In order. Names are recorded in the version table: never rename or edit a released one. */
const MIGRATIONS: ReadonlyMap<string, SchemaMigration> = new Map([['0001_create_batches', createBatches]]);

/** Names of all migrations of this version, in order. */
export const MIGRATION_NAMES: readonly string[] = [...MIGRATIONS.keys()];

/** Table in the library's schema that records which migrations ran. */
export const MIGRATIONS_TABLE = 'batch_jobs_migrations';

/**
 * The migrations as a Knex `MigrationSource` for one schema. Names carry no file extension, so that the sources in
 * development and the compiled files in production are the same migrations.
 */
export class BatchMigrationSource implements Knex.MigrationSource<string> {
  readonly #schema: string;

  constructor(schema: string) {
    this.#schema = schema;
  }

  async getMigrations(): Promise<string[]> {
    return [...MIGRATION_NAMES];
  }

  getMigrationName(name: string): string {
    return name;
  }

  async getMigration(name: string): Promise<Knex.Migration> {
    const migration = MIGRATIONS.get(name);
    if (!migration) throw new Error(`Unknown migration "${name}".`);
    const schema = this.#schema;
    return {
      up: (knex) => migration.up(knex, schema),
      down: (knex) => migration.down(knex, schema),
    };
  }
}
