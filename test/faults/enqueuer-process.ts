import { Client, Connection } from '@temporalio/client';
import { BatchClient, BatchPlugin } from '../../src/index.ts';
import { enqueue } from './enqueue.ts';
import { createHandlers } from './handlers.ts';
import { Ledger } from './ledger.ts';
import { stayWithParent } from './parent.ts';
import { killerOf } from './start-workflow.ts';
import { batchIdOf, codecOptions, fromEnvironment, ledgerFile, type EnqueuerSettings } from './settings.ts';

// An app with one batch, to be killed or paused in its block.
const settings = fromEnvironment() as EnqueuerSettings;
const reportReady = stayWithParent();
const connection = Connection.lazy({ address: settings.temporalAddress });
const batchId = batchIdOf(settings.schema, settings.plan);
const client = new Client({
  connection,
  plugins: [new BatchPlugin()],
  ...codecOptions(settings),
  interceptors: { workflow: settings.isResuming ? [] : [killerOf(settings.plan, batchId)] },
});
const batches = new BatchClient({
  client,
  database: settings.databaseUrl,
  schema: settings.schema,
  taskQueue: settings.taskQueue,
});
const ledger = new Ledger(ledgerFile(settings.folder));
reportReady();
await enqueue({
  batches,
  client,
  handlers: createHandlers(ledger, settings.schema),
  ledger,
  plan: settings.plan,
  argsBytes: settings.argsBytes,
  isResuming: settings.isResuming,
  batchId,
});
await batches.close();
await connection.close();
