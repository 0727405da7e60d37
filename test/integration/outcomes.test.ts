import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createBatch, firedCallbacks, runBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const gates = createGates();
let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs)] });
});
afterAll(() => world[Symbol.asyncDispose]());

describe('the outcome of a batch', () => {
  test('is complete, and fires complete and then settled once, when every job succeeds', async () => {
    const { batch, progress, fired } = await runBatch(world, async (jobs) => {
      for (let i = 0; i < 25; i++) await jobs.record.performAsync(i);
    });
    expect(progress).toEqual({
      status: 'complete',
      total: 25,
      complete: 25,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
    expect(fired).toEqual(['OnComplete', 'OnSettled']);
    const entries = await world.ledger.of(batch.id, 'job');
    expect(entries.map(({ detail }) => detail).sort((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: 25 }, (_, i) => i),
    );
    expect(batch.completedAt).toBeInstanceOf(Date);
  });

  test('is failed, and fires failure and then settled once, when one job fails for good', async () => {
    const { progress, fired } = await runBatch(world, async (jobs) => {
      await jobs.failForGood.performAsync('a');
      for (let i = 0; i < 10; i++) await jobs.record.performAsync(i);
    });
    expect(progress).toEqual({
      status: 'failed',
      total: 11,
      complete: 10,
      failed: 1,
      cancelled: 0,
      pending: 0,
    });
    expect(fired).toEqual(['OnFailure', 'OnSettled']);
  });

  test('fires one failure when all jobs fail', async () => {
    const { progress, fired } = await runBatch(world, (jobs) =>
      jobs.failForGood.performBulk(Array.from({ length: 150 }, (_, i) => [i] as const)),
    );
    expect(progress).toMatchObject({ status: 'failed', failed: 150, complete: 0 });
    expect(fired).toEqual(['OnFailure', 'OnSettled']);
  });

  test('is reached without any callback registered', async () => {
    const batch = await world.batches.create({ description: 'No callbacks' });
    await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
    expect(await batch.callbacks()).toEqual([]);
  });

  test('is committed before the callback reads it in its first line', async () => {
    const { batch } = await runBatch(world, (jobs) => jobs.record.performAsync(1));
    const [first] = await world.ledger.of(batch.id, 'callback');
    expect(first!.detail).toMatchObject({ name: 'OnComplete', status: 'complete', complete: 1, pending: 0 });
    expect((first!.detail as { completedAt: string }).completedAt).not.toBeNull();
  });

  test('of a batch of 10,000 accounts for each of them', async () => {
    const { progress } = await runBatch(world, async (jobs) => {
      for (let i = 0; i < 10_000; i++) await jobs.noop.performAsync(i);
    });
    expect(progress).toEqual({
      status: 'complete',
      total: 10_000,
      complete: 10_000,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
  });

  test('shows 3 failures of 1,247 jobs in failedJobs() with class, args, error class and message, and no others', async () => {
    const bad = new Set([17, 600, 1_246]);
    const { batch, progress } = await runBatch(world, async (jobs) => {
      for (let i = 0; i < 1_247; i++) await (bad.has(i) ? jobs.failForGood : jobs.noop).performAsync(i);
    });
    expect(progress).toEqual({
      status: 'failed',
      total: 1_247,
      complete: 1_244,
      failed: 3,
      cancelled: 0,
      pending: 0,
    });
    const failed = await batch.failedJobs();
    expect(
      failed.map(({ workerClass, args, errorClass, errorMessage, position }) => ({
        workerClass,
        args,
        errorClass,
        errorMessage,
        position,
      })),
    ).toEqual(
      [...bad].map((i) => ({
        workerClass: 'FailForGood',
        args: [i],
        errorClass: 'HopelessError',
        errorMessage: `${i} cannot succeed`,
        position: i + 1,
      })),
    );
    expect(await batch.failedJobs().where('position', '>', 100).limit(1)).toHaveLength(1);
  });

  test("with failWhen 'immediate' is failed while other jobs still run, and nothing fires twice", async () => {
    const batch = await createBatch(world, { failWhen: 'immediate' });
    await batch.jobs(async () => {
      await gates.jobs.pass.performAsync(batch.id);
      await world.fixtures.jobs.failForGood.performAsync('bad');
    });
    await eventually(async () => expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure']));
    expect(await batch.progress()).toMatchObject({ status: 'failed', pending: 1 });
    expect(batch.settledAt).toBeNull();
    gates.gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 1,
    });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });
});

describe('a job', () => {
  test('that fails and then succeeds on a retry is complete, and the batch with it', async () => {
    const { batch, progress } = await runBatch(world, (jobs) => jobs.failTimes.performAsync('a', 2));
    expect(progress).toMatchObject({ status: 'complete', complete: 1 });
    expect((await world.ledger.of(batch.id, 'job')).map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const [job] = await batch.completedJobs();
    expect(job).toMatchObject({ attempts: 3, errorClass: null, errorMessage: null });
  });

  test('runs exactly maximumAttempts times when it keeps failing', async () => {
    const { batch, progress } = await runBatch(world, (jobs) => jobs.failTimes.performAsync('a', 99));
    expect(progress).toMatchObject({ status: 'failed', failed: 1 });
    expect((await world.ledger.of(batch.id, 'job')).map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    const [job] = await batch.failedJobs();
    expect(job).toMatchObject({ attempts: 3, errorClass: 'BrokenError', errorMessage: 'a failed' });
  });

  test('is not retried after an error that says so, or whose type the policy names', async () => {
    const { batch } = await runBatch(world, async (jobs) => {
      await jobs.failForGood.performAsync('by error');
      await jobs.failByType.performAsync('by type');
    });
    expect((await world.ledger.of(batch.id, 'job')).map(({ attempt }) => attempt)).toEqual([1, 1]);
    const failed = await batch.failedJobs();
    expect(failed.map(({ errorClass, attempts }) => ({ errorClass, attempts }))).toEqual([
      { errorClass: 'HopelessError', attempts: 1 },
      { errorClass: 'BrokenError', attempts: 1 },
    ]);
  });

  test('that outlives its startToCloseTimeout fails that attempt, and then for good', async () => {
    const { batch, progress } = await runBatch(world, (jobs) => jobs.hang.performAsync('a'));
    expect(progress).toMatchObject({ status: 'failed', failed: 1 });
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(2);
    const [job] = await batch.failedJobs();
    expect(job).toMatchObject({ errorClass: 'JobTimeoutError', attempts: 2 });
    expect(job!.errorMessage).toContain('0.3 s');
  });

  test('takes the options of one call over those of its definition', async () => {
    const { batch } = await runBatch(world, (jobs) =>
      jobs.failTimes.set({ retry: { maximumAttempts: 1 } }).performAsync('a', 99),
    );
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(1);
  });

  test('stops retrying when scheduleToCloseTimeout would pass', async () => {
    const { batch } = await runBatch(world, (jobs) =>
      jobs.failTimes
        .set({
          // The server's timers may be a second late.
          retry: { initialInterval: Math.ceil(400 * SLOWNESS), backoffCoefficient: 1, maximumAttempts: 50 },
          scheduleToCloseTimeout: 3_000 * SLOWNESS,
        })
        .performAsync('a', 99),
    );
    const attempts = (await world.ledger.of(batch.id, 'job')).length;
    expect(attempts).toBeGreaterThan(1);
    expect(attempts).toBeLessThan(9);
  });

  test('with a start delay does not start before it', async () => {
    const { batch } = await runBatch(world, (jobs) =>
      jobs.record.set({ startDelay: '1s' }).performAsync('late'),
    );
    const [job] = await batch.completedJobs();
    expect(job!.startedAt!.getTime() - job!.createdAt.getTime()).toBeGreaterThanOrEqual(950);
  });

  test('that throws something that is no Error is recorded with what it threw', async () => {
    const { batch } = await runBatch(world, async (jobs) => {
      await jobs.throwValue.performAsync('just text');
      await jobs.throwValue.performAsync({ reason: 'an object' });
      await jobs.throwValue.performAsync(null);
    });
    const failed = await batch.failedJobs();
    expect(failed.map(({ errorClass, errorMessage }) => [errorClass, errorMessage])).toEqual([
      ['NonError', 'just text'],
      ['NonError', "{ reason: 'an object' }"],
      ['NonError', 'null'],
    ]);
  });

  test('with an endless message keeps its beginning', async () => {
    const { batch } = await runBatch(world, (jobs) => jobs.throwLong.performAsync(1_000_000));
    const [job] = await batch.failedJobs();
    expect(job!.errorClass).toBe('RangeError');
    expect(job!.errorMessage!.length).toBeLessThanOrEqual(10_000);
    expect(job!.errorMessage).toMatch(/^x+\.\.\. \(1000000 characters\)$/);
  });

  test('whose name no worker knows fails after unknownJobTimeout with an error that says what to do', async () => {
    const { defineJob } = await import('../../src/index.ts');
    const missing = defineJob('NobodyKnowsMe', async () => {});
    const { batch, progress } = await runBatch(world, () => missing.performAsync(), {
      unknownJobTimeout: '1s',
    });
    expect(progress).toMatchObject({ status: 'failed', failed: 1 });
    const [job] = await batch.failedJobs();
    expect(job).toMatchObject({ errorClass: 'UnknownJobError', attempts: 1 });
    expect(job!.errorMessage).toContain('createBatchWorker');
  });

  test('on a task queue of its own runs on the workers of that queue', async () => {
    const other = `${world.taskQueue}-other`;
    await world.startWorker({ taskQueue: other });
    const { progress } = await runBatch(world, async (jobs) => {
      for (let i = 0; i < 30; i++) {
        await jobs.record.performAsync(i);
        await jobs.record.set({ taskQueue: other }).performAsync(i);
      }
    });
    expect(progress).toEqual({
      status: 'complete',
      total: 60,
      complete: 60,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
  });

  test('gets its arguments exactly as they were given', async () => {
    const args = [
      { b: [1, 2.5, -3e-7, 1e21, Number.MAX_SAFE_INTEGER], a: { 'ключ "x"': null, '': true } },
      'tab\t newline\n quote" 漢字 🎉',
      0.1 + 0.2,
    ];
    const { batch } = await runBatch(world, (jobs) => jobs.record.performBulk(args.map((arg) => [arg])));
    const seen = new Map((await world.ledger.of(batch.id, 'job')).map(({ jid, detail }) => [jid, detail]));
    expect([1, 2, 3].map((position) => seen.get(`${batch.id}/${position}`))).toEqual(args);
    expect((await batch.completedJobs()).map((job) => job.args)).toEqual(args.map((arg) => [arg]));
  });
});
