import { setTimeout as delay } from 'node:timers/promises';
import { Client, type WorkflowClientInterceptor } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { markComplete, markFailures } from '../../src/database/chunks.ts';
import { markRoundOpened } from '../../src/database/rounds.ts';
import { BatchClient, currentJob, defineJob, type Batch, type BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf, expectCode } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { SETTINGS } from '../support/facts.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let gates: ReturnType<typeof createGates>;
/** Jobs fail in rounds before this one, by batch. */
const failsBefore = new Map<string, number>();
let heals: ReturnType<typeof healing>;

/** A job that fails until so many rounds of its batch have begun. */
function healing() {
  return defineJob(
    'Heals',
    async (value: number, isWell: boolean) => {
      const { batchId, jid, attempt, batches } = currentJob();
      await world.ledger.write({ what: 'job', batch_id: batchId!, jid, attempt, detail: value });
      const { round } = await batches.find(batchId!);
      if (!isWell && round < (failsBefore.get(batchId!) ?? 2)) throw new Error(`${value} is ill`);
    },
    { retry: { maximumAttempts: 2, initialInterval: '50ms' } },
  );
}

/** Takes long in so many rounds, unless it is stopped, and a moment in later ones. */
const slowRounds = defineJob('SlowRounds', async (rounds: number) => {
  const { round, signal } = currentJob();
  await delay(round <= rounds ? 60_000 : 10, undefined, { signal });
});

