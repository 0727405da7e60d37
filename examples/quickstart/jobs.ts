// jobs.ts: imported by the app and by the worker
import { defineCallback, defineJob } from 'temporal-batch-jobs';

export const scoreEntry = defineJob('ScoreEntry', async (entryId: number) => {
  console.log('scored', entryId);
});
export const rebuildCache = defineCallback('RebuildCache', async (batchId, { batches }) => {
  const batch = await batches.find(batchId);
  const { status, total, complete, failed } = await batch.progress();
  console.log({ status, total, complete, failed }); // { status: 'complete', total: 3, complete: 3, failed: 0 }
});
