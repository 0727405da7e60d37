import type { EventEmitter } from 'node:events';
import type { Knex } from 'knex';
import { InvalidOptionError, type BatchError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import { sqlstateOf, toDatabaseError } from './database-errors.ts';
import { PARSERS, parseIsoTime, TIMESTAMPTZ, type Parse } from './values.ts';

/** A connection of the driver, as far as it is used here. */
interface Connection {
  /** Knex: the pool drops the connection in place of giving it out again. */
  __knex__disposed?: unknown;
  readonly connectionParameters?: { readonly query_timeout?: number | false };
  getTypeParser?(oid: number, format: string): Parse;
}

interface Response {
  readonly rows: Record<string, unknown>[];
  readonly fields: readonly { readonly name: string; readonly dataTypeID: number }[];
}

/** A statement on its way to the driver. */
interface Statement {
  sql: string;
  bindings?: readonly unknown[];
  options?: Readonly<Record<string, unknown>>;
  response?: Response;
}

interface Pool {
  readonly max?: number;
  /** What is in use; an entry is made anew each time that a connection is given out. */
  readonly used?: readonly unknown[];
}

/** What of Knex's client is used and replaced here. Its types leave most of it out. */
interface Client extends EventEmitter {
  config: Readonly<Record<string, unknown>>;
  pool?: Pool | undefined;
  version?: string | undefined;
  readonly transacting?: boolean;
  query(connection: Connection, statement: Statement | string): Promise<unknown>;
  _query(connection: Connection, statement: Statement): Promise<Statement>;
  _stream(connection: Connection, statement: Statement, stream: EventEmitter, options: object): Promise<void>;
  transaction(container: unknown, config: unknown, outer: unknown): Transaction;
  acquireConnection(): Promise<Connection>;
  releaseConnection(connection: Connection): Promise<void>;
}

type ClientClass = new (config: object) => Client;

interface Transaction {
  readonly isolationLevel?: string;
  readonly readOnly?: boolean;
  begin(connection: Connection): Promise<unknown>;
  query(connection: Connection, sql: string): Promise<unknown>;
}

/** Option of a statement on the connection of a transaction that is not the library's. */
export const IN_TRANSACTION = { isInTransaction: true } as const;

/** Longer than any statement: the driver has no value for "never" that would override that of the connection. */
const NO_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * After these a statement is repeated in a transaction whose settings are the library's: a statement or lock timeout
 * of the role, the database or the connection, and a conflict under an isolation level that they set.
 */
const BY_SETTINGS = new Set(['57014', '55P03', '40001']);

/** After these a connection leads to a server that serves no more, or not this session: a new one may reach another. */
const CONNECTION_IS_USELESS = /^(08|25006|25P03|25P04|57P0)/;

/** How often the app's hold on a pool of one connection is looked at. */
const STARVED_POLL_MS = 250;

const OURS = new WeakSet<object>();
const CLASSES = new WeakMap<object, ClientClass>();
/** Connections of each pool that the library uses now. */
const HELD = new WeakMap<object, number>();

/** The library's Knex, over the pool of the app's. @see ownKnex */
export function isOwnKnex(knex: Knex): boolean {
  return OURS.has(knex);
}

/** Most connections of a Knex instance's pool; undefined where that has no limit that can be read. */
export function poolMaxOf(knex: Knex): number | undefined {
  const { pool, config } = knex.client as Client;
  const native = config['connectionPool'] as { options?: { max?: unknown } } | undefined;
  const max = pool?.max ?? native?.options?.max;
  return typeof max === 'number' ? max : undefined;
}

/**
 * A Knex over the pool of the app's, for the library's own statements. Settings of the app's Knex, driver, role,
 * database and session change nothing in them:
 *
 * - No `wrapIdentifier`, `postProcessResponse` or `returning` of the app's Knex, and no type parser of its driver.
 * - No statement, lock or transaction timeout, and no isolation level: they are set in each transaction of the library,
 *   and a single statement that meets them is repeated in such a transaction. Nothing is set in the session, so that
 *   this works through PgBouncer in transaction mode.
 * - No DateStyle: rows with times in another style than ISO are read again as JSON.
 *
 * Whatever goes wrong is thrown as an error of the library. A connection whose server serves no more is dropped.
 */
export function ownKnex(app: Knex, schema: string): Knex {
  const own = app.withUserParams({});
  own.client = ownClient(app.client as Client, schema);
  OURS.add(own);
  return own;
}

function ownClient(app: Client, schema: string): Client {
  const Base = app.constructor as ClientClass;
  let Own = CLASSES.get(Base);
  if (!Own) CLASSES.set(Base, (Own = ownClass(Base)));
  const client = Object.create(Own.prototype as object) as Client;
  // The app's client sets some of these as it connects, and takes the pool away when it is destroyed.
  for (const name of ['pool', 'version', 'driver', 'connectionSettings', 'valueForUndefined', 'logger']) {
    Object.defineProperty(client, name, { get: () => (app as unknown as Record<string, unknown>)[name] });
  }
  client.config = {
    ...app.config,
    batchJobsSchema: schema,
    // The statement without its values: they are the app's data, and messages reach logs.
    compileSqlOnError: false,
    migrations: undefined,
    postProcessResponse: undefined,
    wrapIdentifier: undefined,
  };
  for (const event of ['start', 'query', 'query-error', 'query-response'])
    client.on(event, (...args: unknown[]) => app.emit(event, ...args));
  return client;
}

function schemaOf(client: Client): string {
  return client.config['batchJobsSchema'] as string;
}

/** Knex makes the clients of transactions from the class: so it has all that is the library's own. */
function ownClass(Base: ClientClass): ClientClass {
  return class OwnClient extends Base {
    override async query(connection: Connection, statement: Statement | string): Promise<unknown> {
      try {
        return await super.query(connection, statement);
      } catch (error) {
        throw TYPED.get(error as object) ?? toDatabaseError(error, schemaOf(this));
      }
    }

    override async _query(connection: Connection, statement: Statement): Promise<Statement> {
      const run = (each: Statement) => super._query(connection, each);
      try {
        return await readTimes(
          await runFreely(this, run, withOwnParsers(connection, statement)),
          connection,
          run,
        );
      } catch (error) {
        if (CONNECTION_IS_USELESS.test(sqlstateOf(error) ?? '')) connection.__knex__disposed ??= error;
        // Before Knex puts the statement into the message.
        TYPED.set(error as object, toDatabaseError(error, schemaOf(this)));
        throw error;
      }
    }

    override _stream(
      connection: Connection,
      statement: Statement,
      stream: EventEmitter,
      options: object,
    ): Promise<void> {
      const emit = stream.emit.bind(stream);
      stream.emit = (event, ...args) =>
        event === 'error' ? emit(event, toDatabaseError(args[0], schemaOf(this))) : emit(event, ...args);
      const { types } = withOwnParsers(connection, statement).options as { types: object };
      return super._stream(connection, statement, stream, { ...options, types });
    }

    override transaction(container: unknown, config: unknown, outer: unknown): Transaction {
      const trx = super.transaction(container, config, outer);
      // Knex asks for it later, and not where this one is a savepoint.
      trx.begin = (connection) => trx.query(connection, beginStatement(this.version, trx));
      return trx;
    }

    override async acquireConnection(): Promise<Connection> {
      const { pool } = this;
      try {
        const connection = await unlessStarved(pool, super.acquireConnection(), (late) =>
          super.releaseConnection(late),
        );
        if (pool) HELD.set(pool, (HELD.get(pool) ?? 0) + 1);
        return connection;
      } catch (error) {
        throw toDatabaseError(error, schemaOf(this));
      }
    }

    override releaseConnection(connection: Connection): Promise<void> {
      const { pool } = this;
      if (pool) HELD.set(pool, (HELD.get(pool) ?? 0) - 1);
      // Destroyed meanwhile, with its connections.
      return pool ? super.releaseConnection(connection) : Promise.resolve();
    }
  };
}

/** The errors of the library for what the driver threw. */
const TYPED = new WeakMap<object, BatchError>();

/** Settings that are local to the transaction, in one message. The level under which each statement sees what is new. */
function beginStatement(
  version: string | undefined,
  { isolationLevel, readOnly }: Partial<Transaction> = {},
): string {
  const level = isolationLevel ?? 'read committed';
  const timeouts = ['statement_timeout', 'lock_timeout'];
  if (Number.parseInt(version ?? '', 10) >= 17) timeouts.push('transaction_timeout');
  const settings = timeouts.map((name) => `set local ${name} = 0`);
  return [`begin isolation level ${level}${readOnly ? ' read only' : ''}`, ...settings].join('; ');
}

/** Runs a statement; where a setting of the session was in its way, again without that. */
async function runFreely(
  client: Client,
  run: (statement: Statement) => Promise<Statement>,
  statement: Statement,
): Promise<Statement> {
  try {
    return await run(statement);
  } catch (error) {
    const isSingle = !client.transacting && statement.options?.['isInTransaction'] !== true;
    if (!isSingle || !BY_SETTINGS.has(sqlstateOf(error) ?? '')) throw error;
  }
  await run({ sql: beginStatement(client.version) });
  try {
    const done = await run(statement);
    await run({ sql: 'commit' });
    return done;
  } catch (error) {
    await run({ sql: 'rollback' });
    throw error;
  }
}

/** What a column of a statement is read by. */
interface Types {
  getTypeParser(oid: number, format: string): Parse;
  /** Whether a time came in a style that nobody can read for certain. */
  hasOtherStyle: boolean;
}

function withOwnParsers(connection: Connection, statement: Statement): Statement {
  const types: Types = {
    hasOtherStyle: false,
    getTypeParser: (oid, format) =>
      oid === TIMESTAMPTZ
        ? (text) => parseIsoTime(text) ?? ((types.hasOtherStyle = true), text)
        : (PARSERS.get(oid) ?? connection.getTypeParser?.(oid, format) ?? String),
  };
  // Of the driver's own clock: the statement would go on, and hold its connection.
  const timeout = connection.connectionParameters?.query_timeout ? { query_timeout: NO_TIMEOUT_MS } : {};
  statement.options = { ...statement.options, ...timeout, types };
  return statement;
}

/** JSON has times in ISO 8601, whatever the session's DateStyle. A query that is asked again changes nothing. */
async function readTimes(
  statement: Statement,
  connection: Connection,
  run: (statement: Statement) => Promise<Statement>,
): Promise<Statement> {
  const { sql, options = {}, response } = statement;
  if (
    !(options['types'] as Types).hasOtherStyle ||
    !response ||
    !/^\s*select\b(?!.*\bfor update\b)/is.test(sql)
  )
    return statement;
  const again = { ...statement, sql: `select to_jsonb(r) as r from (${sql}) r`, options: { ...options } };
  const { response: json } = await run(withOwnParsers(connection, again));
  for (const [index, { r }] of (json!.rows as { r: Record<string, unknown> }[]).entries()) {
    const row = response.rows[index]!;
    for (const { name, dataTypeID } of response.fields) {
      const value = r[name];
      if (dataTypeID === TIMESTAMPTZ) row[name] = typeof value === 'string' ? parseIsoTime(value) : value;
    }
  }
  return statement;
}

/**
 * Gives up on a pool that has no connection in time, however long the app's own statements may wait for one. Sooner on
 * a pool of one connection that the app keeps to itself: by a stream or a transaction that waits for the library, it
 * would for ever. Where the library uses the connection, or it changes hands, there is nothing wrong.
 *
 * @throws {@link InvalidOptionError}
 */
async function unlessStarved(
  pool: Pool | undefined,
  acquiring: Promise<Connection>,
  release: (late: Connection) => unknown,
): Promise<Connection> {
  let timer: NodeJS.Timeout | undefined;
  const starved = new Promise<never>((_resolve, reject) => {
    if (pool?.max !== 1) {
      const seconds = CALLS.read / 1_000;
      const late = () =>
        reject(new Error(`timeout acquiring a connection: the pool had none for ${seconds} s`));
      timer = setTimeout(late, CALLS.read);
      return;
    }
    let since = performance.now();
    let holder: unknown;
    timer = setInterval(() => {
      const [used] = pool.used ?? [];
      if (used === undefined || used !== holder || (HELD.get(pool) ?? 0) > 0) {
        holder = used;
        since = performance.now();
      } else if (performance.now() - since >= CALLS.pool) reject(poolTooSmall());
    }, STARVED_POLL_MS);
  });
  let isLate = true;
  const acquired = acquiring.finally(() => (isLate = false));
  try {
    return await Promise.race([acquired, starved]);
  } catch (error) {
    if (isLate) acquired.then(release, () => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

function poolTooSmall(): InvalidOptionError {
  return new InvalidOptionError(
    'database',
    'a Knex instance whose pool has at least 2 connections',
    { pool: { max: 1 } },
    `The app has held its only connection for ${CALLS.pool / 1_000} s, for example by a stream or a transaction that ` +
      'waits for this call. Raise pool.max, or pass a connection string.',
  );
}
