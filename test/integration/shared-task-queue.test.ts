import { DefaultLogger, NativeConnection, type LogEntry } from '@temporalio/worker';
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from 'vitest';
import { defineCallback, defineJob, migrate, type Batch } from '../../src/index.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

// Logs of workers that share a task queue: those of two services with jobs of their own, and of two schemas.
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

const startMail = (identity: string) =>
  world.startWorker({ jobs: [mail], callbacks: [mailed], workerOptions: { identity } });
const startInvoices = (identity: string) =>
  world.startWorker({ jobs: [invoice], callbacks: [], connection: second, workerOptions: { identity } });

async function enroll(): Promise<Batch> {
  const batch = await world.batches.create({ description: 'Both', callbacks: { complete: mailed } });
  await batch.jobs(async () => {
    for (const id of [1, 2, 3]) await mail.performAsync(id);
    for (const id of [1, 2, 3]) await invoice.performAsync(id);
  });
  return batch;
}

const said = (name: string) => logged.filter(({ message }) => message.includes(`named "${name}"`));

test('two services on one task queue run the jobs of both, and each says once what it does not know and who may', async () => {
  const firstMail = await startMail('mail-1');
  const invoices = await startInvoices('invoices-1');
  expect(await (await enroll()).wait({ timeout: PATIENCE })).toMatchObject({
    status: 'complete',
    complete: 6,
  });

  // A worker that has stopped has polled lately, and may be back.
  await firstMail.stop();
  const withoutMail = await Promise.all([enroll(), enroll()]);
  await eventually(() => expect(said('SendMail')).not.toEqual([]));
  await startMail('mail-2');
  for (const batch of withoutMail) {
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 6 });
  }
  const [warning, ...more] = said('SendMail');
  expect(more).toEqual([]);
  expect(warning!.message).toContain('Other workers poll this task queue and may have it: mail-1.');
  expect(warning!.message).toContain(`task queue "${world.taskQueue}"`);
  expect(warning!.meta).toMatchObject({ job: 'SendMail', otherWorkers: ['mail-1'] });

  await invoices.stop();
  const withoutInvoices = await enroll();
  await eventually(() => expect(said('WriteInvoice')).not.toEqual([]));
  await startInvoices('invoices-2');
  expect(await withoutInvoices.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  // Both workers of the mail service may have met it.
  expect(said('WriteInvoice').length).toBeLessThanOrEqual(2);
  expect(said('WriteInvoice').at(-1)!.message).toContain('invoices-1');
  expect(ran.filter((what) => what.startsWith('mail '))).toHaveLength(12);
  expect(ran.filter((what) => what.startsWith('invoice '))).toHaveLength(12);
});

test('a worker says once a minute that it was given work for another schema, and names both', async () => {
  await using apart = await createWorld();
  const other = `${apart.schema}_other`;
  await migrate(apart.knex, { schema: other });
  onTestFinished(async () => void (await world.knex.raw('drop schema ?? cascade', [other])));
  const before = await apart.startWorker();
  const batch = await apart.batches.create({ description: 'Elsewhere' });
  await before.stop();
  await apart.startWorker({ schema: other, connection: second });
  await batch.jobs(() => apart.fixtures.jobs.noop.performAsync(1));
  const ids = await Promise.all(
    [apart.schema, other].map(
      async (schema) => (await apart.knex.withSchema(schema).from('batch_schema').first('id')).id as string,
    ),
  );
  const warnings = () => logged.filter(({ message }) => ids.every((id) => message.includes(id)));
  // It was given the work again and again.
  await eventually(async () => {
    const { raw } = await apart.client.workflow.getHandle(`batch:${batch.id}`).describe();
    expect(raw.pendingActivities?.[0]?.attempt).toBeGreaterThan(3);
  });
  expect(warnings()).toHaveLength(1);
  expect(warnings()[0]!.message).toContain(`${apart.schema} (ID ${ids[0]})`);
  expect(warnings()[0]!.message).toContain(`${other} (ID ${ids[1]})`);
});
