import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { markComplete, markFailures } from '../../src/database/chunks.ts';
import { createBatch, expectConsistent, firedCallbacks, runBatch } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

/** The worker's. */
const SLOTS = 20;
const gates = createGates();
let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    maxConcurrentJobs: SLOTS,
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs)],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** A batch that also records `cancelled`, with so many jobs that take so long. */
async function workingBatch(jobs: number, ms: number, options: Partial<BatchOptions> = {}): Promise<Batch> {
  const batch = await createBatch(world, options);
  await batch.on('cancelled', world.fixtures.callbacks.another);
  await batch.jobs(async () => {
    for (let i = 0; i < jobs; i++) await world.fixtures.jobs.work.performAsync(i, ms);
  });
  return batch;
}

async function startsOf(batch: Batch): Promise<number> {
  return world.ledger.count(batch.id, 'job');
}

async function started(batch: Batch, atLeast: number): Promise<void> {
  await eventually(async () => expect(await startsOf(batch)).toBeGreaterThanOrEqual(atLeast));
}

const CANCELLED = ['Another', 'OnSettled'];

describe('cancelling', () => {
  test('stops what runs, starts nothing more, and fires cancelled and settled', async () => {
    const batch = await workingBatch(2_000, 500);
    await started(batch, 20);
    await batch.cancel({ reason: 'no longer needed' });
    const starts = await startsOf(batch);
    const progress = await batch.wait({ timeout: PATIENCE });
    expect(progress).toMatchObject({ status: 'cancelled', total: 2_000, failed: 0, pending: 0 });
    expect(progress.cancelled + progress.complete).toBe(2_000);
    expect(progress.cancelled).toBeGreaterThan(1_500);
    // A worker may hear of it a second later.
    expect(await startsOf(batch)).toBeLessThan(starts + 100 * SLOWNESS);
    expect(await firedCallbacks(world, batch.id)).toEqual(CANCELLED);
    await expectConsistent(world, batch);
    expect(batch.stopReason).toBe('no longer needed');
    expect(await batch.cancelledJobs()).toHaveLength(progress.cancelled);
    const [job] = await batch.cancelledJobs().limit(1);
    expect(job).toMatchObject({ status: 'cancelled', errorClass: null });
  });

  test('twice changes nothing, also after the batch has settled', async () => {
    const batch = await workingBatch(200, 5_000);
    await started(batch, 1);
    await Promise.all([batch.cancel({ reason: 'first' }), batch.cancel({ reason: 'second' })]);
    await batch.cancel();
    const progress = await batch.wait({ timeout: PATIENCE });
    await batch.cancel();
    expect(await batch.progress()).toEqual(progress);
    expect(['first', 'second']).toContain(batch.stopReason);
    expect(await firedCallbacks(world, batch.id)).toEqual(CANCELLED);
  });

  test('is refused once the batch has settled otherwise', async () => {
    const { batch } = await runBatch(world, (jobs) => jobs.record.performAsync(1));
    expect(await codeOf(batch.cancel())).toBe('BATCH_SETTLED');
    expect(await codeOf(batch.pause())).toBe('BATCH_SETTLED');
    expect(await codeOf(batch.resume())).toBe('BATCH_SETTLED');
    expect(await codeOf(batch.update({ failWhenFailed: 'all' }))).toBe('BATCH_SETTLED');
  });

  test('before the block was opened leaves a cancelled batch without jobs', async () => {
    const batch = await createBatch(world);
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', total: 0 });
    expect(await codeOf(batch.jobs(() => world.fixtures.jobs.record.performAsync(1)))).toBe(
      'BATCH_CANCELLED',
    );
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnSettled']);
  });

  test('closes an open block: the enqueuer is told, and what it enrolled is cancelled', async () => {
    const batch = await createBatch(world);
    const error = await codeOf(
      batch.jobs(async () => {
        for (let i = 0; i < 2_000; i++) await world.fixtures.jobs.work.performAsync(i, 500);
        await started(batch, 1);
        await eventually(async () => expect((await batch.progress()).total).toBe(2_000));
        await batch.cancel();
        for (let i = 0; i < 5_000; i++) await world.fixtures.jobs.noop.performAsync(i);
      }),
    );
    expect(error).toBe('BATCH_CANCELLED');
    const { status, total, cancelled } = await batch.wait({ timeout: PATIENCE });
    expect(status).toBe('cancelled');
    expect(total).toBeLessThan(3_001);
    expect(cancelled).toBeGreaterThan(500);
    await expectConsistent(world, batch);
  });

  test('does not wait for handlers that ignore their signal for longer than gracePeriod', async () => {
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 5; i++)
        await world.fixtures.jobs.hang.set({ startToCloseTimeout: '1 hour' }).performAsync(i);
    });
    await started(batch, 5);
    const startedAt = Date.now();
    await batch.cancel({ gracePeriod: '1s' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      cancelled: 5,
      failed: 0,
    });
    expect(Date.now() - startedAt).toBeLessThan(8_000 * SLOWNESS);
  });

  test('lets a handler that ends in its grace period be complete', async () => {
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      await world.fixtures.jobs.endsWhenAsked.performAsync('a', 300);
      for (let i = 0; i < 15; i++) await world.fixtures.jobs.work.performAsync(i, 60_000);
    });
    await started(batch, 16);
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      complete: 1,
      cancelled: 15,
    });
    await expectConsistent(world, batch);
  });

  test('settles a batch of which one task queue has no worker', async () => {
    const batch = await createBatch(world);
    const { work } = world.fixtures.jobs;
    await batch.jobs(async () => {
      for (let i = 0; i < 50; i++)
        await work.set({ taskQueue: `${world.schema}-nobody` }).performAsync(i, 10);
      await work.performAsync('here', 10);
    });
    await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1 }));
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      complete: 1,
      cancelled: 50,
    });
  });

  test('stops runners of their own workflows, too', async () => {
    const batch = await workingBatch(1_000, 400, { continueAsNewAfterEvents: 80 });
    await started(batch, 20);
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      total: 1_000,
      pending: 0,
    });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(CANCELLED);
  });

  test('races the last job, again and again: one outcome, one callback each time', async () => {
    const seen = new Set<string>();
    await inRounds(60, 4, async (round) => {
      // From before the first job has ended to after the last has: on any machine, in the first and last round.
      const batch = await workingBatch(3, round === 1 ? 60_000 : 30);
      if (round === 60) await batch.wait({ timeout: PATIENCE });
      else await delay(5 * round);
      const error = await codeOf(batch.cancel({ gracePeriod: '1s' }));
      const { status, complete, cancelled, pending } = await batch.wait({ timeout: PATIENCE });
      seen.add(status);
      expect([error, status]).toEqual(
        status === 'cancelled' ? [undefined, 'cancelled'] : ['BATCH_SETTLED', 'complete'],
      );
      expect(complete + cancelled).toBe(3);
      expect(pending).toBe(0);
      expect(await firedCallbacks(world, batch.id)).toEqual(
        status === 'cancelled' ? CANCELLED : ['OnComplete', 'OnSettled'],
      );
      await expectConsistent(world, batch);
    });
    expect([...seen].sort()).toEqual(['cancelled', 'complete']);
  });
});

