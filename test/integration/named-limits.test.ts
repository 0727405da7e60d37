import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, BatchOptions, NamedLimit } from '../../src/index.ts';
import { createBatch, expectConsistent } from '../support/batches.ts';
import {
  countedBatch,
  countedJobs,
  createWorldOfFour,
  databaseNow,
  expectCompleted,
  mostIn,
  peakOf,
  runsOfJobs,
  untilStarted,
} from '../support/concurrency.ts';
import { examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { waitMs } from '../../src/timeouts.ts';
import { lockTable } from '../support/table-lock.ts';
import type { World } from '../support/world.ts';

let world: World;
beforeAll(async () => (world = await createWorldOfFour()));
afterAll(() => world[Symbol.asyncDispose]());

/** A batch of jobs that note when they start and end, under a limit. */
function limitedBatch(
  jobs: number,
  ms: number,
  limit: string | NamedLimit,
  options: Partial<BatchOptions> = {},
): Promise<Batch> {
  return countedBatch(world, jobs, ms, options, { limit });
}

/** A batch of jobs that note when they start, by the clock of this machine. */
async function startingBatch(jobs: number, limit: string): Promise<Batch> {
  const batch = await createBatch(world);
  const { noteStart } = countedJobs(world);
  await batch.jobs(() =>
    noteStart.set({ limit }).performBulk(Array.from({ length: jobs }, (_, i) => [i] as [number])),
  );
  return batch;
}

async function runsOf(batches: readonly Batch[]) {
  return (await Promise.all(batches.map(({ id }) => runsOfJobs(world, id)))).flat();
}

describe('a limit over all batches', () => {
  test('holds for jobs of ten batches of three kinds that run at once', async () => {
    await world.batches.limits.set('api', { maxConcurrent: 5 });
    const batches = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        i % 3 === 2 ? openEnded(20, 100) : limitedBatch(i % 3 === 0 ? 30 : 3, 100, 'api'),
      ),
    );
    for (const batch of batches) await batch.wait({ timeout: PATIENCE });
    for (const batch of batches) await expectConsistent(world, batch);
    const runs = await runsOf(batches);
    expect(runs).toHaveLength(4 * 30 + 3 * 3 + 3 * 20);
    expect(peakOf(runs)).toBe(5);
  });

  test('holds beside the limits of the batch', async () => {
    await world.batches.limits.set('beside', { maxConcurrent: 5 });
    const batch = await limitedBatch(40, 50, 'beside', { maxConcurrentJobs: 2 });
    expect(peakOf(await expectCompleted(world, batch, 40))).toBe(2);
  });

  test('lets no more jobs start in any second than it says', async () => {
    await world.batches.limits.set('rate', { perSecond: 40 });
    const batches = await Promise.all([120, 80].map((jobs) => startingBatch(jobs, 'rate')));
    for (const batch of batches) await batch.wait({ timeout: PATIENCE });
    const starts = (await Promise.all(batches.map(({ id }) => world.ledger.of(id, 'job'))))
      .flat()
      .map(({ detail }) => detail as number);
    expect(starts).toHaveLength(200);
    expect(mostIn(starts, 1_000)).toBeLessThanOrEqual(40);
    expect(Math.max(...starts) - Math.min(...starts)).toBeLessThan((200 / 40) * 1_400 * SLOWNESS);
  });

  test('is lowered and raised while jobs run, within two seconds', async () => {
    await world.batches.limits.set('moved', { maxConcurrent: 12 });
    const batch = await limitedBatch(400, 400, 'moved');
    await untilStarted(world, batch, 24);
    await world.batches.limits.set('moved', { maxConcurrent: 3 });
    const loweredAt = await databaseNow(world);
    const before = await world.ledger.count(batch.id, 'job');
    await untilStarted(world, batch, before + 30);
    await world.batches.limits.set('moved', { maxConcurrent: 20 });
    const runs = await expectCompleted(world, batch, 400);
    const raisedAt = runs.toSorted((a, b) => a.from - b.from)[before + 29]!.from;
    expect(peakOf(runs, loweredAt + 2_000 * SLOWNESS, raisedAt)).toBeLessThanOrEqual(3);
    expect(peakOf(runs, raisedAt)).toBeGreaterThan(12);
    expect(peakOf(runs)).toBeLessThanOrEqual(20);
  });

  test('of zero holds its jobs back, and frees them when it is deleted', async () => {
    await world.batches.limits.set('shut', { maxConcurrent: 0 });
    const batch = await limitedBatch(30, 1, 'shut');
    await world.batches.limits.set('open', { maxConcurrent: 50 });
    const other = await limitedBatch(30, 1, 'open');
    await expectCompleted(world, other, 30);
    await eventually(async () => {
      expect(await world.batches.limits.get('shut')).toMatchObject({ running: 0, waiting: 30 });
      const { findings } = await examine(world, batch.id);
      const found = findings.find(({ code }) => code === 'WAITING_FOR_LIMIT');
      expect(found).toMatchObject({ details: { name: 'shut', due: 30, maxConcurrent: 0 } });
    });
    expect(await world.ledger.count(batch.id, 'job')).toBe(0);
    expect(await world.batches.limits.delete('shut')).toBe(true);
    await expectCompleted(world, batch, 30);
  });

  test('gives each key its part, whatever the others have', async () => {
    await world.batches.limits.set('tenants', { maxConcurrent: 6, perKey: { maxConcurrent: 2 } });
    const large = await limitedBatch(3_000, 100, { name: 'tenants', key: 'large' });
    await untilStarted(world, large, 10);
    const small = await limitedBatch(20, 100, { name: 'tenants', key: 'small' });
    const runs = await expectCompleted(world, small, 20);
    expect(peakOf(runs)).toBe(2);
    const took = Math.max(...runs.map(({ to }) => to)) - Math.min(...runs.map(({ from }) => from));
    expect(took).toBeLessThan((1.2 * (20 / 2) * 100 + 1_000) * SLOWNESS);
    await large.cancel();
    expect(peakOf(await runsOfJobs(world, large.id))).toBe(2);
  });

  test('lets keys take turns where it has fewer permits than keys', async () => {
    await world.batches.limits.set('turns', { maxConcurrent: 1 });
    const batches = await Promise.all(
      ['a', 'b', 'c'].map((key) => limitedBatch(1_000, 50, { name: 'turns', key })),
    );
    await eventually(async () => {
      for (const { id } of batches) expect(await world.ledger.count(id, 'job')).toBeGreaterThan(0);
    });
    for (const batch of batches) await batch.cancel();
    expect(peakOf(await runsOf(batches))).toBe(1);
  });
});

