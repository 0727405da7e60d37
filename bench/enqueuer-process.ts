import { Client, Connection } from '@temporalio/client';
import { BatchClient } from '../src/index.ts';
import { noop, pause } from './jobs.ts';
import { processSettings, sayPeakMemory, sayReady } from './processes.ts';

const { batchId, databaseUrl, jobs, pauseMs = 0, schema, temporalAddress } = processSettings();
const connection = await Connection.connect({ address: temporalAddress });
const batches = new BatchClient({ client: new Client({ connection }), database: databaseUrl, schema });
const batch = await batches.find(batchId!);
sayReady();
await batch.jobs(async () => {
  for (let index = 0; index < jobs!; index++)
    await (pauseMs > 0 ? pause.performAsync(pauseMs) : noop.performAsync(index));
});
await batches.close();
await connection.close();
sayPeakMemory();
process.disconnect();
