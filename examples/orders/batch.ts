// What is new: a batch around the orders of a day, with a callback when the last of their workflows has ended.
import { Client, type Connection } from '@temporalio/client';
import { BatchClient, BatchPlugin, defineCallback, type BatchProgress } from '../../src/index.ts';
import { processOrder } from './orders.ts';
import type { Order } from './workflows.ts';

export const reportDay = defineCallback('ReportDay', async (batchId, { batches }) => {
  const batch = await batches.find(batchId);
  const { complete, failed } = await batch.progress();
  console.log(`The day is done: ${complete} workflows are complete, ${failed} failed.`);
  for (const job of await batch.failedJobs().orderBy('position')) {
    console.log(`${job.workflowId}: ${job.errorClass}: ${job.errorMessage}`);
  }
});

export async function processDay(
  connection: Connection,
  database: { readonly url: string; readonly schema: string },
  orders: readonly Order[],
): Promise<BatchProgress> {
  const client = new Client({ connection, plugins: [new BatchPlugin()] });
  await using batches = new BatchClient({ client, database: database.url, schema: database.schema });
  const batch = await batches.create({ description: `${orders.length} orders` });
  await batch.on('settled', reportDay);
  await batch.jobs(async () => {
    for (const order of orders) await processOrder(client, order);
  });
  return await batch.wait({ timeout: '1 minute' });
}
