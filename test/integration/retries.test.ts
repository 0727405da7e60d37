import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBatch, firedCallbacks, runBatch } from '../support/batches.ts';
import { createContractFixtures } from '../support/contract-fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const { gate, jobs: gated } = createGates();

let world: World;
let contract: ReturnType<typeof createContractFixtures>['jobs'];
beforeAll(async () => {
  world = await createWorld();
  contract = createContractFixtures(world.ledger).jobs;
  await world.startWorker({
    jobs: [world.fixtures.jobs, gated, contract].flatMap((jobs) => Object.values(jobs)),
  });
});
afterAll(() => world[Symbol.asyncDispose]());

test.each(['settled', 'immediate'] as const)(
  "a failed attempt that is retried is no outcome, with failWhen '%s'",
  async (failWhen) => {
    const batch = await createBatch(world, { failWhen });
    await batch.jobs(() => gated.failThenPass.performAsync(batch.id));
    await gate(batch.id).arrivals(1);
    // The first attempt has failed, the second one runs.
    await eventually(async () =>
      expect(await batch.pendingJobs()).toMatchObject([
        { status: 'pending', attempts: 1, errorClass: 'RangeError', errorMessage: 'the first attempt' },
      ]),
    );
    const running = { status: 'running', total: 1, complete: 0, failed: 0, cancelled: 0, pending: 1 };
    expect(await batch.progress()).toEqual(running);
    expect(await world.client.workflow.getHandle(`batch:${batch.id}`).query('progress')).toEqual(running);
    expect(await batch.failedJobs()).toEqual([]);
    const view = await world.knex.withSchema(world.schema).from('failed_jobs').where('batch_id', batch.id);
    expect(view).toEqual([]);
    expect((await batch.callbacks()).map(({ status }) => status)).toEqual(Array(3).fill('registered'));

    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  },
);

test('a job that keeps failing runs exactly maximumAttempts times, whatever that is', async () => {
  const limits = [1, 2, 3, 5];
  const { batch, progress } = await runBatch(world, async (jobs) => {
    for (const limit of limits) {
      await jobs.failTimes.set({ retry: { maximumAttempts: limit } }).performAsync(limit, 99);
    }
  });
  expect(progress).toMatchObject({ status: 'failed', failed: limits.length });
  const entries = await world.ledger.of(batch.id, 'job');
  for (const limit of limits) {
    const attempts = entries.filter(({ detail }) => detail === limit).map(({ attempt }) => attempt);
    expect(attempts).toEqual(Array.from({ length: limit }, (_, i) => i + 1));
  }
  expect((await batch.failedJobs()).map(({ attempts }) => attempts)).toEqual(limits);
});

test('the options of a call hold for that call, and for each part that it sets', async () => {
  const { batch, progress } = await runBatch(world, async (jobs) => {
    await jobs.failTimes.performAsync('as defined', 99);
    await jobs.failTimes.set({ retry: { maximumAttempts: 1 } }).performAsync('once', 99);
    await jobs.failTimes
      .set({ retry: { nonRetryableErrorTypes: ['BrokenError'] } })
      .performAsync('by type', 99);
    await jobs.failByType
      .set({ retry: { nonRetryableErrorTypes: [], maximumAttempts: 2 } })
      .performAsync('lifted');
    await jobs.hang
      .set({ startToCloseTimeout: '100ms', retry: { maximumAttempts: 1 } })
      .performAsync('short');
    await jobs.failTimes.performAsync('as defined again', 99);
  });
  expect(progress).toMatchObject({ status: 'failed', failed: 6 });
  const failed = await batch.failedJobs();
  expect(failed.map(({ args, attempts }) => [args[0], attempts])).toEqual([
    ['as defined', 3],
    ['once', 1],
    ['by type', 1],
    ['lifted', 2],
    ['short', 1],
    ['as defined again', 3],
  ]);
  expect(failed[4]!.errorMessage).toContain('0.1 s');
});

test('a job whose retries would outlast scheduleToCloseTimeout ends before, with its last error', async () => {
  const { batch, progress } = await runBatch(world, (jobs) =>
    jobs.failTimes
      .set({
        retry: { initialInterval: Math.ceil(300 * SLOWNESS), maximumAttempts: Infinity },
        scheduleToCloseTimeout: 4_000 * SLOWNESS,
      })
      .performAsync('x', 99),
  );
  expect(progress).toMatchObject({ status: 'failed', failed: 1 });
  const [job] = await batch.failedJobs();
  expect(job).toMatchObject({ errorClass: 'BrokenError', errorMessage: 'x failed' });
  expect(job!.attempts).toBe((await world.ledger.of(batch.id, 'job')).length);
  expect(job!.attempts).toBeGreaterThan(1);
  expect(job!.finishedAt!.getTime() - job!.createdAt.getTime()).toBeLessThan(8_000 * SLOWNESS);
});

test("a failed job shows its last error, in the class and the message of the user's own", async () => {
  const expected = {
    error: ['Error', 'plain 2'],
    subclass: ['QuotaExceeded', 'subclass 2'],
    cause: ['QuotaExceeded', 'outer 2'],
    aggregate: ['AggregateError', 'all of them 2: one; two'],
    failure: ['VendorDown', 'failure 2'],
    failureWithCause: ['VendorDown', 'failure 2'],
    wrapped: ['CardDeclined', 'wrapped 2'],
    number: ['NonError', '2'],
    text: ['NonError', 'text 2'],
  } as const;
  const kinds = Object.keys(expected) as (keyof typeof expected)[];
  const { batch, progress } = await runBatch(world, async () => {
    for (const kind of kinds) await contract.throwKind.performAsync(kind);
  });
  expect(progress).toMatchObject({ status: 'failed', failed: kinds.length });
  const shown = await batch.failedJobs();
  expect(
    Object.fromEntries(
      shown.map(({ args, errorClass, errorMessage }) => [args[0], [errorClass, errorMessage]]),
    ),
  ).toEqual(expected);
  expect(shown.every(({ attempts }) => attempts === 2)).toBe(true);
});

test('an error message of any length fails its job, and the row keeps its beginning and its length', async () => {
  const lengths = [9_999, 10_000, 10_001, 8_000_000];
  const { batch } = await runBatch(world, async (jobs) => {
    for (const length of lengths) await jobs.throwLong.performAsync(length);
  });
  const messages = (await batch.failedJobs()).map(({ errorMessage }) => errorMessage!);
  expect(messages.slice(0, 2).map(({ length }) => length)).toEqual([9_999, 10_000]);
  expect(messages[2]).toMatch(/^x{9000,}\.\.\. \(10001 characters\)$/);
  expect(messages[3]).toMatch(/^x{9000,}\.\.\. \(8000000 characters\)$/);
});
