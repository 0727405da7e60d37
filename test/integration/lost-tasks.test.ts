import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { markFinished, markSteered } from '../../src/database/batches.ts';
import type { SteerBatchInput } from '../../activities/contract.ts';
import { insertCallback } from '../../src/database/callbacks.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { lockTable } from '../support/table-lock.ts';
import { createWorld, type World } from '../support/world.ts';

/**
 * A workflow task writes the mirror before the server has its result. When its worker dies then, the task runs again,
 * with what has come meanwhile, and may decide otherwise: what it had written must hold all the same.
 */
let world: World;
const { gate, jobs: gated } = createGates();
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

test('a block that was closed for its silence stays closed, though it is heard when the task runs again', async () => {
  const first = await world.spawnWorker();
  const batch = await createBatch(world, { enrollmentTimeout: '1s' });
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  // The seal is written, and its task does not end: what follows waits for the table of callbacks.
  const lock = await lockTable(world, 'batch_callbacks');
  const token = await openBlock(world, batch.id);
  await eventually(async () => expect(await lock.waiting()).not.toEqual([]));
  first.kill('SIGKILL');
  await first.exited;
  await lock.release();
  await handle.signal('enrolled', { token, upTo: 0, queues: [] });
  // Sent before there is a worker: with one, the batch may be over when it arrives.
  const sealed = handle.executeUpdate('seal', { args: [{ token, upTo: 0, queues: [] }] });
  await Promise.all([
    expect(sealed).rejects.toMatchObject({ cause: { type: 'ENROLLMENT_TIMED_OUT' } }),
    world.spawnWorker(),
  ]);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed' });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  await expectConsistent(world, batch);
  await world.stopProcesses();
});

/** What a task wrote that was lost, of an update whose client is gone. */
async function steerAsLost(
  batchId: string,
  change: Pick<SteerBatchInput, 'isPaused' | 'stop'>,
): Promise<void> {
  const { settings } = await world.knex
    .withSchema(world.schema)
    .from('batches')
    .where({ id: batchId })
    .first();
  expect(
    await markSteered(world.batches.database, { batchId, round: 1, steering: 1, settings, ...change }),
  ).toBeNull();
}

describe('with one worker', () => {
  beforeAll(async () => {
    await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gated)] });
  });

  test('an outcome that was written stays, though the task that runs again would decide otherwise', async () => {
    const batch = await createBatch(world, { failWhen: 'immediate', failWhenFailed: { moreThan: 1 } });
    const database = { knex: world.knex, schema: world.schema };
    const failed = { batchId: batch.id, round: 1, outcome: 'failed', settled: false, total: null } as const;
    const events = { schedule: ['failure'], skip: ['complete', 'cancelled'] } as const;
    await batch.jobs(() => gated.pass.performAsync(batch.id));
    // What a task wrote that was lost: a job had failed, before more failures were allowed.
    expect(await markFinished(database, { ...failed, ...events })).toMatchObject({ total: 1 });
    const complete = { ...failed, outcome: 'complete', schedule: ['complete'], skip: ['failure'] } as const;
    expect(await markFinished(database, complete)).toEqual({ decided: 'failed' });
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', complete: 1 });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test.each([
    { where: 'the batch', jobs: 40, options: {} },
    { where: 'runners', jobs: 2_000, options: { continueAsNewAfterEvents: 80 } },
  ])('a pause that only its row knows of holds up no jobs in $where', async ({ jobs, options }) => {
    const batch = await createBatch(world, options);
    await steerAsLost(batch.id, { isPaused: true, stop: null });
    await batch.jobs(() =>
      world.fixtures.jobs.work.performBulk(Array.from({ length: jobs }, (_, i) => [i, 0])),
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: jobs });
    expect(await batch.reload()).toMatchObject({ pausedAt: null });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('a callback that only its row knows of is not owed for ever', async () => {
    const batch = await world.batches.create({ description: 'A test' });
    const { name: callback, options } = world.fixtures.callbacks.onComplete;
    const registration = { event: 'complete', callback, ...options } as const;
    await insertCallback(world.batches.database, { batchId: batch.id, round: 1, ...registration });
    await batch.jobs(() => world.fixtures.jobs.work.performAsync(1, 0));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    expect(await batch.callbacks()).toMatchObject([{ event: 'complete', status: 'skipped' }]);
  });

  test('a stop that only its row knows of stays, and has no jobs started', async () => {
    const batch = await createBatch(world);
    const taskQueue = `${world.taskQueue}-later`;
    await batch.jobs(() =>
      world.fixtures.jobs.work.set({ taskQueue }).performBulk([
        [1, 0],
        [2, 0],
      ]),
    );
    await steerAsLost(batch.id, {
      isPaused: false,
      stop: { outcome: 'failed', reason: 'a job has failed', graceMs: 100 },
    });
    // Until now no worker could have started them.
    await world.startWorker({ taskQueue });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 0,
      cancelled: 2,
    });
    expect(await batch.reload()).toMatchObject({ stopReason: 'a job has failed' });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });

  test('a stop that a lost task wrote under the number of a pause stays', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => world.fixtures.jobs.work.set({ startDelay: '1 hour' }).performBulk([[1, 0]]));
    await steerAsLost(batch.id, {
      isPaused: false,
      stop: { outcome: 'cancelled', reason: 'no need', graceMs: 100 },
    });
    // Refused where the batch has heard of the stop before.
    await batch.pause().catch((error: unknown) => expect(error).toMatchObject({ code: 'BATCH_SETTLED' }));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    expect(await batch.reload()).toMatchObject({ stopReason: 'no need', pausedAt: null });
  });
});
