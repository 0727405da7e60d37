import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { currentJob, defineJob } from '../../src/index.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const started: string[] = [];
const slow = defineJob('Slow', async () => {
  started.push(currentJob().jid);
  // Longer than any deadline below.
  await delay(60_000, undefined, { signal: currentJob().signal });
});

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [slow, world.fixtures.jobs.failTimes] });
});
afterAll(() => world[Symbol.asyncDispose]());

test('a job that still runs when scheduleToCloseTimeout is over is stopped and fails', async () => {
  const batch = await world.batches.create({ description: 'Too slow' });
  const seconds = Math.ceil(2 * SLOWNESS);
  await batch.jobs(() => slow.set({ scheduleToCloseTimeout: seconds * 1_000 }).performAsync());
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
  const [job] = await batch.failedJobs();
  expect(job).toMatchObject({ errorClass: 'JobTimeoutError', attempts: 1 });
  expect(job!.errorMessage).toContain(`${seconds} s (scheduleToCloseTimeout)`);
  const took = job!.finishedAt!.getTime() - job!.createdAt.getTime();
  expect(took).toBeLessThan(seconds * 1_000 + 4_000 * SLOWNESS);
});

test('a job whose scheduleToCloseTimeout is over before a worker takes it is not started and fails', async () => {
  const batch = await world.batches.create({ description: 'Too late' });
  await batch.jobs(async () => {
    await slow.set({ scheduleToCloseTimeout: '1s', startDelay: '2s' }).performAsync();
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
  const [job] = await batch.failedJobs();
  expect(job).toMatchObject({ errorClass: 'JobTimeoutError' });
  expect(started).not.toContain(job!.jid);
});

test('a job whose scheduleToCloseTimeout is over before its retry keeps the error of its last attempt', async () => {
  const batch = await world.batches.create({ description: 'Too late to try again' });
  await batch.jobs(() =>
    world.fixtures.jobs.failTimes
      .set({
        retry: { initialInterval: '50ms', backoffCoefficient: 1, maximumAttempts: Infinity },
        scheduleToCloseTimeout: 2_000 * SLOWNESS,
      })
      .performAsync('x', 99),
  );
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
  const [job] = await batch.failedJobs();
  expect(job).toMatchObject({ errorClass: 'BrokenError', errorMessage: 'x failed' });
  expect(job!.attempts).toBe((await world.ledger.of(batch.id, 'job')).length);
});