beforeAll(async () => {
  world = await createWorld();
  gates = createGates();
  heals = healing();
  await world.startWorker({
    maxConcurrentJobs: 20,
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs), heals, slowRounds],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** A batch that has settled: every third of its jobs has failed. */
async function settledBatch(jobs: number, options: Partial<BatchOptions> = {}): Promise<Batch> {
  const batch = await createBatch(world, options);
  await batch.on('cancelled', world.fixtures.callbacks.another);
  await batch.jobs(async () => {
    for (let i = 1; i <= jobs; i++) await heals.performAsync(i, i % 3 > 0);
  });
  await batch.wait({ timeout: PATIENCE });
  return batch;
}

async function startsOf(batch: Batch): Promise<number> {
  return world.ledger.count(batch.id, 'job');
}

describe('retryFailed', () => {
  test('runs the failed jobs again as a new round, judges the outcome again, and fires its callback once', async () => {
    const batch = await settledBatch(30);
    expect(await batch.progress()).toMatchObject({ status: 'failed', complete: 20, failed: 10 });
    expect(await startsOf(batch)).toBe(40);
    expect(await batch.retryFailed()).toEqual({ round: 2, queued: false });
    const progress = await batch.wait({ timeout: PATIENCE });
    expect(progress).toEqual({
      status: 'complete',
      total: 30,
      complete: 30,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
    // One attempt of each of the ten.
    expect(await startsOf(batch)).toBe(50);
    expect(await firedCallbacks(world, batch.id)).toEqual([
      'OnFailure',
      'OnSettled',
      'OnComplete',
      'OnSettled',
    ]);
    await expectConsistent(world, batch);
    expect(batch.round).toBe(2);
    expect(await batch.rounds()).toMatchObject([
      { round: 1, status: 'failed', total: 30, complete: 20, failed: 10, cancelled: 0 },
      { round: 2, status: 'complete', total: 30, complete: 30, failed: 0, cancelled: 0 },
    ]);
    const [job] = await batch.completedJobs().where({ position: 3 });
    expect(job).toMatchObject({ attempts: 1, round: 2, errorClass: null });
    const history = await world.knex
      .withSchema(world.schema)
      .from('job_rounds')
      .where({ batch_id: batch.id, position: 3 })
      .orderBy('round');
    expect(history).toMatchObject([
      { round: 1, status: 'failed', attempts: 2, error_class: 'Error', error_message: '3 is ill' },
      { round: 2, status: 'complete', attempts: 1, error_class: null },
    ]);
  });

  test('again and again: rounds are numbered, and each is judged', async () => {
    const batch = await settledBatch(6);
    failsBefore.set(batch.id, 4);
    for (const [round, status] of [
      [2, 'failed'],
      [3, 'failed'],
      [4, 'complete'],
    ] as const) {
      expect(await batch.retryFailed()).toEqual({ round, queued: false });
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status, pending: 0 });
      await expectConsistent(world, batch);
    }
    expect((await batch.rounds()).map(({ status }) => status)).toEqual([
      'failed',
      'failed',
      'failed',
      'complete',
    ]);
    expect(await firedCallbacks(world, batch.id)).toEqual(
      ['OnFailure', 'OnFailure', 'OnFailure', 'OnComplete'].flatMap((name) => [name, 'OnSettled']),
    );
  });

  test('of jobs that are scattered over more ranges than a round may have finds all of them', async () => {
    const jobs = 6_000;
    const batch = await createBatch(world, { failWhenFailed: 'any' });
    await batch.jobs(async () => {
      for (let i = 1; i <= jobs; i++)
        await (i % 3 > 0 ? world.fixtures.jobs.noop : world.fixtures.jobs.throwLong).performAsync(i % 3);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: 4_000, failed: 2_000 });
    // They fail again, so that each that ran is seen.
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 4_000,
      failed: 2_000,
    });
    expect(await batch.failedJobs().where({ round: 2, attempts: 1 })).toHaveLength(2_000);
    await expectConsistent(world, batch);
  });

  test('is refused while the batch runs, while a callback does, and when nothing failed', async () => {
    const batch = await createBatch(world);
    expect(await codeOf(batch.retryFailed())).toBe('BATCH_RUNNING');
    await batch.jobs(() => gates.jobs.pass.performAsync(`retry-${batch.id}`));
    expect(await codeOf(batch.retryFailed())).toBe('BATCH_RUNNING');
    gates.gate(`retry-${batch.id}`).open();
    await batch.wait({ timeout: PATIENCE });
    expect(await codeOf(batch.retryFailed())).toBe('NOTHING_TO_RETRY');
    expect(await codeOf(batch.retryFailed({ cancelled: true }))).toBe('NOTHING_TO_RETRY');
    // @ts-expect-error -- what JavaScript may do
    expect(await codeOf(batch.retryFailed({ canceled: true }))).toBe('INVALID_OPTION');
  });

  test('twice at once opens one round: nothing runs twice in it', async () => {
    await inRounds(10, 2, async () => {
      const batch = await settledBatch(9);
      const others = await Promise.all([1, 2].map(() => world.openClient().find(batch.id)));
      const results = await Promise.allSettled([batch, ...others].map((one) => one.retryFailed()));
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      for (const result of results)
        if (result.status === 'rejected')
          expect(['BATCH_RUNNING', 'NOTHING_TO_RETRY']).toContain(result.reason.code);
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 9 });
      expect(batch.round).toBe(2);
      expect(await startsOf(batch)).toBe(9 + 3 + 3);
      expect(await firedCallbacks(world, batch.id)).toHaveLength(4);
      await expectConsistent(world, batch);
    });
  });

  test('that comes when the round of another call is over again is told so', async () => {
    const batch = await settledBatch(9);
    const [start, ask] = [gates.gate(`${batch.id}, start`), gates.gate(`${batch.id}, ask`)];
    const held: WorkflowClientInterceptor = {
      start: (input, next) => start.pass().then(() => next(input)),
      startUpdate: (input, next) => ask.pass().then(() => next(input)),
    };
    const { connection } = world.client;
    await using slow = new BatchClient({
      client: new Client({ connection, interceptors: { workflow: [held] } }),
      database: world.knex,
      schema: world.schema,
      taskQueue: world.taskQueue,
    });
    const other = await slow.find(batch.id);
    const late = expectCode(other.retryFailed(), 'BATCH_RUNNING');
    await start.arrivals(1);
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    start.open();
    await ask.arrivals(1);
    const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
    await eventually(async () => expect((await handle.describe()).status.name).toBe('COMPLETED'));
    ask.open();
    await late;
    expect(await startsOf(batch)).toBe(9 + 3 + 3);
  });

  test('changes the policy of the round as it is told, and leaves the deadline behind', async () => {
    const batch = await settledBatch(9, { deadline: '1 day' });
    failsBefore.set(batch.id, 9);
    await batch.retryFailed({ failWhenFailed: { moreThan: 3 } });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      complete: 6,
      failed: 3,
    });
    expect(batch.deadlineAt).toBeNull();
    expect(await firedCallbacks(world, batch.id)).toEqual([
      'OnFailure',
      'OnSettled',
      'OnComplete',
      'OnSettled',
    ]);
    // And a change while a round runs holds for the next one.
    await batch.retryFailed({ failWhenFailed: 'all' });
    await batch.wait({ timeout: PATIENCE });
    await batch.retryFailed({});
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', failed: 3 });
  });

  test('keeps jobs in their task queues, and their options', async () => {
    const taskQueue = `${world.taskQueue}-second`;
    await using second = await world.startWorker({ taskQueue });
    expect(second.worker.getState()).toBe('RUNNING');
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const failing = world.fixtures.jobs.failTimes.set({ taskQueue, retry: { maximumAttempts: 1 } });
      await failing.performAsync('second', 1);
      await world.fixtures.jobs.failTimes.set({ retry: { maximumAttempts: 1 } }).performAsync('own', 1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 2 });
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 2 });
    expect(await batch.failedJobs()).toMatchObject([
      { position: 1, attempts: 1, round: 2 },
      { position: 2, attempts: 1, round: 2 },
    ]);
    await second.stop();
  });
});

