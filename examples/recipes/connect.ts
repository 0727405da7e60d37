// What every program here works with: the app's database, which has the library's tables too, and a client for batches.
import { Client, Connection } from '@temporalio/client';
import knexFactory from 'knex';
import { BatchClient } from 'temporal-batch-jobs';

export const temporalAddress = process.env['TEMPORAL_ADDRESS'] ?? 'localhost:7233';
export const taskQueue = process.env['TASK_QUEUE'] ?? 'batch-jobs';
export const database = knexFactory({ client: 'pg', connection: process.env['DATABASE_URL']! });

/** Runs a program with a client for batches, and closes what it opened. */
export async function withBatches(program: (batches: BatchClient) => Promise<void>): Promise<void> {
  const connection = await Connection.connect({ address: temporalAddress });
  const batches = new BatchClient({ client: new Client({ connection }), database, taskQueue });
  try {
    await program(batches);
  } finally {
    await batches.close();
    await connection.close();
    await database.destroy();
  }
}
