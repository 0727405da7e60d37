import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { BatchPlugin } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createAppActivities } from './app-activities.ts';
import { createHandlers } from './handlers.ts';
import { Ledger } from './ledger.ts';
import { stayWithParent } from './parent.ts';
import {
  appQueue,
  codecOptions,
  fromEnvironment,
  ledgerFile,
  secondQueue,
  type WorkerSettings,
} from './settings.ts';

// A worker process, to be killed, paused and started again.
const settings = fromEnvironment() as WorkerSettings;
const { databaseUrl, temporalAddress, schema, taskQueue, workflowBundlePath, maxConcurrentJobs } = settings;
const reportReady = stayWithParent();
Runtime.install({ logger: new DefaultLogger('WARN') });
const ledger = new Ledger(ledgerFile(settings.folder));
const { work, callbacks } = createHandlers(ledger, schema);
const connection = await NativeConnection.connect({ address: temporalAddress });
const queues = settings.hasSecondQueue ? [taskQueue, secondQueue(taskQueue)] : [taskQueue];
const workers = await Promise.all(
  queues.map((queue) =>
    createBatchWorker({
      connection,
      database: databaseUrl,
      schema,
      taskQueue: queue,
      // With a codec it makes one that encodes errors.
      ...(settings.hasCodec ? {} : { workflowBundle: { codePath: workflowBundlePath } }),
      workerOptions: codecOptions(settings),
      jobs: Object.values(work),
      callbacks: [...Object.values(callbacks.plain), ...Object.values(callbacks.transactional)],
      maxConcurrentJobs,
      shutdownGraceTime: '5s',
    }),
  ),
);
const app =
  settings.app &&
  (await Worker.create({
    connection,
    taskQueue: appQueue(taskQueue),
    workflowBundle: { codePath: settings.app.bundlePath },
    ...codecOptions(settings),
    plugins: settings.app.reports ? [new BatchPlugin()] : [],
    activities: createAppActivities(ledger),
    stickyQueueScheduleToStartTimeout: '1s',
    shutdownGraceTime: '5s',
  }));
const running = Promise.all([...workers, ...(app ? [app] : [])].map((worker) => worker.run()));
reportReady();
await running;
await connection.close();