describe('of a cancelled batch', () => {
  /** @param rounds in which most of its jobs take so long that they are there to be cancelled */
  async function cancelledBatch(rounds = 1): Promise<Batch> {
    const batch = await createBatch(world);
    await batch.on('cancelled', world.fixtures.callbacks.another);
    await batch.jobs(async () => {
      await world.fixtures.jobs.failForGood.performAsync(0);
      for (let i = 1; i <= 10; i++) await world.fixtures.jobs.noop.performAsync(i);
      // Before the others take all slots.
      await eventually(async () => expect((await batch.progress()).failed).toBe(1));
      for (let i = 11; i <= 300; i++) await slowRounds.performAsync(rounds);
    });
    await batch.cancel();
    await batch.wait({ timeout: PATIENCE });
    return batch;
  }

  test('runs its cancelled jobs on request, and what is complete stays so', async () => {
    const batch = await cancelledBatch();
    const before = await batch.progress();
    expect(before.cancelled).toBeGreaterThan(100);
    await batch.retryFailed({ cancelled: true });
    expect(await batch.wait({ timeout: PATIENCE })).toEqual({
      status: 'failed',
      total: 301,
      complete: 300,
      failed: 1,
      cancelled: 0,
      pending: 0,
    });
    expect(batch.stopReason).toBeNull();
    await expectConsistent(world, batch);
    expect(await batch.rounds()).toMatchObject([
      { status: 'cancelled', cancelled: before.cancelled, stopReason: 'cancelled' },
      { status: 'failed', cancelled: 0, stopReason: null },
    ]);
  });

  test('leaves them cancelled otherwise, and is cancelled again when nothing else went wrong', async () => {
    const batch = await cancelledBatch();
    const { cancelled, complete } = await batch.progress();
    await batch.retryFailed({ failWhenFailed: 'all' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      failed: 1,
      cancelled,
      complete,
    });
    expect(await batch.cancelledJobs()).toHaveLength(cancelled);
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['Another', 'OnSettled', 'Another', 'OnSettled']);
  });

  test('a round can be cancelled, too, and what it left is retried by the next', async () => {
    const batch = await cancelledBatch(2);
    await batch.retryFailed({ cancelled: true });
    await batch.cancel({ reason: 'again', gracePeriod: '1ms' });
    const { cancelled } = await batch.wait({ timeout: PATIENCE });
    expect(cancelled).toBeGreaterThan(0);
    await expectConsistent(world, batch);
    await batch.retryFailed({ cancelled: true });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 300,
      failed: 1,
    });
    expect(batch.round).toBe(3);
  });
});

