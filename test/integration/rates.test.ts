import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent } from '../support/batches.ts';
import {
  countedBatch,
  countedJobs,
  createWorldOfFour,
  expectCompleted,
  mostIn,
  peakOf,
  untilStarted,
} from '../support/concurrency.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import type { World } from '../support/world.ts';

// The limit `perSecond`.
let world: World;
beforeAll(async () => {
  world = await createWorldOfFour();
});
afterAll(() => world[Symbol.asyncDispose]());

/** When the jobs of a batch started. */
async function startsOf(batch: Batch): Promise<number[]> {
  return (await world.ledger.of(batch.id, 'job')).map(({ detail }) => detail as number);
}

async function startsBatch(jobs: number, options: Partial<BatchOptions>): Promise<Batch> {
  const batch = await createBatch(world, options);
  const { noteStart } = countedJobs(world);
  // At once: a slow machine might enrol them one after the other at less than their rate.
  await batch.jobs(() => noteStart.performBulk(Array.from({ length: jobs }, (_, i) => [i] as const)));
  return batch;
}

test.concurrent.each([
  { perSecond: 20, jobs: 500 },
  { perSecond: 3, jobs: 60 },
  { perSecond: 100, jobs: 2_000 },
])('of $perSecond holds in every second and in every five, and is used up', async ({ perSecond, jobs }) => {
  const batch = await startsBatch(jobs, { perSecond });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: jobs });
  const starts = await startsOf(batch);
  expect(starts).toHaveLength(jobs);
  // The clock that notes them has whole milliseconds.
  expect(mostIn(starts, 999)).toBeLessThanOrEqual(perSecond);
  expect(mostIn(starts, 4_999)).toBeLessThanOrEqual(5 * perSecond);
  const seconds = (Math.max(...starts) - Math.min(...starts)) / 1_000;
  // A slow machine may not reach it.
  expect(jobs / seconds).toBeGreaterThan((0.8 * perSecond) / SLOWNESS);
  await expectConsistent(world, batch);
});

test.concurrent('of less than one starts one job after the other', async () => {
  const batch = await startsBatch(4, { perSecond: 0.5 });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 4 });
  const starts = (await startsOf(batch)).toSorted((a, b) => a - b);
  for (const [index, start] of starts.slice(1).entries()) {
    expect(start - starts[index]!).toBeGreaterThanOrEqual(1_999);
  }
});

test('can be changed and lifted while the batch runs, and counts with maxConcurrentJobs', async () => {
  const batch = await countedBatch(world, 1_000, 500, { perSecond: 50, maxConcurrentJobs: 10 });
  await untilStarted(world, batch, 60);
  await batch.update({ maxConcurrentJobs: null });
  await untilStarted(world, batch, 300);
  await batch.update({ perSecond: null });
  const runs = await expectCompleted(world, batch, 1_000);
  const first = runs.toSorted((a, b) => a.from - b.from).slice(0, 60);
  expect(peakOf(first)).toBeLessThanOrEqual(10);
  expect(
    mostIn(
      first.map(({ from }) => from),
      900,
    ),
  ).toBeLessThanOrEqual(50);
  expect(peakOf(runs)).toBeGreaterThan(50);
});

test.concurrent('does not hold up a cancel, nor a pause', async () => {
  const batch = await startsBatch(100, { perSecond: 0.01 });
  await batch.pause();
  await batch.resume();
  await batch.cancel();
  expect(await batch.wait({ timeout: 15_000 * SLOWNESS })).toMatchObject({ status: 'cancelled', total: 100 });
  expect(await startsOf(batch)).toHaveLength((await batch.progress()).complete);
});