test('the permits of a worker that is killed are back within fifteen seconds', async () => {
  await world.batches.limits.set('killed', { maxConcurrent: 1 });
  const batches = [await limitedBatch(1, 60_000, 'killed')];
  await untilStarted(world, batches[0]!, 1);
  batches.push(await limitedBatch(1, 60_000, 'killed'));
  const [run] = await runsOf(batches);
  process.kill(run!.pid, 'SIGKILL');
  const killedAt = performance.now();
  // The next one is that of the other batch, or the same again.
  await eventually(async () => expect(await runsOf(batches)).toHaveLength(2));
  expect(performance.now() - killedAt).toBeLessThan(15_000 * SLOWNESS);
  for (const batch of batches) await batch.cancel({ gracePeriod: '1s' });
});

test('lets nothing start while the database does not say how much there is', async () => {
  await world.batches.limits.set('silent', { maxConcurrent: 4 });
  const batch = await limitedBatch(600, 100, 'silent');
  await untilStarted(world, batch, 8);
  const lock = await lockTable(world, 'named_limits');
  await delay(waitMs('permitValid') + 2 * waitMs('permitPoll'));
  const count = () => world.ledger.count(batch.id, 'job');
  const before = await count();
  await delay(2 * waitMs('permitPoll'));
  expect(await count()).toBe(before);
  expect(before).toBeLessThan(600);
  await lock.release();
  await expectCompleted(world, batch, 600);
});

describe('a limit that was never set', () => {
  test('is refused with the name that was meant, and the block goes on', async () => {
    await world.batches.limits.set('stripe', { maxConcurrent: 20 });
    const batch = await createBatch(world);
    const { noteBothEnds } = countedJobs(world);
    await batch.jobs(async () => {
      await expect(noteBothEnds.set({ limit: 'strpe' }).performAsync(1, 1)).rejects.toMatchObject({
        code: 'UNKNOWN_LIMIT',
        limit: 'strpe',
        message: expect.stringContaining('"stripe"'),
      });
      await noteBothEnds.set({ limit: 'stripe' }).performAsync(2, 1);
    });
    await expectCompleted(world, batch, 1);
  });

  test('is refused for a plain job', async () => {
    const { noteBothEnds } = countedJobs(world);
    await expect(noteBothEnds.set({ limit: 'stripe' }).performAsync(1, 1)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      option: 'limit',
    });
  });
});

/** An open-ended batch that gets its jobs in two blocks. */
async function openEnded(jobs: number, ms: number): Promise<Batch> {
  const batch = await createBatch(world, { autoSeal: false });
  const { noteBothEnds } = countedJobs(world);
  for (let block = 0; block < 2; block++) {
    await batch.jobs(async () => {
      for (let i = 0; i < jobs / 2; i++) await noteBothEnds.set({ limit: 'api' }).performAsync(i, ms);
    });
  }
  await batch.seal();
  return batch;
}
