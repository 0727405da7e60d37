// The worker process of the demo: runs the jobs and the callbacks. It is a process of its own, as in production, so
// that the demo can kill it without killing what watches. The demo starts it; it is not meant to be run by hand.
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { createBatchWorker } from '../../src/worker/index.ts';
import { publishLeaderboard, publishPartialLeaderboard, scoreCity } from './jobs.ts';
import { openDatabase } from './schema.ts';
import { openScoreStore } from './score-store.ts';
import { fromEnvironment } from './settings.ts';

const { databaseUrl, namespace, schema, taskQueue, temporalAddress } = fromEnvironment(process.env);

// Lost chunks and retries are this demo's subject and are shown by it; what is logged here is what nobody expects.
Runtime.install({ logger: new DefaultLogger('ERROR') });

// The channel to the demo closes when that process ends, even by SIGKILL, which no handler there could announce.
// Without this, a worker would go on polling for a demo that is gone.
process.once('disconnect', () => process.exit(0));

const connection = await NativeConnection.connect({ address: temporalAddress });
const knex = openDatabase(databaseUrl, schema);
const store = openScoreStore(databaseUrl, schema);
try {
  await store.connect();
  const worker = await createBatchWorker({
    callbacks: [publishLeaderboard, publishPartialLeaderboard],
    connection,
    database: knex,
    jobs: [scoreCity],
    // Twice the connections that the jobs write through: enough to keep each one busy.
    maxConcurrentJobs: 16,
    namespace,
    schema,
    shutdownGraceTime: '1 second',
    taskQueue,
  });
  process.send?.('ready');
  await worker.run();
} finally {
  await store.close();
  await knex.destroy();
  await connection.close();
  // An open channel would keep this process alive.
  if (process.connected) process.disconnect();
}
