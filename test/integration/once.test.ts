import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
const totals: number[] = [];

/** Creates a batch by its id and enrolls; its first attempt fails after that, as if its worker had died. */
const nightly = defineJob(
  'EnrollsNight',
  async (id: string) => {
    const { attempt, batches } = currentJob();
    const batch = await batches.create({ id, description: 'Mails' });
    totals.push((await batch.jobs(() => start('a'), { once: true })).total);
    if (attempt === 1) throw new Error('Its worker died');
  },
  { retry: { initialInterval: '50ms', maximumAttempts: 2 } },
);
const chain = defineCallback(
  'EnrollsNext',
  async (batchId, { attempt, batches }) => {
    const next = await batches.create({ id: `${batchId}-next`, description: 'The next one' });
    totals.push((await next.jobs(() => start('b'), { once: true })).total);
    if (attempt === 1) throw new Error('Its worker died');
  },
  { retry: { initialInterval: '50ms' } },
);

beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), nightly],
    callbacks: [...Object.values(world.fixtures.callbacks), chain],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

const start = (value: string) => world.fixtures.jobs.record.set({ key: value }).performAsync(value);
const valuesOf = async (batchId: string) =>
  (await world.ledger.of(batchId, 'job')).map(({ detail }) => String(detail)).toSorted();
const once = { once: true } as const;

describe('jobs(block, { once: true })', () => {
  test('resolves to the total where the batch was enrolled before: while it runs, and after its end', async () => {
    const batch = await createBatch(world);
    expect(await batch.jobs(() => Promise.all([start('a'), start('b')]), once)).toEqual({ total: 2 });
    let runs = 0;
    const elsewhere = await world.openClient().find(batch.id);
    expect(await elsewhere.jobs(() => runs++, once)).toEqual({ total: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await batch.jobs(() => runs++, once)).toEqual({ total: 2 });
    expect(runs).toBe(0);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('lets a job and a callback that are tried again go on, whatever they have done before', async () => {
    totals.length = 0;
    const batch = await world.batches.create({ description: 'All nights', callbacks: { settled: chain } });
    await batch.jobs(() => nightly.performAsync(`${batch.id}-mails`));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
    expect(totals).toEqual([1, 1, 1, 1]);
    for (const [id, value] of [
      ['mails', 'a'],
      ['next', 'b'],
    ]) {
      const made = await world.batches.find(`${batch.id}-${id}`);
      expect(await made.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
      expect(await valuesOf(made.id)).toEqual([value]);
    }
  });

  test('goes on where another process was killed in the middle of the block: keys are not doubled', async () => {
    await using enqueuer = await spawnEnqueuer(world);
    const batch = await createBatch(world);
    enqueuer.enrol({ batchId: batch.id, name: 'k', count: 20, keyed: true, once: true, thenHang: true });
    await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 20 }));
    await enqueuer.kill();
    const { total } = await batch.jobs(async () => {
      for (let i = 0; i < 30; i++) await start(`k${i}`);
    }, once);
    expect(total).toBe(30);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 30 });
    expect(await valuesOf(batch.id)).toEqual(Array.from({ length: 30 }, (_, i) => `k${i}`).toSorted());
  });

  test('of two processes at once: both resolve to the same total, in every round', async () => {
    await using first = await spawnEnqueuer(world);
    await using second = await spawnEnqueuer(world);
    await inRounds(25, 3, async (round) => {
      const batch = await createBatch(world);
      // A third one has died, and its batch has heard of it, or has not.
      if (round % 3 > 0) await openBlock(world, batch.id, { isHeard: round % 3 === 1 });
      const command = { batchId: batch.id, name: 'k', count: 12, keyed: true, once: true };
      first.enrol(command);
      second.enrol(command);
      const closed = { what: 'closed', batchId: batch.id, total: 12 };
      expect(await Promise.all([first.ended(batch.id), second.ended(batch.id)])).toEqual([closed, closed]);
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 12 });
      expect(await valuesOf(batch.id)).toHaveLength(12);
      expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    });
  });

  test('waits for the one that has taken its block over, and fails when that dies', async () => {
    await using second = await spawnEnqueuer(world);
    const batch = await createBatch(world, { enrollmentTimeout: '2s' });
    let goOn!: () => void;
    const taken = new Promise<void>((resolve) => (goOn = resolve));
    const waiting = codeOf(
      batch.jobs(async () => {
        await start('a');
        await taken;
        // Refused; whatever the block makes of that.
        await start('b').catch(() => {
          throw new Error('something else');
        });
      }, once),
    );
    await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 1 }));
    second.enrol({ batchId: batch.id, name: 'c', count: 1, keyed: true, once: true, thenHang: true });
    await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 2 }));
    goOn();
    await second.kill();
    expect(await waiting).toBe('ENROLLMENT_BROKEN');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 2 });
    expect(await codeOf(batch.jobs(() => start('d'), once))).toBe('ENROLLMENT_BROKEN');
  });

  test('rejects where the block of an earlier call threw, or the batch was stopped', async () => {
    const broken = await createBatch(world);
    const error = new RangeError('row 2 is broken');
    const block = async () => {
      await start('a');
      throw error;
    };
    await expect(broken.jobs(block, once)).rejects.toBe(error);
    await expect(broken.jobs(block, once)).rejects.toMatchObject({
      code: 'ENROLLMENT_BROKEN',
      message: expect.stringContaining('RangeError: row 2 is broken'),
    });
    await broken.wait({ timeout: PATIENCE });
    expect(await codeOf(broken.jobs(block, once))).toBe('ENROLLMENT_BROKEN');
    const stopped = await createBatch(world);
    await stopped.cancel();
    expect(await codeOf(stopped.jobs(() => start('a'), once))).toBe('BATCH_CANCELLED');
    // Then its jobs are enrolled, and a second attempt has nothing else to do.
    const later = await createBatch(world);
    await later.jobs(() => world.fixtures.jobs.endsWhenAsked.performAsync(1, 1), once);
    await later.cancel();
    expect(await later.jobs(() => start('a'), once)).toEqual({ total: 1 });
    expect(await later.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
  });

  test('rejects instead of waiting for a batch whose workflow somebody has terminated', async () => {
    const batch = await createBatch(world);
    await openBlock(world, batch.id);
    await world.client.workflow.getHandle(`batch:${batch.id}`).terminate();
    expect(await codeOf(batch.jobs(() => start('a'), once))).toBe('BATCH_TERMINATED');
  });

  test('opens the block without a worker, and gives its total once one has come', async () => {
    await using own = await createWorld();
    const worker = await own.startWorker();
    const batch = await own.batches.create({ description: 'A test' });
    await worker.stop();
    const noop = () => own.fixtures.jobs.noop.performAsync(1);
    expect(await batch.jobs(noop, once)).toEqual({ total: 1 });
    await own.startWorker();
    expect(await batch.jobs(noop, once)).toEqual({ total: 1 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  });

  test('runs the block of an open-ended batch again, until it is sealed', async () => {
    const batch = await createBatch(world, { autoSeal: false });
    expect(await batch.jobs(() => start('a'), once)).toEqual({ total: 1 });
    expect(await batch.jobs(() => Promise.all([start('a'), start('b')]), once)).toEqual({ total: 2 });
    await batch.seal();
    expect(await batch.jobs(() => start('c'), once)).toEqual({ total: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await batch.jobs(() => start('c'), once)).toEqual({ total: 2 });
  });
});
