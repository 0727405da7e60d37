import { DefaultLogger, NativeConnection, type LogEntry } from '@temporalio/worker';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { defineCallback, defineJob } from '../../src/index.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

// Two services with jobs of their own that poll one task queue.
const ran: string[] = [];
const mail = defineJob('SendMail', async (id: number) => void ran.push(`mail ${id}`));
const invoice = defineJob('WriteInvoice', async (id: number) => void ran.push(`invoice ${id}`));
const mailed = defineCallback('Mailed', async () => void ran.push('mailed'), {
  retry: { initialInterval: '100ms' },
});

const logged: LogEntry[] = [];
let world: World;
let second: NativeConnection;
beforeAll(async () => {
  world = await createWorld({
    runtime: { logger: new DefaultLogger('WARN', (entry) => logged.push(entry)) },
  });
  second = await NativeConnection.connect({ address: inject('temporalAddress') });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await second.close();
});

test('two services on one task queue run the jobs of both, and each says once what it does not know and who may', async () => {
  await world.startWorker({ jobs: [mail], callbacks: [mailed], workerOptions: { identity: 'mail-1' } });
  await world.startWorker({
    jobs: [invoice],
    callbacks: [],
    connection: second,
    workerOptions: { identity: 'invoices-1' },
  });
  const batches = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const batch = await world.batches.create({ description: 'Both', callbacks: { complete: mailed } });
      await batch.jobs(async () => {
        await mail.performAsync(index);
        await invoice.performAsync(index);
      });
      return batch;
    }),
  );
  for (const batch of batches) {
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
  }
  expect(ran.filter((what) => what.startsWith('mail '))).toHaveLength(20);
  expect(ran.filter((what) => what.startsWith('invoice '))).toHaveLength(20);

  const said = (name: string) =>
    logged
      .filter(({ message }) => message.includes(`named "${name}"`))
      .map(({ message, meta }) => ({ message, meta }));
  const ids = batches.map(({ id }) => id);
  const [unknownMail, ...moreMail] = said('SendMail');
  const [unknownInvoice, ...moreInvoice] = said('WriteInvoice');
  expect([...moreMail, ...moreInvoice]).toEqual([]);
  expect(unknownInvoice).toMatchObject({ meta: { job: 'WriteInvoice', otherWorkers: ['invoices-1'] } });
  expect(unknownMail).toMatchObject({ meta: { job: 'SendMail', otherWorkers: ['mail-1'] } });
  expect(unknownMail!.message).toContain(`Other workers poll this task queue and may have it: mail-1.`);
  expect(unknownMail!.message).toContain(`task queue "${world.taskQueue}"`);
  expect(ids).toContain(unknownMail!.meta!['batchId']);
});
