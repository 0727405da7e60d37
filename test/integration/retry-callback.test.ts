import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineCallback, type Batch } from '../../src/index.ts';
import { markAlertCallbackScheduled, markCallbackRetried } from '../../src/database/callbacks.ts';
import { callbackRetryWorkflowId } from '../../workflows/names.ts';
import { doctor, examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { runCli } from '../support/cli.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const { gate, jobs } = createGates();
/** Batches whose callback works again. */
const repaired = new Set<string>();
const calls = new Map<string, number[]>();
const mail = defineCallback(
  'Mail',
  async (batchId, { attempt }) => {
    calls.set(batchId, [...(calls.get(batchId) ?? []), attempt]);
    if (!repaired.has(batchId)) throw new RangeError('no mail server');
    await gate(batchId).pass();
  },
  { retry: { initialInterval: '50ms', maximumAttempts: 2 } },
);

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs)],
    callbacks: [mail, ...Object.values(world.fixtures.callbacks)],
  });
});
afterAll(async () => {
  for (const id of calls.keys()) gate(id).open();
  await world[Symbol.asyncDispose]();
});

/** A batch that is over, and whose callback has failed for good. */
async function failedBatch(options = {}): Promise<Batch> {
  const batch = await world.batches.create({
    description: 'A failed callback',
    callbacks: { complete: mail, settled: world.fixtures.callbacks.onSettled },
    ...options,
  });
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(await callbackOf(batch)).toMatchObject({ status: 'failed', attempts: 2, errorClass: 'RangeError' });
  return batch;
}

async function callbackOf(batch: Batch, event = 'complete') {
  return (await batch.callbacks()).find((callback) => callback.event === event);
}

const refused = (code: string) => expect.objectContaining({ code });
const ended = (batch: Batch) =>
  eventually(async () => expect(await callbackOf(batch)).toMatchObject({ status: 'completed', attempts: 1 }));
const cli = (...args: string[]) => runCli([...args, '--schema', world.schema]);

test('a callback that failed for good runs again, with new attempts, and its batch stays as it was', async () => {
  const batch = await failedBatch();
  expect(await batch.retryCallback('complete')).toEqual({ queued: false });
  await eventually(() => expect(calls.get(batch.id)).toEqual([1, 2, 1, 2]));
  await eventually(async () =>
    expect(await callbackOf(batch)).toMatchObject({ status: 'failed', attempts: 2 }),
  );
  repaired.add(batch.id);
  gate(batch.id).open();
  expect(await batch.retryCallback('complete')).toEqual({ queued: false });
  await ended(batch);
  expect(calls.get(batch.id)).toEqual([1, 2, 1, 2, 1]);
  expect(await callbackOf(batch)).toMatchObject({ errorClass: null, errorMessage: null });
  expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 1 });
  await expect(batch.retryCallback('complete')).rejects.toThrow(refused('CALLBACK_NOT_FAILED'));
});

test('a callback that has not failed is refused with a code that says why', async () => {
  const batch = await failedBatch();
  await expect(batch.retryCallback('settled')).rejects.toThrow(refused('CALLBACK_NOT_FAILED'));
  await expect(batch.retryCallback('failure')).rejects.toThrow(refused('CALLBACK_NOT_REGISTERED'));
  await expect(batch.retryCallback('done' as never)).rejects.toThrow(refused('INVALID_OPTION'));
  const open = await world.batches.create({ description: 'Open', callbacks: { complete: mail } });
  await expect(open.retryCallback('complete')).rejects.toThrow(refused('CALLBACK_NOT_FAILED'));
  repaired.add(open.id);
  await open.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await eventually(() => expect(calls.get(open.id)).toEqual([1]));
  await expect(open.retryCallback('complete')).rejects.toThrow(refused('CALLBACK_RUNNING'));
  gate(open.id).open();
  await open.wait({ timeout: PATIENCE });
});

