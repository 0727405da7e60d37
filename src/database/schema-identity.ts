import type { Database } from './connect.ts';

/**
 * Says which schema of which database a batch is in: `app.batch_jobs/3f9c12ab77d4`. The names are for people; the random
 * ID after the slash decides, so that a database or a schema may be renamed.
 */
export type SchemaRef = string;

/** Whether both are the same schema, whatever it was called at the time. */
export function isSameSchema(one: SchemaRef, other: SchemaRef): boolean {
  return idOf(one) === idOf(other);
}

/** For messages: `app.batch_jobs (ID 3f9c12ab77d4)`. */
export function describeSchema(ref: SchemaRef): string {
  const id = idOf(ref);
  return `${ref.slice(0, -id.length - 1)} (ID ${id})`;
}

function idOf(ref: SchemaRef): string {
  return ref.slice(ref.lastIndexOf('/') + 1);
}

/** The identity of a client's or worker's own schema: read once, when it is first needed. */
export class SchemaIdentity {
  readonly #database: Database;
  #ref: Promise<SchemaRef> | undefined;

  constructor(database: Database) {
    this.#database = database;
  }

  /** @throws what the driver throws; the next call reads again */
  ref(): Promise<SchemaRef> {
    return (this.#ref ??= this.#read());
  }

  /** Reads it again: somebody may have dropped the schema and migrated it anew, beneath a client that is open. */
  async reread(): Promise<SchemaRef> {
    this.#ref = this.#read();
    return this.#ref;
  }

  async #read(): Promise<SchemaRef> {
    try {
      return await selectSchemaRef(this.#database);
    } catch (error) {
      this.#ref = undefined;
      throw error;
    }
  }
}

export async function selectSchemaRef({
  knex,
  schema,
}: Pick<Database, 'knex' | 'schema'>): Promise<SchemaRef> {
  const { rows } = await knex.raw(
    `select current_database() || '.' || :name || '/' || id as ref from :schema:.batch_schema`,
    { schema, name: schema },
  );
  return rows[0].ref;
}
