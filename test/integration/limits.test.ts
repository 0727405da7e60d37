import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import {
  countedBatch,
  countedJobs,
  createWorldOfFour,
  databaseNow,
  expectCompleted,
  peakOf,
  runsOfJobs,
  untilStarted,
} from '../support/concurrency.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import type { World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorldOfFour();
});
afterAll(() => world[Symbol.asyncDispose]());

describe('maxConcurrentJobs', () => {
  test('holds over four worker processes, and is used up', async () => {
    const runs = await expectCompleted(
      world,
      await countedBatch(world, 1_500, 200, { maxConcurrentJobs: 50 }),
      1_500,
    );
    expect(peakOf(runs)).toBeLessThanOrEqual(50);
    expect(peakOf(runs)).toBeGreaterThan(40);
    expect(new Set(runs.map(({ pid }) => pid)).size).toBe(4);
  });

  test.concurrent('of 1 runs one job after the other', async () => {
    const runs = await expectCompleted(
      world,
      await countedBatch(world, 40, 20, { maxConcurrentJobs: 1 }),
      40,
    );
    expect(peakOf(runs)).toBe(1);
  });

  test.concurrent('holds within two seconds after it was lowered, and can be raised and lifted', async () => {
    const twoSeconds = 2_000 * SLOWNESS;
    const batch = await countedBatch(world, 2_500, 250 * SLOWNESS, { maxConcurrentJobs: 50 });
    await untilStarted(world, batch, 200);
    await batch.update({ maxConcurrentJobs: 5 });
    const lowered = await databaseNow(world);
    await eventually(async () =>
      expect(await databaseNow(world)).toBeGreaterThan(lowered + 2.5 * twoSeconds),
    );
    // Before the change: jobs may start by it before the answer has come.
    const raised = await databaseNow(world);
    await batch.update({ maxConcurrentJobs: 20 });
    await eventually(async () =>
      expect(peakOf(await runsOfJobs(world, batch.id), raised + twoSeconds)).toBeGreaterThan(15),
    );
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(raised + 2.5 * twoSeconds));
    const lifted = await databaseNow(world);
    await batch.update({ maxConcurrentJobs: null });
    const runs = await expectCompleted(world, batch, 2_500);
    expect(peakOf(runs, -Infinity, lowered)).toBeGreaterThan(40);
    expect(peakOf(runs, lowered + twoSeconds, raised)).toBeLessThanOrEqual(5);
    expect(peakOf(runs, lowered + twoSeconds, raised)).toBeGreaterThan(2);
    expect(peakOf(runs, raised, lifted)).toBeLessThanOrEqual(20);
    expect(peakOf(runs, lifted)).toBeGreaterThan(50);
    expect(peakOf(runs, -Infinity, lifted)).toBeLessThanOrEqual(50);
  });

  test.concurrent('lets a slow job hold its own part alone', async () => {
    const batch = await createBatch(world, { maxConcurrentJobs: 4 });
    const { noteBothEnds } = countedJobs(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 2; i++) await noteBothEnds.performAsync('slow', 15_000 * SLOWNESS);
      for (let i = 0; i < 60; i++) await noteBothEnds.performAsync(i, 100);
    });
    await eventually(async () => expect((await batch.progress()).complete).toBe(60), 12_000);
    const runs = await expectCompleted(world, batch, 62);
    expect(peakOf(runs)).toBe(4);
  });

  test.concurrent('of a batch whose runners run makes them hand back their ranges', async () => {
    const twoSeconds = 2_000 * SLOWNESS;
    const batch = await countedBatch(world, 1_500, 500 * SLOWNESS, { continueAsNewAfterEvents: 80 });
    await untilStarted(world, batch, 100);
    const { status } = await world.client.workflow.getHandle(`batch:${batch.id}/runner/1`).describe();
    expect(status.name).toBe('RUNNING');
    await batch.update({ maxConcurrentJobs: 10 });
    const limited = await databaseNow(world);
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(limited + 3 * twoSeconds));
    const lifted = await databaseNow(world);
    await batch.update({ maxConcurrentJobs: null });
    const runs = await expectCompleted(world, batch, 1_500);
    expect(peakOf(runs, limited + twoSeconds, lifted)).toBeLessThanOrEqual(10);
    expect(peakOf(runs, limited + twoSeconds, lifted)).toBeGreaterThan(7);
    expect(peakOf(runs, -Infinity, limited)).toBeGreaterThan(10);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });

  test.concurrent('holds over continue-as-new', async () => {
    const runs = await expectCompleted(
      world,
      await countedBatch(world, 600, 100, { maxConcurrentJobs: 12, continueAsNewAfterEvents: 60 }),
      600,
    );
    expect(peakOf(runs)).toBeLessThanOrEqual(12);
    expect(peakOf(runs)).toBeGreaterThan(8);
  });
});

test('a batch that is limited from the start has no runner of its own', async () => {
  const batch = await countedBatch(world, 300, 20, { maxConcurrentJobs: 20, continueAsNewAfterEvents: 60 });
  await expectCompleted(world, batch, 300);
  const runner = world.client.workflow.getHandle(`batch:${batch.id}/runner/1`);
  await expect(runner.describe()).rejects.toThrow('workflow not found');
});