test('of many calls at once one runs the callback; no round is opened meanwhile', async () => {
  const batch = await failedBatch();
  repaired.add(batch.id);
  const [...answers] = await Promise.allSettled(
    Array.from({ length: 8 }, () => batch.retryCallback('complete')),
  );
  expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  for (const answer of answers)
    if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'CALLBACK_RUNNING' });
  await expect(batch.retryCallback('complete')).rejects.toThrow(refused('CALLBACK_RUNNING'));
  await world.knex.withSchema(world.schema).from('batches').where('id', batch.id).update({
    failed_count: 1,
    completed_count: 0,
  });
  await expect(batch.retryFailed()).rejects.toThrow(refused('BATCH_RUNNING'));
  gate(batch.id).open();
  await ended(batch);
  expect(calls.get(batch.id)).toEqual([1, 2, 1]);
});

test('its row lets one retry through, once, whatever is repeated or comes late', async () => {
  const batch = await failedBatch();
  const { database } = world.batches;
  const retry = { batchId: batch.id, round: 1, event: 'complete', retry: 1, isAbandoned: false } as const;
  // Another round, another number, another event.
  expect(await markCallbackRetried(database, { ...retry, round: 2 })).toBe(false);
  expect(await markCallbackRetried(database, { ...retry, retry: 2 })).toBe(false);
  expect(await markCallbackRetried(database, { ...retry, event: 'settled' })).toBe(false);
  const answers = await Promise.all(Array.from({ length: 5 }, () => markCallbackRetried(database, retry)));
  // The same one, repeated after its answer was lost, has it still.
  expect(answers).toEqual([true, true, true, true, true]);
  expect(await markCallbackRetried(database, { ...retry, retry: 2 })).toBe(false);
  await world.knex.withSchema(world.schema).from('batches').where('id', batch.id).update({ round: 2 });
  expect(await markCallbackRetried(database, { ...retry, retry: 2, isAbandoned: true })).toBe(false);
});

test('a retry whose workflow somebody terminated can be asked for again', async () => {
  const batch = await failedBatch();
  repaired.add(batch.id);
  await batch.retryCallback('complete');
  await eventually(() => expect(calls.get(batch.id)).toEqual([1, 2, 1]));
  const retry = { round: 1, event: 'complete', retry: 1 };
  await world.client.workflow.getHandle(callbackRetryWorkflowId(`batch:${batch.id}`, retry)).terminate();
  expect(await batch.retryCallback('complete')).toEqual({ queued: false });
  await eventually(() => expect(calls.get(batch.id)).toEqual([1, 2, 1, 1]));
  // Not before: the attempt of the terminated workflow ends, too.
  gate(batch.id).open();
  await ended(batch);
});

test('the callback of an alert that outlives its batch is not taken for abandoned, even after an earlier retry', async () => {
  const batch = await world.batches.create({
    description: 'Idle, then over',
    alertAfterIdle: '500ms',
    callbacks: { idle: mail },
  });
  const [first, last] = [`${batch.id}-1`, `${batch.id}-2`];
  await batch.jobs(async () => {
    for (const name of [first, last]) await jobs.pass.performAsync(name);
  });
  const idle = (status: string) =>
    eventually(async () => expect(await callbackOf(batch, 'idle')).toMatchObject({ status }));
  await idle('failed');
  await batch.retryCallback('idle');
  await eventually(() => expect(calls.get(batch.id)).toEqual([1, 2, 1, 2]));
  await idle('failed');
  // A second alert, whose callback is still at its gate when the batch ends.
  repaired.add(batch.id);
  gate(first).open();
  await eventually(() => expect(calls.get(batch.id)).toEqual([1, 2, 1, 2, 1]));
  gate(last).open();
  await batch.wait({ timeout: PATIENCE });
  await eventually(async () => {
    const { status } = await world.client.workflow.getHandle(`batch:${batch.id}`).describe();
    expect(status.name).toBe('COMPLETED');
  });
  await expect(batch.retryCallback('idle')).rejects.toThrow(refused('CALLBACK_RUNNING'));
  gate(batch.id).open();
  await idle('completed');
  expect(calls.get(batch.id)).toEqual([1, 2, 1, 2, 1]);
  // A write of an alert that comes late, or again, changes nothing.
  for (const alert of [1, 2])
    await markAlertCallbackScheduled(world.batches.database, { batchId: batch.id, round: 1, alert });
  await idle('completed');
});

