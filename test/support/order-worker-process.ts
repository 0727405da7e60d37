import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { BatchPlugin } from '../../src/index.ts';
import { createOrderActivities } from './order-app.ts';

// A worker of the app in a process of its own, so that a test can kill it.
const { TEMPORAL_ADDRESS, TASK_QUEUE, WORKFLOW_BUNDLE } = process.env as Record<string, string>;
Runtime.install({ logger: new DefaultLogger('ERROR') });
const connection = await NativeConnection.connect({ address: TEMPORAL_ADDRESS! });
const worker = await Worker.create({
  connection,
  taskQueue: TASK_QUEUE!,
  workflowBundle: { codePath: WORKFLOW_BUNDLE! },
  activities: createOrderActivities(),
  plugins: [new BatchPlugin()],
});
process.stdout.write('ready\n');
await worker.run();
await connection.close();
