// One job for each line of a file, and a record of how the import ended.
import { ApplicationFailure } from '@temporalio/common';
import { defineCallback, defineJob } from 'temporal-batch-jobs';
import { database } from '../connect.js';

export const importProduct = defineJob('ImportProduct', async (line: number, text: string) => {
  const [sku, name, price] = text.split(',');
  if (!sku || !name || !(Number(price) > 0)) {
    // No retry makes a wrong line right.
    throw ApplicationFailure.nonRetryable(`Line ${line} is no product: ${text}`, 'InvalidLine');
  }
  // A job may run again: the same line must not make a second product.
  await database('products').insert({ sku, name, price }).onConflict('sku').merge();
});

export const recordImport = defineCallback(
  'RecordImport',
  async (batchId, { batches, trx }) => {
    const batch = await batches.find(batchId);
    const { status, total, failed } = await batch.progress();
    // By `trx`: the row is there exactly once, whatever is killed when.
    await trx('imports').insert({ file: batch.context['file'], status, lines: total, failed });
  },
  { transaction: true },
);
