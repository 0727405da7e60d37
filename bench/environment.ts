import { cpus, totalmem } from 'node:os';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import knexFactory, { type Knex } from 'knex';
import { startDevServers, startPostgres } from '../src/dev/index.ts';
import { BatchClient, migrate } from '../src/index.ts';
import { createBatchWorker, type BatchWorkerOptions } from '../src/worker/index.ts';
import { startProductionServer } from '../test/support/production-server.ts';

const SCHEMA = 'bench';

/** Servers and a client for one measurement. */
export interface Environment {
  readonly batches: BatchClient;
  readonly client: Client;
  readonly databaseUrl: string;
  readonly knex: Knex;
  readonly schema: string;
  readonly temporalAddress: string;
  /** What the figures were measured on, printed with them. */
  readonly machine: Readonly<Record<string, unknown>>;
}

/** The dev server in memory, or the production server with its state in Postgres. */
export type ServerKind = 'dev' | 'production';

/** What to start. Without jobs there is no worker in this process. */
export interface Setup extends Pick<BatchWorkerOptions, 'jobs' | 'callbacks'> {
  /** Where Temporal tells its metrics, if it is started here. */
  readonly metricsPort?: number;
  readonly server: ServerKind;
}

/** Starts everything, runs the measurement, and stops what it started. */
export async function inEnvironment<T>(
  { metricsPort, server, ...definitions }: Setup,
  measure: (environment: Environment) => Promise<T>,
): Promise<T> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const schema = SCHEMA;
  const metrics = metricsPort === undefined ? {} : { metricsPort };
  const servers = await (server === 'production'
    ? startProductionServers(metrics)
    : startDevServers({ temporal: metrics }));
  const { databaseUrl, temporalAddress } = servers;
  const knex = knexFactory({ client: 'pg', connection: databaseUrl, pool: { min: 0, max: 10 } });
  const connection = await NativeConnection.connect({ address: temporalAddress });
  const clientConnection = await Connection.connect({ address: temporalAddress });
  try {
    await knex.raw('drop schema if exists ?? cascade', [schema]);
    await migrate(knex, { schema });
    const client = new Client({ connection: clientConnection });
    const batches = new BatchClient({ client, database: knex, schema });
    const machine = await describeMachine(knex, clientConnection, server);
    const environment = { batches, client, databaseUrl, knex, schema, temporalAddress, machine };
    if (definitions.jobs === undefined) return await measure(environment);
    const worker = await createBatchWorker({ ...definitions, connection, database: knex, schema });
    return await worker.runUntil(() => measure(environment));
  } finally {
    await clientConnection.close();
    await connection.close();
    await knex.destroy();
    await servers.stop();
  }
}

/** The production server, on the Postgres that also has the library's tables. */
async function startProductionServers(options: { readonly metricsPort?: number }) {
  const postgres = await startPostgres();
  try {
    const temporal = await startProductionServer(postgres.databaseUrl, options);
    const stop = async () => {
      await temporal.stop();
      await postgres.stop();
    };
    return { databaseUrl: postgres.databaseUrl, temporalAddress: temporal.address, stop };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

async function describeMachine(
  knex: Knex,
  connection: Connection,
  server: ServerKind,
): Promise<Record<string, unknown>> {
  const { rows } = await knex.raw(
    `select current_setting('server_version') as version, current_setting('synchronous_commit') as commit`,
  );
  const { serverVersion } = await connection.workflowService.getSystemInfo({});
  return {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    postgres: rows[0].version,
    synchronousCommit: rows[0].commit,
    temporal: serverVersion,
    temporalServer:
      server === 'production'
        ? 'production server, Postgres persistence'
        : process.env['TEMPORAL_ADDRESS']
          ? 'given by TEMPORAL_ADDRESS'
          : 'dev server, in memory',
  };
}
