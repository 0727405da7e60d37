import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { updatesOf } from '../support/histories.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';
import type { BatchState } from '../../workflows/batch-state.ts';

const { gate, jobs } = createGates();

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs)],
    maxConcurrentJobs: 200,
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** So short that a runner's history is long before its range is done, and the batch runs nothing itself. */
const SHORT = { continueAsNewAfterEvents: 99 } as const;

/** A batch of one job that waits at its batch's gate, and of others that the block starts. */
async function besideLongJob(
  block: (batch: Batch) => Promise<unknown>,
  options: Partial<BatchOptions> = SHORT,
): Promise<{ batch: Batch; gate: ReturnType<typeof gate> }> {
  const batch = await createBatch(world, options);
  // At once, so that the long one is announced with some of the others.
  await batch.jobs(() => Promise.all([jobs.pass.performAsync(batch.id), block(batch)]));
  return { batch, gate: gate(batch.id) };
}

/** All but the long one are done while it runs. Then it ends, too, and the batch with it. */
async function expectAllBeside({ batch, gate: held }: { batch: Batch; gate: ReturnType<typeof gate> }) {
  await eventually(async () =>
    expect(await batch.progress()).toMatchObject({ status: 'running', pending: 1 }),
  );
  held.open();
  const { total } = await batch.progress();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: total });
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
}

async function runnersOf(batch: Batch): Promise<[string, BatchState['runners'][string]][]> {
  const { runners } = await world.client.workflow.getHandle(`batch:${batch.id}`).query<BatchState>('state');
  return Object.entries(runners).filter(([, { inline }]) => !inline);
}

describe('beside a job that takes long', () => {
  test.concurrent(
    'all others run, in the runner that has it and in those that go on with its range',
    async () => {
      const long = await besideLongJob(enrollManyChunks);
      await eventually(async () => {
        expect(await long.batch.progress()).toMatchObject({ pending: 1 });
        // It keeps what it had in flight, and nothing else is left.
        expect(await runnersOf(long.batch)).toHaveLength(1);
      });
      await expectAllBeside(long);
    },
  );

  test.concurrent('all others run, when the batch runs it itself', async () => {
    const inBatch = { continueAsNewAfterEvents: 120 };
    const long = await besideLongJob(async (batch) => {
      // In pieces, each after most of the one before: the batch hears of each of them.
      for (let piece = 1; piece <= 6; piece++) {
        await enroll(100, (i) => world.fixtures.jobs.noop.performAsync(i));
        await eventually(async () =>
          expect((await batch.progress()).complete).toBeGreaterThan(piece * 100 - 50),
        );
      }
    }, inBatch);
    await expectAllBeside(long);
  });

  test.concurrent('all others run in a batch with limits', async () => {
    const limited = { ...SHORT, maxConcurrentJobs: 20 };
    const { work } = world.fixtures.jobs;
    const long = await besideLongJob(async (batch) => {
      await enroll(400, (i) => work.performAsync(i, 20));
      await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(350));
      // The batch's history is long by now.
      await enroll(200, (i) => work.performAsync(i, 20));
    }, limited);
    await expectAllBeside(long);
    expect((await long.batch.progress()).complete).toBe(601);
  });

  test.concurrent('retries and delayed starts in its chunk come when they are due', async () => {
    const { failTimes, record } = world.fixtures.jobs;
    const later = record.set({ startDelay: '700ms' });
    const long = await besideLongJob(async () => {
      await enroll(10, (i) => failTimes.performAsync(i, 2));
      await enroll(10, (i) => later.performAsync(i));
    }, {});
    await expectAllBeside(long);
    const attempts = (await world.ledger.of(long.batch.id, 'job')).map(({ attempt }) => attempt);
    expect(attempts.toSorted((a, b) => a - b)).toEqual([
      ...Array(20).fill(1),
      ...Array(10).fill(2),
      ...Array(10).fill(3),
    ]);
  });

  test.concurrent(
    'what a handler adds, and blocks of an open-ended batch, run; no block asks the workflow',
    async () => {
      const { onComplete: complete } = world.fixtures.callbacks;
      const batch = await world.batches.create({
        description: 'Open-ended',
        autoSeal: false,
        callbacks: { complete },
        continueAsNewAfterEvents: 120,
      });
      await batch.jobs(() => jobs.pass.performAsync(batch.id));
      await enroll(150, (i) => batch.jobs(() => world.fixtures.jobs.noop.performAsync(i)));
      await batch.jobs(() => world.fixtures.jobs.adds.performAsync('more', 5));
      await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 157, pending: 1 }));
      expect(await batch.seal()).toEqual({ total: 157 });
      gate(batch.id).open();
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 157 });
      await expectConsistent(world, batch);
      expect(await updatesOf(world.client, `batch:${batch.id}`)).toEqual(['created', 'seal']);
    },
  );

  test.concurrent(
    'a runner that is lost after it gave back its range is replaced, and so is the one that took it',
    async () => {
      const long = await besideLongJob(enrollManyChunks);
      const gaveBack = await eventually(async () => {
        const runners = await runnersOf(long.batch);
        expect(runners.some(([, { returns }]) => returns > 0)).toBe(true);
        return runners.map(([runner]) => runner);
      });
      for (const runner of gaveBack)
        await world.client.workflow
          .getHandle(`batch:${long.batch.id}/runner/${runner}`)
          .terminate('by an operator')
          .catch((error: Error) => expect(error.name).toBe('WorkflowNotFoundError'));
      await expectAllBeside(long);
    },
  );
});

test('beside a job that takes long, jobs that were paused before they started run when the batch is resumed', async () => {
  await using narrow = await createWorld();
  await narrow.startWorker({
    jobs: [...Object.values(narrow.fixtures.jobs), ...Object.values(jobs)],
    maxConcurrentJobs: 2,
  });
  const batch = await narrow.batches.create({ description: 'Paused' });
  await batch.jobs(async () => {
    await jobs.pass.performAsync(batch.id);
    for (let i = 0; i < 20; i++) await narrow.fixtures.jobs.work.performAsync(i, 100);
  });
  await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(2));
  await batch.pause();
  await batch.resume();
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 20, pending: 1 }));
  gate(batch.id).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 21 });
});

/** So slow that their chunks are small: more of them than a history of {@link SHORT} has room for. */
const enrollManyChunks = () =>
  world.fixtures.jobs.work.performBulk(Array.from({ length: 1_200 }, (_, i) => [i, 500]));

async function enroll(count: number, start: (i: number) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < count; i++) await start(i);
}
