import type { Knex } from 'knex';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { BrokenError } from '../support/fixtures.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const { gate, jobs: gated } = createGates();
const slowRetry = { initialInterval: '1 hour' } as const;
const failsForNow = defineJob(
  'FailsForNow',
  async () => {
    throw new BrokenError('not today');
  },
  { retry: slowRetry },
);
const heldCallback = defineCallback('HeldCallback', () => gate('callback').pass());
const failsForNowCallback = defineCallback(
  'FailsForNowCallback',
  async () => {
    throw new BrokenError('nobody listens');
  },
  { retry: slowRetry },
);
const unknownCallback = defineCallback('UnknownCallback', async () => {});

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gated), failsForNow],
    callbacks: [...Object.values(world.fixtures.callbacks), heldCallback, failsForNowCallback],
  });
});
afterAll(async () => {
  gate('jobs').open();
  gate('callback').open();
  await world[Symbol.asyncDispose]();
});

interface IdleRow {
  readonly reason: string;
  readonly detail: string | null;
  readonly pending: number;
  readonly minutes: number;
}

/** The batch in the view, as if it had not moved since an hour ago, and with other changes of its rows. */
async function seen(
  batch: Batch,
  change: (trx: Knex.Transaction) => Promise<unknown> = async () => {},
): Promise<IdleRow | undefined> {
  const trx = await world.knex.transaction();
  try {
    await trx.raw('set local search_path = ??', [world.schema]);
    await trx('batches').where('id', batch.id).update('updated_at', trx.raw(`now() - interval '1 hour'`));
    for (const column of ['scheduled_at', 'started_at', 'finished_at']) {
      await trx('batch_callbacks')
        .where('batch_id', batch.id)
        .whereNotNull(column)
        .update(column, trx.raw(`now() - interval '1 hour'`));
    }
    await change(trx);
    return await trx('idle_batches')
      .where('id', batch.id)
      .first<IdleRow>(
        'reason',
        'detail',
        'pending',
        trx.raw('(extract(epoch from idle) / 60)::int as minutes'),
      );
  } finally {
    await trx.rollback();
  }
}

async function running(block: () => unknown): Promise<Batch> {
  const batch = await createBatch(world);
  await batch.jobs(block);
  return batch;
}

const held = () => running(() => gated.pass.performAsync('jobs'));

test('a batch that has just moved is not idle', async () => {
  const batch = await held();
  expect(await world.knex.withSchema(world.schema).from('idle_batches').where('id', batch.id)).toEqual([]);
});

test('a batch that is over is not idle', async () => {
  const batch = await running(() => world.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  expect(await seen(batch)).toBeUndefined();
});

test('of a batch whose jobs run, or have no worker, the rows cannot tell more', async () => {
  expect(await seen(await held())).toEqual({ reason: 'jobs_open', detail: null, pending: 1, minutes: 60 });
});

test('a batch that is paused says so', async () => {
  const batch = await held();
  await batch.pause();
  expect(await seen(batch)).toMatchObject({ reason: 'paused', detail: null });
});

test('a batch that is being stopped says why', async () => {
  const batch = await running(() => gated.pass.performAsync('stopping'));
  await gate('stopping').arrivals(1);
  await batch.cancel({ reason: 'the wrong file', gracePeriod: '1 hour' });
  expect(await seen(batch)).toMatchObject({ reason: 'stopping', detail: 'the wrong file' });
  gate('stopping').open();
});

test('a batch that is not sealed waits for that, whatever its jobs do', async () => {
  const batch = await createBatch(world, { autoSeal: false });
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1 }));
  expect(await seen(batch)).toMatchObject({ reason: 'block_open', pending: 0 });
  await batch.seal();
});

test('jobs that wait for their retry show an error of theirs, and not once it is due', async () => {
  const batch = await running(async () => {
    await world.fixtures.jobs.failForGood.performAsync(1);
    await failsForNow.performAsync();
  });
  await eventually(async () =>
    expect(await seen(batch)).toMatchObject({
      reason: 'waiting_for_retry',
      detail: 'BrokenError: not today',
      pending: 1,
    }),
  );
  const due = (trx: Knex.Transaction) =>
    trx('batch_jobs').where('batch_id', batch.id).update('due_at', trx.raw(`now() - interval '1 second'`));
  expect(await seen(batch, due)).toMatchObject({ reason: 'jobs_open', detail: null });
});

test('jobs with a startDelay wait for that, until one of the batch has ended', async () => {
  const delayed = world.fixtures.jobs.noop.set({ startDelay: '1 hour' });
  const batch = await running(() => delayed.performAsync(1));
  expect(await seen(batch)).toMatchObject({ reason: 'waiting_for_start_delay', detail: null });
});

test('a batch whose deadline has passed and that nobody stopped is not run by anyone, paused or not', async () => {
  const batch = await held();
  await batch.pause();
  const overdue = (trx: Knex.Transaction) =>
    trx('batches').where('id', batch.id).update('deadline_at', trx.raw(`now() - interval '2 minutes'`));
  expect(await seen(batch, overdue)).toMatchObject({ reason: 'overdue' });
});

test('a batch whose jobs have all ended waits for its outcome', async () => {
  const batch = await held();
  const ended = (trx: Knex.Transaction) =>
    trx('batches').where('id', batch.id).update({ completed_count: 1, total: 1 });
  expect(await seen(batch, ended)).toMatchObject({ reason: 'ending', pending: 0 });
});

test('a batch whose callback runs, fails or has no worker shows which', async () => {
  const withCallback = async (callback: typeof heldCallback) => {
    const batch = await world.batches.create({ description: 'Its callback' });
    await batch.on('complete', callback);
    await batch.on('settled', world.fixtures.callbacks.onSettled);
    await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
    return batch;
  };
  const [runs, fails, waits] = await Promise.all(
    [heldCallback, failsForNowCallback, unknownCallback].map(withCallback),
  );
  await eventually(async () =>
    expect(await seen(runs!)).toEqual({
      reason: 'callback_running',
      detail: 'complete HeldCallback',
      pending: 0,
      minutes: 60,
    }),
  );
  await eventually(async () =>
    expect(await seen(fails!)).toMatchObject({
      reason: 'callback_failing',
      detail: 'complete FailsForNowCallback: BrokenError: nobody listens',
    }),
  );
  await eventually(async () =>
    expect(await seen(waits!)).toMatchObject({
      reason: 'callback_waiting',
      detail: expect.stringMatching(/^complete UnknownCallback: UnknownCallbackError: /),
    }),
  );
});

test('the begin of a callback counts as a movement', async () => {
  const batch = await held();
  const begun = (trx: Knex.Transaction) =>
    trx('batch_callbacks')
      .where({ batch_id: batch.id, event: 'complete' })
      .update({ status: 'running', started_at: trx.raw(`now() - interval '5 minutes'`) });
  expect(await seen(batch, begun)).toMatchObject({ minutes: 5 });
});