describe('pausing', () => {
  test('lets what runs end and starts nothing more until it is resumed', async () => {
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      // They leave no room for others until their gate opens.
      for (let i = 0; i < SLOTS; i++) await gates.jobs.pass.performAsync(batch.id);
      for (let i = 0; i < 280; i++) await world.fixtures.jobs.work.performAsync(i, 100);
    });
    await gates.gate(batch.id).arrivals(SLOTS);
    await batch.pause();
    await batch.pause();
    expect((await batch.reload()).pausedAt).toBeInstanceOf(Date);
    // Workers hear of it within a second.
    await delay(2_000 * SLOWNESS);
    gates.gate(batch.id).open();
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThanOrEqual(SLOTS));
    const starts = await startsOf(batch);
    // What runs takes a tenth of a second.
    await delay(1_500);
    expect(await startsOf(batch)).toBe(starts);
    const progress = await batch.progress();
    expect(progress).toMatchObject({ status: 'running', complete: SLOTS + starts, pending: 280 - starts });
    expect(starts).toBeLessThan(280);
    await batch.resume();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 300 });
    expect(await startsOf(batch)).toBe(280);
    expect((await batch.reload()).pausedAt).toBeNull();
  });

  test('holds while the block goes on, and in runners of their own workflows', async () => {
    const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
    await batch.jobs(async () => {
      for (let i = 0; i < 1_000; i++) await world.fixtures.jobs.work.performAsync(i, 20);
      await started(batch, 1);
      await batch.pause();
      for (let i = 0; i < 1_000; i++) await world.fixtures.jobs.noop.performAsync(i);
    });
    await delay(2_000 * SLOWNESS);
    const { complete } = await batch.progress();
    await delay(1_000);
    expect((await batch.progress()).complete).toBe(complete);
    expect(complete).toBeLessThan(2_000);
    await batch.resume();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2_000 });
  });

  test('a paused batch can be cancelled', async () => {
    const batch = await workingBatch(300, 5_000);
    await batch.pause();
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
    expect(await codeOf(batch.resume())).toBe('BATCH_SETTLED');
  });
});