describe('a round', () => {
  test('that was asked for while no worker is up opens once one is', async () => {
    await using lonely = await createWorld();
    const worker = await lonely.startWorker();
    const batch = await createBatch(lonely);
    await batch.jobs(() => lonely.fixtures.jobs.failForGood.performAsync(1));
    await batch.wait({ timeout: PATIENCE });
    await worker.stop();
    expect(await batch.retryFailed()).toEqual({
      round: 2,
      queued: true,
      reason: expect.stringContaining(`no worker polled task queue "${lonely.taskQueue}"`),
    });
    expect((await batch.progress()).status).toBe('failed');
    await lonely.startWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    expect(batch.round).toBe(2);
    expect(await firedCallbacks(lonely, batch.id)).toHaveLength(4);
  });

  test('survives a SIGKILL of its worker at any moment: each job ends once, and one callback runs', async () => {
    await using own = await createWorld();
    const first = await own.spawnWorker();
    const batch = await createBatch(own);
    await batch.jobs(async () => {
      for (let i = 0; i < 200; i++) await own.fixtures.jobs.failForGood.performAsync(i);
    });
    await batch.wait({ timeout: PATIENCE });
    const opening = batch.retryFailed();
    await delay(Math.random() * 100);
    first.kill('SIGKILL');
    await own.spawnWorker();
    await opening;
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 200 });
    expect(batch.round).toBe(2);
    await expectConsistent(own, batch);
    const { rows } = await own.knex.raw(
      `select event, round, status from :schema:.batch_callbacks where batch_id = :id and round = 2 order by event`,
      { schema: own.schema, id: batch.id },
    );
    expect(rows).toMatchObject([
      { event: 'complete', status: 'skipped' },
      { event: 'failure', status: 'completed' },
      { event: 'settled', status: 'completed' },
    ]);
  });

  test('is opened once, however often its write is repeated, and not by another run', async () => {
    const batch = await settledBatch(9);
    const { database } = world.batches;
    const input = { batchId: batch.id, number: 2, cancelled: false, settings: SETTINGS };
    const open = (firstExecutionRunId: string) =>
      markRoundOpened(database, { ...input, firstExecutionRunId });
    const results = await Promise.all([open('run'), open('run'), open('other')]);
    const [opened] = results.filter((result) => result !== null);
    expect(opened).toEqual({
      spans: '3,6,9',
      total: 9,
      others: { completed: 6, failed: 0, cancelled: 0 },
      cancelled: 0,
      queues: [],
      enrollmentError: null,
    });
    expect(await open('third')).toBeNull();
    expect(await batch.progress()).toMatchObject({ status: 'running', complete: 6, pending: 3 });
    expect(batch.round).toBe(2);
  });

  test('takes no outcome of the round before', async () => {
    const batch = await settledBatch(3);
    const { database } = world.batches;
    const input = { batchId: batch.id, number: 2, cancelled: false, settings: SETTINGS };
    await markRoundOpened(database, { ...input, firstExecutionRunId: 'run' });
    const now = Date.now();
    const late = { position: 3, startedAt: now, finishedAt: now };
    const error = { attempt: 5, retryInMs: null, errorClass: 'Error', errorMessage: 'late' };
    const before = { batchId: batch.id, round: 1 };
    expect(await markComplete(database, before, [late])).toBe(0);
    expect(await markFailures(database, before, [{ ...late, ...error }])).toMatchObject({ changed: 0 });
    expect(await batch.progress()).toMatchObject({ complete: 2, failed: 0, pending: 1 });
    expect(await markComplete(database, { ...before, round: 2 }, [late])).toBe(1);
  });
});
