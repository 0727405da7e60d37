import knexFactory, { type Knex } from 'knex';
import { Client } from 'pg';
import { InvalidOptionError } from '../errors.ts';
import { isOwnKnex, ownKnex } from './own-knex.ts';

/** What the library's queries need: the connection pool, and the schema that holds the tables. */
export interface Database {
  /** For the library's own statements: settings of the app change nothing in them. See `ownKnex`. */
  readonly knex: Knex;
  /** The app's, over the same pool: callbacks get transactions of it. */
  readonly app: Knex;
  readonly schema: string;
  /** Closes the pool if this library opened it; leaves an injected Knex instance open. */
  close(): Promise<void>;
}

export interface DatabaseOptions {
  /** Schema that holds the tables and views. @default 'public' */
  readonly schema?: string;
  /** Most connections of a pool that this library opens from a connection string. @default 10 */
  readonly poolSize?: number;
}

export const DEFAULT_SCHEMA = 'public';
const DEFAULT_POOL_SIZE = 10;

/**
 * Wraps an app's Knex instance, or opens a pool from a connection string. Does not connect yet.
 *
 * @throws {@link InvalidOptionError} for anything else, for a Knex instance that cannot serve (see {@link assertUsable}),
 * and for a schema name that is not a plain identifier
 */
export function openDatabase(database: string | Knex, options: DatabaseOptions = {}): Database {
  const { schema = DEFAULT_SCHEMA, poolSize = DEFAULT_POOL_SIZE } = options;
  if (typeof schema !== 'string' || !/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw new InvalidOptionError('schema', 'a lower-case Postgres identifier such as "batch_jobs"', schema);
  }
  if (!Number.isInteger(poolSize) || poolSize < 1) {
    throw new InvalidOptionError('poolSize', 'a whole number of at least 1', poolSize);
  }
  if (typeof database === 'function' && typeof database.raw === 'function') {
    if (!isOwnKnex(database)) assertUsable(database);
    const knex = isOwnKnex(database) ? database : ownKnex(database, schema);
    return { knex, app: database, schema, close: async () => {} };
  }
  if (typeof database !== 'string' || !/^postgres(ql)?:\/\//.test(database)) {
    // Without the credentials, and of an object not even its parts: a password must not get into a log.
    throw new InvalidOptionError(
      'database',
      'a Knex instance or a connection string that starts with postgres://',
      typeof database === 'string' ? withoutPassword(database) : typeof database,
    );
  }
  if (!isReadable(database)) {
    throw new InvalidOptionError(
      'database',
      'a connection string that can be read, such as postgres://user:password@host:5432/name',
      withoutPassword(database),
    );
  }
  const app = knexFactory({
    client: 'pg',
    connection: {
      connectionString: database,
      application_name: 'temporal-batch-jobs',
      // A server that vanished without a word must not keep a connection of the pool for ever.
      keepAlive: true,
    },
    pool: { min: 0, max: poolSize },
    acquireConnectionTimeout: 15_000,
    // Knex prints connection errors to stdout; they reach the caller as exceptions, and stdout is the app's.
    log: { error: () => {}, warn: () => {} },
  });
  return { knex: ownKnex(app, schema), app, schema, close: () => app.destroy() };
}

/** Dialects of Knex that speak to Postgres through `pg`. */
const POSTGRES = 'postgresql';

/**
 * Refuses Knex instances that seem to work and lose jobs. In a transaction, other processes cannot see the rows; a
 * rollback removes rows of jobs that the batch knows of.
 */
function assertUsable(knex: Knex): void {
  const { client } = knex;
  const refuse = (expected: string, hint: string) => {
    throw new InvalidOptionError('database', `a Knex instance ${expected}`, knex, hint);
  };
  if (knex.isTransaction === true) {
    refuse(
      'and not a transaction',
      'Workers cannot see the rows of a transaction before it commits, and a rollback would remove rows of jobs that ' +
        'run. Pass the instance that opened the transaction, and create the batch after the commit.',
    );
  }
  if (client?.dialect !== POSTGRES) {
    refuse(`for Postgres and not for ${client?.dialect ?? 'nothing'}`, "Create it with { client: 'pg' }.");
  }
  if (client.config?.connection && !client.pool) {
    refuse('that was not destroyed', 'Close clients and workers before you call knex.destroy().');
  }
}

/** Asked now, and not when a connection is needed; of the driver, which takes more than a URL may be. */
function isReadable(connectionString: string): boolean {
  try {
    return Boolean(new Client({ connectionString }));
  } catch {
    return false;
  }
}

/** Where a password ends nobody can tell of what cannot be read: at the last place where it may. */
function withoutPassword(connectionString: string): string {
  return connectionString.replace(/\/\/.*@/s, '//***@');
}
