import { afterAll, beforeAll, expect, test } from 'vitest';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
});
afterAll(() => world[Symbol.asyncDispose]());

const valuesOf = async (batchId: string) =>
  (await world.ledger.of(batchId, 'job')).map(({ detail }) => String(detail)).toSorted();

test('of two processes that open the same batch at once one gets it, in every round', async () => {
  await using first = await spawnEnqueuer(world);
  await using second = await spawnEnqueuer(world);
  const enqueuers = [first, second];
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
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 3 });
    expect(await valuesOf(batch.id)).toEqual([0, 1, 2].map((i) => `${'ab'[winner]}${i}`));
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });
});

test('a second jobs() is refused before its body runs, in another process and while the first block is open', async () => {
  await using first = await spawnEnqueuer(world);
  await using second = await spawnEnqueuer(world);
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
  await using enqueuer = await spawnEnqueuer(world);
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuer.enrol({ batchId: batch.id, name: 'a', count: 50, thenHang: true });
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 50 }));
  await enqueuer.kill();
  expect(await batch.wait({ timeout: PATIENCE })).toEqual({
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
  await using enqueuer = await spawnEnqueuer(world);
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuer.enrol({ batchId: batch.id, name: 'a', count: 1_000_000, job: 'noop', thenHang: true });
  await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
  await enqueuer.kill();
  const { status, total, complete } = await batch.wait({ timeout: PATIENCE });
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
  await using enqueuer = await spawnEnqueuer(world);
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  enqueuer.enrol({ batchId: batch.id, name: 'a', count: 1_000_000, job: 'noop' });
  await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
  enqueuer.signal('SIGSTOP');
  const atItsEnd = await batch.wait({ timeout: PATIENCE });
  expect(atItsEnd).toMatchObject({ status: 'failed', complete: atItsEnd.total });
  enqueuer.signal('SIGCONT');
  expect(await enqueuer.ended(batch.id)).toEqual({
    what: 'refused',
    batchId: batch.id,
    code: 'ENROLLMENT_TIMED_OUT',
  });
  expect(await batch.progress()).toEqual(atItsEnd);
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
});
