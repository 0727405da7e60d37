import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { countedJobs, databaseNow, mostIn, peakOf, runsOfJobs } from '../support/concurrency.ts';
import { eventually } from '../support/eventually.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await Promise.all([1, 2, 3, 4].map(() => world.spawnWorker({ maxConcurrentJobs: 100 })));
}, 120_000);
afterAll(() => world[Symbol.asyncDispose]());

/** A batch of jobs that note when they start and end, and take so long. */
async function countedBatch(jobs: number, ms: number, options: Partial<BatchOptions> = {}): Promise<Batch> {
  const batch = await createBatch(world, options);
  const { noteBothEnds } = countedJobs(world);
  await batch.jobs(async () => {
    for (let i = 0; i < jobs; i++) await noteBothEnds.performAsync(i, ms);
  });
  return batch;
}

async function started(batch: Batch, atLeast: number): Promise<void> {
  await eventually(async () =>
    expect((await runsOfJobs(world, batch.id)).length).toBeGreaterThanOrEqual(atLeast),
  );
}

/** Waits for the end of a batch that is to be complete, and checks that each job ran once. */
async function completed(batch: Batch, jobs: number) {
  expect(await batch.wait({ timeout: '100s' })).toMatchObject({ status: 'complete', complete: jobs });
  await expectConsistent(world, batch);
  const runs = await runsOfJobs(world, batch.id);
  expect(runs).toHaveLength(jobs);
  return runs;
}

describe('maxConcurrentJobs', () => {
  test('holds over four worker processes, and is used up', async () => {
    const runs = await completed(await countedBatch(1_500, 200, { maxConcurrentJobs: 50 }), 1_500);
    expect(peakOf(runs)).toBeLessThanOrEqual(50);
    expect(peakOf(runs)).toBeGreaterThan(40);
    expect(new Set(runs.map(({ pid }) => pid)).size).toBe(4);
  }, 120_000);

  test('of 1 runs one job after the other', async () => {
    const runs = await completed(await countedBatch(40, 20, { maxConcurrentJobs: 1 }), 40);
    expect(peakOf(runs)).toBe(1);
  }, 120_000);

  test('holds within two seconds after it was lowered, and can be raised and lifted', async () => {
    const batch = await countedBatch(4_000, 250, { maxConcurrentJobs: 50 });
    await started(batch, 200);
    await batch.update({ maxConcurrentJobs: 5 });
    const lowered = await databaseNow(world);
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(lowered + 5_000));
    // Before the change: jobs may start by it before the answer has come.
    const raised = await databaseNow(world);
    await batch.update({ maxConcurrentJobs: 20 });
    await eventually(async () =>
      expect(peakOf(await runsOfJobs(world, batch.id), raised + 2_000)).toBeGreaterThan(15),
    );
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(raised + 5_000));
    const lifted = await databaseNow(world);
    await batch.update({ maxConcurrentJobs: null });
    const runs = await completed(batch, 4_000);
    expect(peakOf(runs, -Infinity, lowered)).toBeGreaterThan(40);
    expect(peakOf(runs, lowered + 2_000, raised)).toBeLessThanOrEqual(5);
    expect(peakOf(runs, lowered + 2_000, raised)).toBeGreaterThan(2);
    expect(peakOf(runs, raised, lifted)).toBeLessThanOrEqual(20);
    expect(peakOf(runs, lifted)).toBeGreaterThan(50);
    expect(peakOf(runs, -Infinity, lifted)).toBeLessThanOrEqual(50);
  }, 120_000);

  test('lets a slow job hold its own part alone', async () => {
    const batch = await createBatch(world, { maxConcurrentJobs: 4 });
    const { noteBothEnds } = countedJobs(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 2; i++) await noteBothEnds.performAsync('slow', 15_000);
      for (let i = 0; i < 60; i++) await noteBothEnds.performAsync(i, 100);
    });
    await eventually(async () => expect((await batch.progress()).complete).toBe(60), 12_000);
    const runs = await completed(batch, 62);
    expect(peakOf(runs)).toBe(4);
  }, 120_000);

  test('of a batch whose runners run makes them hand back their ranges', async () => {
    const batch = await countedBatch(2_000, 200, { continueAsNewAfterEvents: 80 });
    await started(batch, 100);
    const { status } = await world.client.workflow.getHandle(`batch:${batch.id}/runner/1`).describe();
    expect(status.name).toBe('RUNNING');
    await batch.update({ maxConcurrentJobs: 10 });
    const limited = await databaseNow(world);
    const runs = await completed(batch, 2_000);
    expect(peakOf(runs, limited + 2_000)).toBeLessThanOrEqual(10);
    expect(peakOf(runs, limited + 2_000)).toBeGreaterThan(7);
    expect(peakOf(runs, -Infinity, limited)).toBeGreaterThan(10);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  }, 120_000);

  test('holds over continue-as-new', async () => {
    const runs = await completed(
      await countedBatch(600, 100, { maxConcurrentJobs: 12, continueAsNewAfterEvents: 60 }),
      600,
    );
    expect(peakOf(runs)).toBeLessThanOrEqual(12);
    expect(peakOf(runs)).toBeGreaterThan(8);
  }, 120_000);
});

