import { cpus, totalmem } from 'node:os';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import knexFactory, { type Knex } from 'knex';
import { startDevServers } from '../src/dev/index.ts';
import { BatchClient, migrate } from '../src/index.ts';
import { createBatchWorker, type BatchWorkerOptions } from '../src/worker/index.ts';

/** Servers, a worker and a client for one measurement. */
export interface Environment {
  readonly batches: BatchClient;
  readonly knex: Knex;
  readonly schema: string;
  /** What the figures were measured on, printed with them. */
  readonly machine: Readonly<Record<string, unknown>>;
}

/** Starts everything, runs the measurement, and stops what it started. */
export async function inEnvironment<T>(
  definitions: Pick<BatchWorkerOptions, 'jobs' | 'callbacks'>,
  measure: (environment: Environment) => Promise<T>,
): Promise<T> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const schema = 'bench';
  const servers = await startDevServers();
  const knex = knexFactory({ client: 'pg', connection: servers.databaseUrl, pool: { min: 0, max: 10 } });
  const connection = await NativeConnection.connect({ address: servers.temporalAddress });
  const clientConnection = await Connection.connect({ address: servers.temporalAddress });
  try {
    await knex.raw('drop schema if exists ?? cascade', [schema]);
    await migrate(knex, { schema });
    const worker = await createBatchWorker({ ...definitions, connection, database: knex, schema });
    const batches = new BatchClient({
      client: new Client({ connection: clientConnection }),
      database: knex,
      schema,
    });
    const { rows } = await knex.raw('show server_version');
    const machine = {
      cpu: cpus()[0]?.model,
      cores: cpus().length,
      memoryGb: Math.round(totalmem() / 2 ** 30),
      node: process.version,
      postgres: rows[0].server_version,
      temporal: process.env['TEMPORAL_ADDRESS'] ? 'given by TEMPORAL_ADDRESS' : 'dev server, in memory',
    };
    return await worker.runUntil(() => measure({ batches, knex, schema, machine }));
  } finally {
    await clientConnection.close();
    await connection.close();
    await knex.destroy();
    await servers.stop();
  }
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