describe('jobLimits', () => {
  test.concurrent('limit the jobs of a name, and no others', async () => {
    const batch = await createBatch(world, { jobLimits: { NoteBothEnds: { maxConcurrentJobs: 3 } } });
    const { noteBothEnds } = countedJobs(world);
    const { work } = world.fixtures.jobs;
    await batch.jobs(() =>
      Promise.all(
        Array.from({ length: 600 }, (_, i) =>
          i % 10 === 0 ? noteBothEnds.performAsync(i, 100) : work.performAsync(i, 50),
        ),
      ),
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 600 });
    await expectConsistent(world, batch);
    const runs = (await runsOfJobs(world, batch.id)).filter(({ to }) => to < Infinity);
    expect(runs).toHaveLength(60);
    expect(peakOf(runs)).toBe(3);
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(600);
  });

  test.concurrent('count beside those of the batch, on each task queue, and can be changed', async () => {
    const queue = `${world.schema}-other`;
    await world.startWorker({ taskQueue: queue, jobs: Object.values(countedJobs(world)) });
    const batch = await createBatch(world, {
      maxConcurrentJobs: 12,
      jobLimits: { NoteBothEnds: { maxConcurrentJobs: 4 }, FailLate: { maxConcurrentJobs: null } },
    });
    const { noteBothEnds, failLate } = countedJobs(world);
    const onOther = { taskQueue: queue };
    await batch.jobs(() =>
      Promise.all(
        Array.from({ length: 300 }, (_, i) => [
          (i % 2 === 0 ? noteBothEnds : noteBothEnds.set(onOther)).performAsync(i, 100 * SLOWNESS),
          (i % 3 === 0 ? failLate : failLate.set(onOther)).performAsync(i, i % 50 === 0 ? 1 : 0, 50),
        ]).flat(),
      ),
    );
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(50));
    const raised = await databaseNow(world);
    await batch.update({ jobLimits: { NoteBothEnds: { maxConcurrentJobs: 8 } } });
    expect(await codeOf(batch.update({ jobLimits: { Noop: { maxConcurrentJobs: 1 } } }))).toBe(
      'JOB_NOT_LIMITED',
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 600 });
    await expectConsistent(world, batch);
    const runs = (await runsOfJobs(world, batch.id)).filter(({ to }) => to < Infinity);
    expect(runs).toHaveLength(300);
    expect(peakOf(runs, -Infinity, raised)).toBeLessThanOrEqual(4);
    expect(peakOf(runs)).toBeLessThanOrEqual(8);
    expect(peakOf(runs)).toBeGreaterThan(4);
    const { rows } = await world.knex.raw('select limits from ??.batch_progress where id = ?', [
      world.schema,
      batch.id,
    ]);
    expect(rows).toEqual([
      { limits: { maxConcurrentJobs: 12, jobLimits: { NoteBothEnds: { maxConcurrentJobs: 8 } } } },
    ]);
  });
});

describe('a limited batch', () => {
  test('goes on after one of its workers was killed, within its limit', async () => {
    const batch = await countedBatch(world, 1_000, 300 * SLOWNESS, { maxConcurrentJobs: 16 });
    await untilStarted(world, batch, 40);
    // One that runs jobs now: else the kill would hit none.
    const { pid } = (await runsOfJobs(world, batch.id)).find(({ to }) => to === Infinity)!;
    process.kill(pid, 'SIGKILL');
    const killed = await databaseNow(world);
    await world.spawnWorker({ maxConcurrentJobs: 100 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_000 });
    await expectConsistent(world, batch);
    const runs = await runsOfJobs(world, batch.id);
    const lost = runs.filter(({ to }) => to === Infinity);
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.length).toBeLessThanOrEqual(16);
    const ended = runs.map((run) => (run.pid === pid ? { ...run, to: Math.min(run.to, killed) } : run));
    expect(peakOf(ended)).toBeLessThanOrEqual(16);
    // The share of the killed worker is free again.
    expect(peakOf(ended, killed + 13_000)).toBeGreaterThan(12);
  });

  test.concurrent('can be paused, resumed and cancelled', async () => {
    const twoSeconds = 2_000 * SLOWNESS;
    const batch = await countedBatch(world, 500, 500 * SLOWNESS, { maxConcurrentJobs: 10 });
    await untilStarted(world, batch, 20);
    await batch.pause();
    const paused = await databaseNow(world);
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(paused + 1.5 * twoSeconds));
    const runs = await runsOfJobs(world, batch.id);
    expect(peakOf(runs, paused + twoSeconds)).toBe(0);
    await batch.update({ maxConcurrentJobs: 20 });
    await batch.resume();
    await untilStarted(world, batch, runs.length + 40);
    await batch.cancel();
    const progress = await batch.wait({ timeout: PATIENCE });
    expect(progress).toMatchObject({ status: 'cancelled', pending: 0 });
    expect(progress.cancelled).toBeGreaterThan(100);
    await expectConsistent(world, batch);
    expect(peakOf(await runsOfJobs(world, batch.id), paused)).toBeLessThanOrEqual(20);
  });
});