test('a batch that is limited from the start has no runner of its own', async () => {
  const batch = await countedBatch(300, 20, { maxConcurrentJobs: 20, continueAsNewAfterEvents: 60 });
  await completed(batch, 300);
  const runner = world.client.workflow.getHandle(`batch:${batch.id}/runner/1`);
  await expect(runner.describe()).rejects.toThrow('workflow not found');
}, 60_000);

describe('perSecond', () => {
  /** When the jobs of a batch started. */
  async function startsOf(batch: Batch): Promise<number[]> {
    return (await world.ledger.of(batch.id, 'job')).map(({ detail }) => detail as number);
  }

  async function startsBatch(jobs: number, options: Partial<BatchOptions>): Promise<Batch> {
    const batch = await createBatch(world, options);
    const { noteStart } = countedJobs(world);
    await batch.jobs(async () => {
      for (let i = 0; i < jobs; i++) await noteStart.performAsync(i);
    });
    return batch;
  }

  test.each([
    { perSecond: 20, jobs: 500 },
    { perSecond: 3, jobs: 60 },
    { perSecond: 100, jobs: 2_000 },
  ])(
    'of $perSecond holds in every second and in every five, and is used up',
    async ({ perSecond, jobs }) => {
      const batch = await startsBatch(jobs, { perSecond });
      expect(await batch.wait({ timeout: '100s' })).toMatchObject({ status: 'complete', complete: jobs });
      const starts = await startsOf(batch);
      expect(starts).toHaveLength(jobs);
      // The clock that notes them has whole milliseconds.
      expect(mostIn(starts, 999)).toBeLessThanOrEqual(perSecond);
      expect(mostIn(starts, 4_999)).toBeLessThanOrEqual(5 * perSecond);
      const seconds = (Math.max(...starts) - Math.min(...starts)) / 1_000;
      expect(jobs / seconds).toBeGreaterThan(0.8 * perSecond);
      await expectConsistent(world, batch);
    },
    120_000,
  );

  test('of less than one starts one job after the other', async () => {
    const batch = await startsBatch(4, { perSecond: 0.5 });
    expect(await batch.wait({ timeout: '60s' })).toMatchObject({ status: 'complete', complete: 4 });
    const starts = (await startsOf(batch)).toSorted((a, b) => a - b);
    for (const [index, start] of starts.slice(1).entries()) {
      expect(start - starts[index]!).toBeGreaterThanOrEqual(1_999);
    }
  }, 60_000);

  test('can be changed and lifted while the batch runs, and counts with maxConcurrentJobs', async () => {
    const batch = await countedBatch(2_000, 500, { perSecond: 50, maxConcurrentJobs: 10 });
    await started(batch, 60);
    await batch.update({ maxConcurrentJobs: null });
    await started(batch, 300);
    await batch.update({ perSecond: null });
    const runs = await completed(batch, 2_000);
    const first = runs.toSorted((a, b) => a.from - b.from).slice(0, 60);
    expect(peakOf(first)).toBeLessThanOrEqual(10);
    expect(
      mostIn(
        first.map(({ from }) => from),
        900,
      ),
    ).toBeLessThanOrEqual(50);
    expect(peakOf(runs)).toBeGreaterThan(50);
  }, 120_000);

  test('does not hold up a cancel, nor a pause', async () => {
    const batch = await startsBatch(100, { perSecond: 0.01 });
    await batch.pause();
    await batch.resume();
    await batch.cancel();
    expect(await batch.wait({ timeout: '15s' })).toMatchObject({ status: 'cancelled', total: 100 });
    expect(await startsOf(batch)).toHaveLength((await batch.progress()).complete);
  }, 60_000);
});

