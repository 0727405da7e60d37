import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { createBatchWorker } from '../src/worker/index.ts';
import { done, noop, pause } from './jobs.ts';
import { processSettings, sayPeakMemory, sayReady } from './processes.ts';

const { databaseUrl, maxConcurrentJobs, schema, temporalAddress, workflowBundlePath } = processSettings();
Runtime.install({ logger: new DefaultLogger('ERROR') });
const connection = await NativeConnection.connect({ address: temporalAddress });
const worker = await createBatchWorker({
  callbacks: [done],
  connection,
  database: databaseUrl,
  jobs: [noop, pause],
  schema,
  ...(maxConcurrentJobs === undefined ? {} : { maxConcurrentJobs }),
  ...(workflowBundlePath === undefined ? {} : { workflowBundle: { codePath: workflowBundlePath } }),
});
const running = worker.run();
sayReady();
await running;
await connection.close();
sayPeakMemory();
process.disconnect();
