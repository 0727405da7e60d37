// Runs the example: both workers and the app in one process. DATABASE_URL and TEMPORAL_ADDRESS name the servers;
// `npx batch-jobs dev` starts some.
import { Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { migrate } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { processDay, reportDay } from './batch.ts';
import { createWorker } from './worker.ts';

const { DATABASE_URL, TEMPORAL_ADDRESS = '127.0.0.1:7233', SCHEMA = 'orders' } = process.env;
if (!DATABASE_URL) throw new Error('DATABASE_URL is not set.');
Runtime.install({ logger: new DefaultLogger('ERROR') });
const database = { url: DATABASE_URL, schema: SCHEMA };
const orders = Array.from({ length: 10 }, (_, index) => ({ id: index + 1, cents: index === 6 ? 0 : 1_999 }));

await migrate(database.url, { schema: database.schema });
const native = await NativeConnection.connect({ address: TEMPORAL_ADDRESS });
const connection = await Connection.connect({ address: TEMPORAL_ADDRESS });
const batchWorker = await createBatchWorker({
  connection: native,
  database: database.url,
  schema: database.schema,
  callbacks: [reportDay],
});
const worker = await createWorker(native);
await batchWorker.runUntil(() => worker.runUntil(() => processDay(connection, database, orders)));
await connection.close();
await native.close();
