import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentBatch, currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
const gates = createGates();
const codes = new Map<string, string | undefined>();

/** Waits for a batch, and keeps what it is refused with. */
const waits = defineJob('Waits', async (id: string) => {
  const { batchId, batches } = currentJob();
  codes.set(`${batchId} ${id}`, await codeOf((await batches.find(id)).wait({ timeout: '1s' })));
});
/** Makes a batch a job of its own one. */
const enrols = defineJob('Enrols', async (id: string) => {
  const { batchId, batches } = currentJob();
  const batch = await batches.find(id);
  codes.set(`${batchId} ${id}`, await codeOf(currentBatch().jobs(() => batch.enrol())));
});
const waitsToo = defineCallback('WaitsToo', async (batchId, { batches }) => {
  codes.set(batchId, await codeOf((await batches.find(batchId)).wait({ timeout: '1s' })));
});

beforeAll(async () => {
  world = await createWorld();
  const { jobs, callbacks } = world.fixtures;
  await world.startWorker({
    jobs: [...Object.values(jobs), ...Object.values(gates.jobs), waits, enrols],
    callbacks: [...Object.values(callbacks), waitsToo],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

const record = (value: string) => world.fixtures.jobs.record.performAsync(value);
const ended = (batch: Batch) => batch.wait({ timeout: PATIENCE });

describe('batches that would wait for each other', () => {
  test('are refused when the last one would close the cycle, which is named; the rest is enrolled', async () => {
    const [a, b, c, d] = [
      await createBatch(world),
      await createBatch(world),
      await createBatch(world),
      await createBatch(world),
    ];
    await a.jobs(() => Promise.all([b.enrol(), record('a')]));
    await b.jobs(() => Promise.all([c.enrol(), d.enrol()]));
    const { total } = await c.jobs(async () => {
      const ends = await Promise.allSettled([record('c'), a.enrol(), d.enrol(), c.enrol(), record('c2')]);
      expect(ends).toMatchObject([
        { status: 'fulfilled' },
        { reason: { code: 'BATCH_CYCLE', path: [c.id, a.id, b.id, c.id] } },
        { status: 'fulfilled' },
        { reason: { code: 'BATCH_CYCLE', path: [c.id, c.id] } },
        { status: 'fulfilled' },
      ]);
    });
    expect(total).toBe(3);
    await d.jobs(() => record('d'));
    for (const [batch, jobs] of [
      [a, 2],
      [b, 2],
      [c, 3],
      [d, 1],
    ] as const) {
      expect(await ended(batch)).toMatchObject({ status: 'complete', complete: jobs });
      await expectConsistent(world, batch);
    }
  });

  test('and enroll each other at once: one of them is refused, in every round', async () => {
    const other = world.openClient();
    await inRounds(30, 4, async () => {
      const [a, b] = [await createBatch(world), await createBatch(world)];
      const own = await other.find(b.id);
      const ends = await Promise.allSettled([a.jobs(() => b.enrol()), own.jobs(() => a.enrol())]);
      const refused = ends.filter((end) => end.status === 'rejected');
      expect(refused).toMatchObject([{ reason: { code: 'BATCH_CYCLE' } }]);
      // That one is failed by what its block threw, and the other by its member.
      for (const batch of [a, b]) {
        expect(await ended(batch)).toMatchObject({ status: 'failed' });
        expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
      }
    });
  });

  test('are refused in a cycle of three that is closed from three sides at once', async () => {
    await inRounds(15, 3, async () => {
      const made = [await createBatch(world), await createBatch(world), await createBatch(world)];
      const ends = await Promise.all(
        made.map((batch, i) => codeOf(batch.jobs(() => made[(i + 1) % 3]!.enrol()))),
      );
      expect(ends.filter((code) => code === 'BATCH_CYCLE')).toHaveLength(1);
      for (const batch of made) await ended(batch);
    });
  });

  test('are refused in a handler, too', async () => {
    const [inner, outer] = [await createBatch(world), await createBatch(world)];
    const gate = gates.gate(`hold-${inner.id}`);
    await inner.jobs(() => gates.jobs.pass.performAsync(`hold-${inner.id}`));
    await outer.jobs(() => inner.enrol());
    gate.open();
    const late = await createBatch(world);
    await late.jobs(async () => {
      await enrols.performAsync(late.id);
      await enrols.performAsync(outer.id);
    });
    expect(await ended(late)).toMatchObject({ status: 'complete', complete: 3 });
    expect(codes.get(`${late.id} ${late.id}`)).toBe('BATCH_CYCLE');
    expect(codes.get(`${late.id} ${outer.id}`)).toBeUndefined();
    await ended(outer);
  });

  test('are not where a batch is a job of two others, or twice of one, which is one job', async () => {
    const [a, b, inner] = [await createBatch(world), await createBatch(world), await createBatch(world)];
    const jids: string[] = [];
    await a.jobs(async () => jids.push(await inner.enrol(), await inner.enrol()));
    await b.jobs(async () => {
      await a.enrol();
      await inner.enrol();
    });
    expect(jids).toEqual([`${a.id}/1`, `${a.id}/1`]);
    await inner.jobs(() => record('inner'));
    expect(await ended(a)).toMatchObject({ status: 'complete', complete: 1 });
    expect(await ended(b)).toMatchObject({ status: 'complete', complete: 2 });
  });
});

test('a batch is not waited for by its own jobs, callbacks and block, nor by a job of a batch that it waits for', async () => {
  const [batch, outer] = [await createBatch(world), await createBatch(world)];
  const also = await world.batches.create({
    description: 'With a callback',
    callbacks: { settled: waitsToo },
  });
  await outer.jobs(() => batch.enrol());
  await batch.jobs(async () => {
    expect(await codeOf(batch.wait())).toBe('BATCH_CYCLE');
    await waits.performAsync(batch.id);
    await waits.performAsync(outer.id);
    await waits.performAsync(also.id);
  });
  await also.jobs(() => record('also'));
  expect(await ended(outer)).toMatchObject({ status: 'complete' });
  expect(await ended(also)).toMatchObject({ status: 'complete' });
  expect(codes.get(`${batch.id} ${batch.id}`)).toBe('BATCH_CYCLE');
  expect(codes.get(`${batch.id} ${outer.id}`)).toBe('BATCH_CYCLE');
  expect(codes.get(also.id)).toBe('BATCH_CYCLE');
  // Whoever waits for another batch is let.
  expect(codes.get(`${batch.id} ${also.id}`)).not.toBe('BATCH_CYCLE');
});

test('who adds batches as jobs waits for others who do, and nobody else does', async () => {
  const [a, b, inner] = [await createBatch(world), await createBatch(world), await createBatch(world)];
  const lock = `select pg_advisory_xact_lock(hashtext('temporal-batch-jobs:members'), hashtext(?))`;
  const enrolled: string[] = [];
  const holder = await world.knex.transaction();
  await holder.raw(lock, [world.schema]);
  const adding = a.jobs(() => inner.enrol()).then(() => enrolled.push('a'));
  await b.jobs(() => world.fixtures.jobs.record.set({ key: 'one' }).performAsync('b'));
  expect(await ended(b)).toMatchObject({ status: 'complete' });
  expect(enrolled).toEqual([]);
  await holder.rollback();
  await adding;
  await inner.jobs(() => record('inner'));
  expect(await ended(a)).toMatchObject({ status: 'complete' });
});
