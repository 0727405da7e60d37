// Runs a batch of which some jobs fail, and says why.
import { withBatches } from '../connect.js';
import { convertPrice } from './jobs.js';

const id = process.argv[2]!;

await withBatches(async (batches) => {
  const batch = await batches.create({ id, description: 'Convert the prices of all orders' });
  await batch.jobs(async () => {
    for (let orderId = 1; orderId <= 30; orderId++) {
      await convertPrice.performAsync(orderId, 100, orderId % 10 === 0 ? 'NOK' : 'USD');
    }
  });
  const { status, failed } = await batch.wait();
  console.log(`${id}: ${status}, ${failed} failed`);
  const reasons = await batch
    .failedJobs()
    .clearSelect()
    .clearOrder()
    .select('error_class', 'error_message')
    .count('* as jobs')
    .groupBy('error_class', 'error_message');
  for (const { error_class, error_message, jobs } of reasons as unknown as Record<string, string>[]) {
    console.log(`${jobs} × ${error_class}: ${error_message}`);
  }
});