describe('jobLimits', () => {
  test('limit the jobs of a name, and no others', async () => {
    const batch = await createBatch(world, { jobLimits: { NoteBothEnds: { maxConcurrentJobs: 3 } } });
    const { noteBothEnds } = countedJobs(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 600; i++) {
        if (i % 10 === 0) await noteBothEnds.performAsync(i, 100);
        else await world.fixtures.jobs.work.performAsync(i, 50);
      }
    });
    expect(await batch.wait({ timeout: '60s' })).toMatchObject({ status: 'complete', complete: 600 });
    await expectConsistent(world, batch);
    const runs = (await runsOfJobs(world, batch.id)).filter(({ to }) => to < Infinity);
    expect(runs).toHaveLength(60);
    expect(peakOf(runs)).toBe(3);
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(600);
  }, 120_000);

  test('count beside those of the batch, on each task queue, and can be changed', async () => {
    const queue = `${world.schema}-other`;
    await world.startWorker({ taskQueue: queue, jobs: Object.values(countedJobs(world)) });
    const batch = await createBatch(world, {
      maxConcurrentJobs: 12,
      jobLimits: { NoteBothEnds: { maxConcurrentJobs: 4 }, FailLate: { maxConcurrentJobs: null } },
    });
    const { noteBothEnds, failLate } = countedJobs(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 300; i++) {
        await (i % 2 === 0 ? noteBothEnds : noteBothEnds.set({ taskQueue: queue })).performAsync(i, 100);
        await (i % 3 === 0 ? failLate : failLate.set({ taskQueue: queue })).performAsync(
          i,
          i % 50 === 0 ? 1 : 0,
          50,
        );
      }
    });
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(50));
    const raised = await databaseNow(world);
    await batch.update({ jobLimits: { NoteBothEnds: { maxConcurrentJobs: 8 } } });
    expect(await codeOf(batch.update({ jobLimits: { Noop: { maxConcurrentJobs: 1 } } }))).toBe(
      'JOB_NOT_LIMITED',
    );
    expect(await batch.wait({ timeout: '90s' })).toMatchObject({ status: 'complete', complete: 600 });
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
  }, 120_000);
});

