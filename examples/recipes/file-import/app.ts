// Imports a file. Run again after it was interrupted, it goes on with the same batch.
import { open } from 'node:fs/promises';
import path from 'node:path';
import { withBatches } from '../connect.js';
import { importProduct, recordImport } from './jobs.js';

const file = process.argv[2]!;
const name = path.basename(file);

await withBatches(async (batches) => {
  const batch = await batches.create({
    id: `import-${name}`,
    description: `Import of ${name}`,
    context: { file: name },
    failWhenFailed: { moreThan: '5%' },
    callbacks: { settled: recordImport },
  });
  await batch.jobs(
    async () => {
      let line = 0;
      for await (const text of (await open(file)).readLines()) {
        line += 1;
        // The key makes it one job, however often the line is read.
        await importProduct.set({ key: `line ${line}` }).performAsync(line, text);
      }
    },
    // An interrupted import goes on. A file whose lines are all enrolled is not read again.
    { once: true },
  );

  const { status, total, complete, failed } = await batch.wait({ timeout: '1 hour' });
  console.log(`${name}: ${status}, ${complete} of ${total} lines imported, ${failed} refused`);
  for (const { errorMessage } of await batch.failedJobs().limit(20)) console.log(errorMessage);
});
