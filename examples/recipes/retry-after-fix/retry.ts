// Runs the failed jobs of a batch again, once the cause is mended.
import { withBatches } from '../connect.js';

const id = process.argv[2]!;

await withBatches(async (batches) => {
  const batch = await batches.find(id);
  await batch.retryFailed();
  await batch.wait();
  for (const { round, status, complete, failed } of await batch.rounds()) {
    console.log(`round ${round}: ${status}, ${complete} complete, ${failed} failed`);
  }
});
