import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { DevServersOptions } from './options.ts';
import { startPostgres, type PostgresServer } from './postgres.ts';
import { startTemporal, type TemporalServer } from './temporal.ts';

/** The two servers that the library needs, ready to be used. */
export interface DevServers extends AsyncDisposable {
  /** Connection string of an empty or earlier database. */
  readonly databaseUrl: string;
  /** `host:port` of Temporal. */
  readonly temporalAddress: string;
  /** Temporal namespace. */
  readonly namespace: string;
  /** Address of the Temporal Web UI; `undefined` for a server that was not started here. */
  readonly webUiUrl: string | undefined;
  readonly postgres: PostgresServer;
  readonly temporal: TemporalServer;
  /** Stops the servers that were started here. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Starts Postgres and Temporal for development and tests, without a network where both are on the machine. Uses
 * the servers that `DATABASE_URL` and `TEMPORAL_ADDRESS` name in place of its own.
 *
 * The servers end with this process. A process that handles SIGINT or SIGTERM calls `stop()` in its handler.
 *
 * @throws {@link DevServerError} when one of them does not start; the other has been stopped then
 *
 * @example
 * ```ts
 * await using servers = await startDevServers();
 * await migrate(servers.databaseUrl);
 * ```
 */
export async function startDevServers(options: DevServersOptions = {}): Promise<DevServers> {
  const { dataDir, postgres, temporal, ...base } = options;
  if (dataDir !== undefined) await mkdir(dataDir, { recursive: true });
  const [postgresStart, temporalStart] = await Promise.allSettled([
    startPostgres({ ...postgres, ...base, ...(dataDir === undefined ? {} : { dataDir }) }),
    startTemporal({
      ...(dataDir === undefined ? {} : { dbFilename: path.resolve(dataDir, 'temporal.db') }),
      ...temporal,
      ...base,
    }),
  ]);
  if (postgresStart.status === 'rejected' || temporalStart.status === 'rejected') {
    const failures: unknown[] = [];
    for (const start of [postgresStart, temporalStart]) {
      if (start.status === 'rejected') failures.push(start.reason);
      else await start.value.stop();
    }
    throw failures.length === 1
      ? failures[0]
      : new AggregateError(failures, 'Neither Postgres nor Temporal could be started.');
  }
  return new RunningDevServers(postgresStart.value, temporalStart.value);
}

class RunningDevServers implements DevServers {
  readonly postgres: PostgresServer;
  readonly temporal: TemporalServer;

  constructor(postgres: PostgresServer, temporal: TemporalServer) {
    this.postgres = postgres;
    this.temporal = temporal;
  }

  get databaseUrl(): string {
    return this.postgres.databaseUrl;
  }

  get temporalAddress(): string {
    return this.temporal.address;
  }

  get namespace(): string {
    return this.temporal.namespace;
  }

  get webUiUrl(): string | undefined {
    return this.temporal.webUiUrl;
  }

  async stop(): Promise<void> {
    await Promise.all([this.temporal.stop(), this.postgres.stop()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