describe('a failure policy', () => {
  test('that is not exceeded leaves the batch complete, and its failed jobs failed', async () => {
    const { batch, progress, fired } = await runBatch(
      world,
      async (jobs) => {
        for (let i = 0; i < 3; i++) await jobs.failForGood.performAsync(i);
        for (let i = 0; i < 97; i++) await jobs.noop.performAsync(i);
      },
      { failWhenFailed: { moreThan: 3 } },
    );
    expect(progress).toMatchObject({ status: 'complete', complete: 97, failed: 3 });
    expect(fired).toEqual(['OnComplete', 'OnSettled']);
    expect(await batch.failedJobs()).toHaveLength(3);
  });

  test.each([
    { policy: { moreThan: 2 }, status: 'failed' },
    { policy: { moreThan: '3%' }, status: 'complete' },
    { policy: { moreThan: '2.9%' }, status: 'failed' },
    { policy: 'all', status: 'complete' },
    { policy: 'any', status: 'failed' },
  ] as const)('of $policy makes a batch with 3 of 100 failed jobs $status', async ({ policy, status }) => {
    const { progress } = await runBatch(
      world,
      async (jobs) => {
        for (let i = 0; i < 100; i++) await (i % 40 === 0 ? jobs.failForGood : jobs.noop).performAsync(i);
      },
      { failWhenFailed: policy },
    );
    expect(progress).toMatchObject({ status, failed: 3 });
  });

  test("decides with failWhen 'immediate' as soon as it is certain", async () => {
    const batch = await createBatch(world, { failWhen: 'immediate', failWhenFailed: { moreThan: 1 } });
    await batch.jobs(async () => {
      for (let i = 0; i < 2; i++) await world.fixtures.jobs.failForGood.performAsync(i);
      await gates.jobs.pass.performAsync(batch.id);
    });
    await eventually(async () =>
      expect(await batch.progress()).toMatchObject({ status: 'failed', pending: 1 }),
    );
    gates.gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 2,
    });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });

  test('that is within its tolerance does not excuse an enrolment that broke', async () => {
    const batch = await createBatch(world, { failWhenFailed: 'all' });
    await batch
      .jobs(async () => {
        await world.fixtures.jobs.noop.performAsync(1);
        throw new Error('broke');
      })
      .catch(() => {});
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 0,
    });
  });

  test("with afterFailure 'cancelRemaining' cancels the rest, and the batch is failed", async () => {
    const batch = await createBatch(world, { afterFailure: 'cancelRemaining' });
    await batch.jobs(async () => {
      await world.fixtures.jobs.failForGood.performAsync('bad');
      for (let i = 0; i < 500; i++) await world.fixtures.jobs.work.performAsync(i, 5_000);
    });
    const progress = await batch.wait({ timeout: PATIENCE });
    expect(progress).toMatchObject({ status: 'failed', failed: 1, pending: 0 });
    expect(progress.cancelled).toBeGreaterThan(300);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    await batch.reload();
    expect(batch.stopReason).toContain('too many jobs failed');
    await expectConsistent(world, batch);
  });

  test('can be changed while the batch runs, and races the deciding failure: one outcome each time', async () => {
    const seen = new Set<string>();
    await inRounds(40, 4, async (round) => {
      const batch = await createBatch(world, { failWhen: 'immediate' });
      const { failsAfter, work } = world.fixtures.jobs;
      await batch.jobs(async () => {
        // The first round is changed before its failure on any machine, and the last one after.
        await (round === 1
          ? gates.jobs.passAndFail.performAsync(batch.id)
          : failsAfter.performAsync('bad', 40));
        await work.performAsync('slow', 900);
      });
      if (round === 40) await eventually(async () => expect((await batch.progress()).status).toBe('failed'));
      else await delay((round * 37) % 600);
      expect([undefined, 'BATCH_SETTLED']).toContain(
        await codeOf(batch.update({ failWhenFailed: { moreThan: 1 } })),
      );
      gates.gate(batch.id).open();
      const { status } = await batch.wait({ timeout: PATIENCE });
      seen.add(status);
      expect(await firedCallbacks(world, batch.id)).toEqual([
        status === 'failed' ? 'OnFailure' : 'OnComplete',
        'OnSettled',
      ]);
      await expectConsistent(world, batch);
    });
    expect([...seen].sort()).toEqual(['complete', 'failed']);
  });
});

