// app.ts
import { Client, Connection } from '@temporalio/client';
import { BatchClient } from 'temporal-batch-jobs';
import { rebuildCache, scoreEntry } from './jobs.js';

const connection = await Connection.connect({ address: process.env['TEMPORAL_ADDRESS']! });
const batches = new BatchClient({
  client: new Client({ connection }),
  database: process.env['DATABASE_URL']!,
});

const batch = await batches.create({ description: 'Rescore leaderboard 7', context: { leaderboardId: 7 } });
await batch.on('complete', rebuildCache);
await batch.jobs(async () => {
  for (const entryId of [1, 2, 3]) await scoreEntry.performAsync(entryId);
});
await batch.wait({ timeout: '1 minute' });

await batches.close();
await connection.close();