test('the command runs it again, and asks before', async () => {
  const batch = await failedBatch();
  repaired.add(batch.id);
  gate(batch.id).open();
  const unsure = await cli('retry-callback', batch.id, 'complete');
  expect(unsure).toMatchObject({ exitCode: 2, stdout: '' });
  const wrong = await cli('retry-callback', batch.id, 'done', '--yes');
  expect(wrong).toMatchObject({ exitCode: 2, stdout: '' });
  const { exitCode, stdout } = await cli('retry-callback', batch.id, 'complete', '--yes', '--json');
  expect({ exitCode, ...JSON.parse(stdout) }).toEqual({
    exitCode: 0,
    id: batch.id,
    action: 'retry-callback',
    event: 'complete',
    queued: false,
  });
  await ended(batch);
  const again = await cli('retry-callback', batch.id, 'complete', '--yes');
  expect(again).toMatchObject({ exitCode: 1, stdout: '' });
  expect(again.stderr).toContain('[CALLBACK_NOT_FAILED]');
});

test('it is a finding of the doctor without an id, marked in the list, and in idle_batches', async () => {
  const batch = await failedBatch();
  const report = JSON.parse((await doctor(world, '--json')).stdout) as {
    batches: { id: string; findings: { code: string; advice: string }[] }[];
  };
  const found = report.batches.find(({ id }) => id === batch.id);
  expect(found?.findings.map(({ code }) => code)).toEqual(['CALLBACK_FAILED', 'OVER']);
  expect(found?.findings[0]?.advice).toContain(`batch-jobs retry-callback ${batch.id} complete`);
  expect((await doctor(world)).exitCode).toBe(1);
  const { stdout } = await cli('list');
  expect(stdout.split('\n').find((line) => line.includes(batch.id))).toContain('failed: complete');

  const idle = async () => {
    const trx = await world.knex.transaction();
    try {
      const hourAgo = trx.raw(`now() - interval '1 hour'`);
      await trx.withSchema(world.schema).from('batches').where('id', batch.id).update('updated_at', hourAgo);
      const times = { scheduled_at: hourAgo, started_at: hourAgo, finished_at: hourAgo };
      await trx.withSchema(world.schema).from('batch_callbacks').where('batch_id', batch.id).update(times);
      return await trx.withSchema(world.schema).from('idle_batches').where('id', batch.id).first();
    } finally {
      await trx.rollback();
    }
  };
  expect(await idle()).toMatchObject({
    reason: 'callback_failed',
    detail: 'complete Mail: RangeError: no mail server',
  });
  repaired.add(batch.id);
  await batch.retryCallback('complete');
  await eventually(async () => {
    expect(await examine(world, batch.id)).toMatchObject({ codes: ['CALLBACK_RUNNING'] });
  });
  gate(batch.id).open();
  await ended(batch);
  expect(await idle()).toBeUndefined();
  const after = JSON.parse((await doctor(world, '--json')).stdout) as typeof report;
  expect(after.batches.map(({ id }) => id)).not.toContain(batch.id);
});

test('without a worker it says that it is queued, and runs once one starts', async () => {
  await using other = await createWorld();
  const worker = await other.startWorker({ callbacks: [mail] });
  const batch = await other.batches.create({ description: 'No worker', callbacks: { complete: mail } });
  await batch.jobs(() => other.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  await worker.stop();
  repaired.add(batch.id);
  gate(batch.id).open();
  expect(await batch.retryCallback('complete')).toEqual({ queued: true });
  await expect(batch.retryCallback('complete')).rejects.toThrow(refused('CALLBACK_RUNNING'));
  await other.startWorker({ callbacks: [mail] });
  await ended(batch);
});