describe('a limited batch', () => {
  test('retries its jobs, delays them, and fails those that cannot succeed', async () => {
    const batch = await createBatch(world, { maxConcurrentJobs: 5 });
    const { failTimes, failForGood, noop } = world.fixtures.jobs;
    await batch.jobs(async () => {
      for (let i = 0; i < 60; i++) await failTimes.performAsync(i, i % 4);
      for (let i = 0; i < 5; i++) await failForGood.performAsync(i);
      for (let i = 0; i < 5; i++) await noop.set({ startDelay: '2s' }).performAsync(i);
    });
    expect(await batch.wait({ timeout: '60s' })).toMatchObject({
      status: 'failed',
      complete: 50,
      failed: 20,
    });
    await expectConsistent(world, batch);
    expect(await batch.failedJobs().where('attempts', 3)).toHaveLength(15);
  }, 60_000);

  test('goes on after one of its workers was killed, within its limit', async () => {
    const batch = await countedBatch(1_000, 300, { maxConcurrentJobs: 16 });
    await started(batch, 40);
    // One that runs jobs now: else the kill would hit none.
    const { pid } = (await runsOfJobs(world, batch.id)).find(({ to }) => to === Infinity)!;
    process.kill(pid, 'SIGKILL');
    const killed = await databaseNow(world);
    await world.spawnWorker({ maxConcurrentJobs: 100 });
    expect(await batch.wait({ timeout: '90s' })).toMatchObject({ status: 'complete', complete: 1_000 });
    await expectConsistent(world, batch);
    const runs = await runsOfJobs(world, batch.id);
    const lost = runs.filter(({ to }) => to === Infinity);
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.length).toBeLessThanOrEqual(16);
    const ended = runs.map((run) => (run.pid === pid ? { ...run, to: Math.min(run.to, killed) } : run));
    expect(peakOf(ended)).toBeLessThanOrEqual(16);
    // The share of the killed worker is free again.
    expect(peakOf(ended, killed + 13_000)).toBeGreaterThan(12);
  }, 120_000);

  test('can be paused, resumed and cancelled', async () => {
    const batch = await countedBatch(500, 100, { maxConcurrentJobs: 10 });
    await started(batch, 20);
    await batch.pause();
    const paused = await databaseNow(world);
    await eventually(async () => expect(await databaseNow(world)).toBeGreaterThan(paused + 3_000));
    const runs = await runsOfJobs(world, batch.id);
    expect(peakOf(runs, paused + 2_000)).toBe(0);
    await batch.update({ maxConcurrentJobs: 20 });
    await batch.resume();
    await started(batch, runs.length + 40);
    await batch.cancel();
    const progress = await batch.wait({ timeout: '30s' });
    expect(progress).toMatchObject({ status: 'cancelled', pending: 0 });
    expect(progress.cancelled).toBeGreaterThan(100);
    await expectConsistent(world, batch);
    expect(peakOf(await runsOfJobs(world, batch.id), paused)).toBeLessThanOrEqual(20);
  }, 60_000);

  test('goes on with the other task queues when one has no worker', async () => {
    const batch = await createBatch(world, { maxConcurrentJobs: 1 });
    const { record } = world.fixtures.jobs;
    await batch.jobs(async () => {
      for (let i = 0; i < 20; i++) {
        await record.set({ taskQueue: `${world.schema}-nobody` }).performAsync(i);
        await record.performAsync(i);
      }
    });
    await eventually(async () => expect((await batch.progress()).complete).toBe(20), 60_000);
    await batch.cancel();
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'cancelled', cancelled: 20 });
  }, 120_000);

  test('is stopped by its deadline while jobs wait for their turn', async () => {
    const batch = await countedBatch(100, 1_000, { maxConcurrentJobs: 1, deadline: '3s' });
    const progress = await batch.wait({ timeout: '30s' });
    expect(progress).toMatchObject({ status: 'failed', failed: 0, pending: 0 });
    expect(progress.cancelled).toBeGreaterThan(90);
  }, 60_000);
});

test('a runner that is terminated as its batch gets a limit is replaced by the batch itself', async () => {
  const batch = await countedBatch(400, 300, { continueAsNewAfterEvents: 80 });
  await started(batch, 50);
  const runner = world.client.workflow.getHandle(`batch:${batch.id}/runner/1`);
  await Promise.all([batch.update({ maxConcurrentJobs: 20 }), runner.terminate('by an operator')]);
  expect(await batch.wait({ timeout: '90s' })).toMatchObject({ status: 'complete', complete: 400 });
  await expectConsistent(world, batch);
}, 120_000);

test('a range that is handed back twice, late or in pieces that cannot be changes nothing', async () => {
  const batch = await countedBatch(1_000, 100, { continueAsNewAfterEvents: 80 });
  await started(batch, 50);
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  const pace = { size: 5, window: 2 };
  const range = { ready: [[1, 10]], lost: [], suspect: [], delayed: [], completed: 0, failed: 0, pace };
  for (const message of [
    {},
    { runner: '1' },
    { runner: '1', range: { ...range, ready: [[1, 5_000]] } },
    { runner: 'nobody', range },
    { runner: 'constructor', range },
  ])
    await handle.signal('rangeReturned', message);
  await batch.update({ maxConcurrentJobs: 20 });
  await eventually(async () => {
    const { runners } = await handle.query<{ runners: Record<string, { inline: boolean }> }>('state');
    expect(Object.values(runners).every(({ inline }) => inline)).toBe(true);
  });
  await handle.signal('rangeReturned', { runner: '1', range });
  await completed(batch, 1_000);
}, 120_000);
