import { Client, Connection } from '@temporalio/client';
import { BatchClient } from '../../src/index.ts';
import { enqueue } from './enqueue.ts';
import { createHandlers } from './handlers.ts';
import { Ledger } from './ledger.ts';
import { stayWithParent } from './parent.ts';
import { batchIdOf, fromEnvironment, ledgerFile, type EnqueuerSettings } from './settings.ts';

// An app with one batch, to be killed or paused in its block.
const settings = fromEnvironment() as EnqueuerSettings;
const reportReady = stayWithParent();
const connection = Connection.lazy({ address: settings.temporalAddress });
const batches = new BatchClient({
  client: new Client({ connection }),
  database: settings.databaseUrl,
  schema: settings.schema,
  taskQueue: settings.taskQueue,
});
const ledger = new Ledger(ledgerFile(settings.folder));
reportReady();
await enqueue({
  batches,
  handlers: createHandlers(ledger, settings.schema),
  ledger,
  plan: settings.plan,
  isResuming: settings.isResuming,
  batchId: batchIdOf(settings.schema, settings.plan),
});
await batches.close();
await connection.close();