describe('a deadline', () => {
  /** Enough to create a batch and enrol hundreds of jobs. */
  const DEADLINE_MS = Math.ceil(3_000 * SLOWNESS);

  test('stops what has not ended, and the batch is failed', async () => {
    const batch = await workingBatch(500, 5_000, { deadline: DEADLINE_MS });
    expect(batch.deadlineAt).toBeInstanceOf(Date);
    const progress = await batch.wait({ timeout: PATIENCE });
    expect(progress).toMatchObject({ status: 'failed', failed: 0, pending: 0 });
    expect(progress.cancelled).toBeGreaterThan(300);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    expect((await batch.reload()).stopReason).toContain('deadline');
    await expectConsistent(world, batch);
  });

  test("with afterDeadline 'cancel' leaves it cancelled", async () => {
    const batch = await workingBatch(500, 5_000, { deadline: DEADLINE_MS, afterDeadline: 'cancel' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', failed: 0 });
    expect(await firedCallbacks(world, batch.id)).toEqual(CANCELLED);
  });

  test('that is over before the database has answered stops the batch all the same', async () => {
    const batch = await world.batches.create({ description: 'd', deadline: 1 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 0 });
    expect((await batch.reload()).stopReason).toContain('deadline');
  });

  test('can be moved, set and taken away while the batch runs', async () => {
    const batch = await workingBatch(80, 1_000 * SLOWNESS, { deadline: DEADLINE_MS });
    await batch.update({ deadline: null });
    expect((await batch.reload()).deadlineAt).toBeNull();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 80 });
    const other = await workingBatch(500, 1_000);
    await other.update({ deadline: '1s', afterDeadline: 'cancel' });
    expect(await other.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
  });

  test('races the last job, again and again: one outcome, one callback each time', async () => {
    const seen = new Set<string>();
    await inRounds(40, 4, async (round) => {
      // From well before the jobs end to well after: the first and the last round on any machine.
      const batch = await workingBatch(3, round === 1 ? 60_000 : 1_000);
      const deadline = round === 40 ? '1 hour' : 100 + ((round * 57) % 2_200);
      expect([undefined, 'BATCH_SETTLED']).toContain(await codeOf(batch.update({ deadline })));
      const { status, complete, cancelled } = await batch.wait({ timeout: PATIENCE });
      seen.add(status);
      expect(complete + cancelled).toBe(3);
      expect(await firedCallbacks(world, batch.id)).toEqual([
        status === 'failed' ? 'OnFailure' : 'OnComplete',
        'OnSettled',
      ]);
      await expectConsistent(world, batch);
    });
    expect([...seen].sort()).toEqual(['complete', 'failed']);
  });
});

test('an outcome that comes after the batch has settled changes nothing', async () => {
  const batch = await workingBatch(200, 5_000);
  await started(batch, 1);
  await batch.cancel({ gracePeriod: '100ms' });
  const progress = await batch.wait({ timeout: PATIENCE });
  const { database } = world.batches;
  const now = Date.now();
  const [job] = await batch.cancelledJobs().limit(1);
  const ended = { position: job!.position, startedAt: now, finishedAt: now };
  const running = { batchId: batch.id, round: 1 };
  expect(await markComplete(database, running, [ended])).toBe(0);
  const error = { attempt: 1, retryInMs: null, errorClass: 'Error', errorMessage: 'late' };
  expect(await markFailures(database, running, [{ ...ended, ...error }])).toMatchObject({ changed: 0 });
  expect(await batch.progress()).toEqual(progress);
  expect(await batch.cancelledJobs().where({ position: job!.position })).toEqual([job]);
});
