import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { createBatchWorker } from '../../src/worker/index.ts';
import { callbacks, jobs } from './jobs.ts';

// A worker in a process of its own, so that it can be killed.
Runtime.install({ logger: new DefaultLogger('ERROR') });
const connection = await NativeConnection.connect({ address: process.env['TEMPORAL_ADDRESS']! });
const worker = await createBatchWorker({
  connection,
  database: process.env['DATABASE_URL']!,
  jobs,
  callbacks,
  maxConcurrentJobs: 100,
});
const running = worker.run();
process.stdout.write('ready\n');
await running;
await connection.close();
