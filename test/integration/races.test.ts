import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch, BatchProgress } from '../../src/index.ts';
import { createBatch, expectConsistent } from '../support/batches.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

const { gate, jobs } = createGates();

/** Rounds at once: enough to keep the server busy, few enough that all that they hold runs at the same time. */
const AT_ONCE = 20;
/** Jobs of a first chunk. The first and the last job of a batch with more stand in different chunks, and so race. */
const CHUNK = 25;

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs)],
    maxConcurrentJobs: 2_000,
  });
});
afterAll(() => world[Symbol.asyncDispose]());

/** Enrols `total` jobs, `gated` of them held at the batch's gate and spread over all chunks. */
async function enrollGated(
  batch: Batch,
  total: number,
  gated: number,
  start: (index: number) => Promise<unknown> = () => jobs.pass.performAsync(batch.id),
): Promise<void> {
  const step = (total - 1) / (gated - 1);
  let started = 0;
  await batch.jobs(async () => {
    for (let i = 0; i < total; i++) {
      if (i >= started * step) await start(started++);
      else await world.fixtures.jobs.noop.performAsync(i);
    }
  });
  expect(started).toBe(gated);
}

/** How many chunks run the batch's jobs. */
async function chunksOf(batch: Batch): Promise<number> {
  const { events } = await world.client.workflow.getHandle(`batch:${batch.id}`).fetchHistory();
  return events!.filter(
    ({ activityTaskScheduledEventAttributes: attributes }) => attributes?.activityType?.name === 'runChunk',
  ).length;
}

/** The batch ends like that, and each of its callbacks ran once and saw that end. */
async function checkEnd(batch: Batch, expected: BatchProgress): Promise<void> {
  expect(await batch.wait({ timeout: PATIENCE })).toEqual(expected);
  const seen = { ...expected, completedAt: expect.any(String) };
  const entries = await world.ledger.of(batch.id, 'callback');
  expect(entries.map(({ detail }) => detail)).toEqual([
    { name: expected.status === 'complete' ? 'OnComplete' : 'OnFailure', ...seen },
    { name: 'OnSettled', ...seen },
  ]);
  await expectConsistent(world, batch);
}

test.each([
  { last: 2, total: CHUNK + 1 },
  { last: 20, total: 3 * CHUNK },
])(
  'the last $last jobs of a batch end together, again and again: one outcome, one callback each time',
  async ({ last, total }) => {
    await inRounds(100, AT_ONCE, async (round) => {
      const batch = await createBatch(world);
      await enrollGated(batch, total, last);
      await gate(batch.id).arrivals(last);
      if (round === 1) expect(await chunksOf(batch)).toBeGreaterThan(1);
      gate(batch.id).open();
      await checkEnd(batch, {
        status: 'complete',
        total,
        complete: total,
        failed: 0,
        cancelled: 0,
        pending: 0,
      });
    });
  },
);

test('the last success and the last failure end together, again and again: the batch fails, once', async () => {
  const total = CHUNK + 1;
  await inRounds(50, AT_ONCE, async (round) => {
    const batch = await createBatch(world);
    await enrollGated(batch, total, 2, (index) =>
      (index === round % 2 ? jobs.passAndFail : jobs.pass).performAsync(batch.id),
    );
    await gate(batch.id).arrivals(2);
    gate(batch.id).open();
    await checkEnd(batch, {
      status: 'failed',
      total,
      complete: total - 1,
      failed: 1,
      cancelled: 0,
      pending: 0,
    });
  });
});

test('the last job ends while the block closes, again and again: one outcome, one callback each time', async () => {
  await inRounds(100, AT_ONCE, async (round) => {
    const batch = await createBatch(world);
    let opening: Promise<void> | undefined;
    await batch.jobs(async () => {
      await jobs.pass.performAsync(batch.id);
      await gate(batch.id).arrivals(1);
      // The race itself: from before the seal is sent to after it has been answered.
      opening = delay(round % 60).then(() => gate(batch.id).open());
    });
    await opening;
    await checkEnd(batch, { status: 'complete', total: 1, complete: 1, failed: 0, cancelled: 0, pending: 0 });
  });
});
