import { cpus, totalmem } from 'node:os';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import knexFactory, { type Knex } from 'knex';
import { startDevServers } from '../src/dev/index.ts';
import { BatchClient, migrate } from '../src/index.ts';
import { createBatchWorker, type BatchWorkerOptions } from '../src/worker/index.ts';

export const BENCH_SCHEMA = 'bench';

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

/** Jobs and callbacks of a worker in this process; without any there is none. */
export type Definitions = Pick<BatchWorkerOptions, 'jobs' | 'callbacks' | 'maxConcurrentJobs'>;

export interface EnvironmentOptions {
  /** Where Temporal tells its metrics, if it is started here. */
  readonly metricsPort?: number;
}

/** Starts everything, runs the measurement, and stops what it started. */
export async function inEnvironment<T>(
  definitions: Definitions | undefined,
  measure: (environment: Environment) => Promise<T>,
  { metricsPort }: EnvironmentOptions = {},
): Promise<T> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const schema = BENCH_SCHEMA;
  const servers = await startDevServers(metricsPort === undefined ? {} : { temporal: { metricsPort } });
  const { databaseUrl, temporalAddress } = servers;
  const knex = knexFactory({ client: 'pg', connection: databaseUrl, pool: { min: 0, max: 10 } });
  const connection = await NativeConnection.connect({ address: temporalAddress });
  const clientConnection = await Connection.connect({ address: temporalAddress });
  try {
    await knex.raw('drop schema if exists ?? cascade', [schema]);
    await migrate(knex, { schema });
    const client = new Client({ connection: clientConnection });
    const batches = new BatchClient({ client, database: knex, schema });
    const machine = await describeMachine(knex, clientConnection);
    const environment = { batches, client, databaseUrl, knex, schema, temporalAddress, machine };
    if (definitions === undefined) return await measure(environment);
    const worker = await createBatchWorker({ ...definitions, connection, database: knex, schema });
    return await worker.runUntil(() => measure(environment));
  } finally {
    await clientConnection.close();
    await connection.close();
    await knex.destroy();
    await servers.stop();
  }
}

async function describeMachine(knex: Knex, connection: Connection): Promise<Record<string, unknown>> {
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
    temporalServer: process.env['TEMPORAL_ADDRESS'] ? 'given by TEMPORAL_ADDRESS' : 'dev server, in memory',
  };
}
