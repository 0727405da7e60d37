import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { spawnEnqueuer, type Enqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let enqueuers: readonly [Enqueuer, Enqueuer];
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  enqueuers = await Promise.all([spawnEnqueuer(world), spawnEnqueuer(world)]);
});
afterEach(() => Promise.all(enqueuers.map((enqueuer) => enqueuer.kill())));

const valuesOf = async (batchId: string) =>
  (await world.ledger.of(batchId, 'job')).map(({ detail }) => String(detail)).toSorted();

test('of two processes that open the same batch at once one gets it, in each of 30 rounds', async () => {
  await inRounds(30, 3, async () => {
    const batch = await createBatch(world);
    enqueuers.forEach((enqueuer, i) => enqueuer.enrol({ batchId: batch.id, name: 'ab'[i]!, count: 3 }));
    const ends = await Promise.all(enqueuers.map((enqueuer) => enqueuer.ended(batch.id)));
    const winner = ends.findIndex(({ what }) => what === 'closed');
    const loser = 1 - winner;
    expect(ends[winner]).toEqual({ what: 'closed', batchId: batch.id, total: 3 });
    // Refused before the body of its block ran.
    const refused = { what: 'refused', batchId: batch.id, code: 'ALREADY_ENROLLED' };
    expect(enqueuers[loser]!.of(batch.id)).toEqual([refused]);
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 3 });
    expect(await valuesOf(batch.id)).toEqual([0, 1, 2].map((i) => `${'ab'[winner]}${i}`));
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });
});

test('a second jobs() is refused before its body runs, in another process and while the first block is open', async () => {
  const [first, second] = enqueuers;
  const batch = await createBatch(world);
  first.enrol({ batchId: batch.id, name: 'a', count: 1, thenHang: true });
  await eventually(async () => expect(await valuesOf(batch.id)).toEqual(['a0']));
  second.enrol({ batchId: batch.id, name: 'b', count: 1 });
  const refused = { what: 'refused', batchId: batch.id, code: 'ALREADY_ENROLLED' };
  expect(await second.ended(batch.id)).toEqual(refused);
  expect(second.of(batch.id)).toEqual([refused]);
  let ran = false;
  await expectCode(
    batch.jobs(() => {
      ran = true;
    }),
    'ALREADY_ENROLLED',
  );
  expect(ran).toBe(false);
  expect(await batch.progress()).toMatchObject({ status: 'pending', total: 1 });
});

test('an enqueuer that is killed in its block: what it announced runs, and the batch closes itself and fails', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuers[0].enrol({ batchId: batch.id, name: 'a', count: 50, thenHang: true });
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 50 }));
  await enqueuers[0].kill();
  expect(await batch.wait({ timeout: '30s' })).toEqual({
    status: 'failed',
    total: 50,
    complete: 50,
    failed: 0,
    cancelled: 0,
    pending: 0,
  });
  expect(batch.enrollmentError).toMatch(/nothing was heard from its process for 2 s \(enrollmentTimeout\)/);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  await expectConsistent(world, batch);
});

test('an enqueuer that is killed while it streams: every job with a row is done, and no row is left over', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuers[0].enrol({ batchId: batch.id, name: 'a', count: 1_000_000, job: 'noop' });
  await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
  await enqueuers[0].kill();
  const { status, total, complete } = await batch.wait({ timeout: '50s' });
  expect({ status, complete }).toEqual({ status: 'failed', complete: total });
  expect(batch.enrollmentError).toContain('enrollmentTimeout');
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  // No gaps, nothing beyond the total, nothing run twice.
  const positions = (await batch.completedJobs()).map(({ position }) => position);
  expect(positions.at(-1)).toBe(total);
  await expectConsistent(world, batch);
  expect(await batch.completedJobs().where('attempts', '<>', 1)).toEqual([]);
});

test('an enqueuer that was stopped for longer than enrollmentTimeout is told when it wakes up, and adds nothing', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuers[0].enrol({ batchId: batch.id, name: 'a', count: 1_000_000, job: 'noop' });
  await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
  enqueuers[0].signal('SIGSTOP');
  const atItsEnd = await batch.wait({ timeout: '50s' });
  expect(atItsEnd).toMatchObject({ status: 'failed', complete: atItsEnd.total });
  enqueuers[0].signal('SIGCONT');
  expect(await enqueuers[0].ended(batch.id)).toEqual({
    what: 'refused',
    batchId: batch.id,
    code: 'ENROLLMENT_TIMED_OUT',
  });
  expect(await batch.progress()).toEqual(atItsEnd);
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
});
