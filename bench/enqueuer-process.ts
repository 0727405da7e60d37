import { Client, Connection } from '@temporalio/client';
import { BatchClient } from '../src/index.ts';
import { noop } from './jobs.ts';
import { processSettings, sayPeakMemory, sayReady } from './processes.ts';

const { batchId, databaseUrl, jobs, schema, temporalAddress } = processSettings();
const connection = await Connection.connect({ address: temporalAddress });
const batches = new BatchClient({ client: new Client({ connection }), database: databaseUrl, schema });
const batch = await batches.find(batchId!);
sayReady();
await batch.jobs(async () => {
  for (let index = 0; index < jobs!; index++) await noop.performAsync(index);
});
await batches.close();
await connection.close();
sayPeakMemory();
process.disconnect();
