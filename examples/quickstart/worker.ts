// worker.ts
import { NativeConnection } from '@temporalio/worker';
import { createBatchWorker } from 'temporal-batch-jobs/worker';
import { rebuildCache, scoreEntry } from './jobs.js';

const connection = await NativeConnection.connect({ address: process.env['TEMPORAL_ADDRESS']! });
const worker = await createBatchWorker({
  connection,
  database: process.env['DATABASE_URL']!,
  jobs: [scoreEntry],
  callbacks: [rebuildCache],
});
await worker.run(); // until SIGTERM, which drains
