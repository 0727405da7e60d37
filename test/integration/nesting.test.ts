import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let gates: ReturnType<typeof createGates>;

/** Opens the next batch. Its id makes a second attempt find the one of the first. */
const opensNext = defineCallback(
  'OpensNext',
  async (batchId, { batches, attempt }) => {
    const next = await batches.create({ id: `${batchId}-next`, description: 'The next one' });
    if (attempt === 1) throw new Error('Again');
    await next.jobs(() => world.fixtures.jobs.record.performAsync('next'), { resume: true });
  },
  { retry: { initialInterval: '50ms' } },
);
const opensChild = defineJob('OpensChild', async () => {
  const { jid, batches } = currentJob();
  await batches.create({ id: `${jid.replace('/', '-')}-child`, description: 'Of a job' });
});

beforeAll(async () => {
  world = await createWorld();
  gates = createGates();
  await world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs), opensChild],
    callbacks: [...Object.values(world.fixtures.callbacks), opensNext],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

describe('a batch that a batch created', () => {
  test('in a callback has it as its parent, once, though the callback was repeated', async () => {
    const batch = await world.batches.create({ description: 'The first one' });
    await batch.on('complete', opensNext);
    await batch.jobs(() => world.fixtures.jobs.record.performAsync('first'));
    await batch.wait({ timeout: PATIENCE });
    const children = await world.batches.list({ parentId: batch.id });
    expect(children.map(({ id }) => id)).toEqual([`${batch.id}-next`]);
    const [next] = children;
    expect(next!.parentId).toBe(batch.id);
    expect(await next!.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    const row = await world.knex
      .withSchema(world.schema)
      .from('batch_progress')
      .where('id', next!.id)
      .first();
    expect(row.parent_batch_id).toBe(batch.id);
    expect(batch.parentId).toBeNull();
  });

  test('in a job, or in a block, has it as its parent; one that other code creates has none', async () => {
    const batch = await createBatch(world);
    const inBlock = `${batch.id}-block`;
    await batch.jobs(async () => {
      await opensChild.performAsync();
      await world.batches.create({ id: inBlock, description: 'In a block' });
    });
    await batch.wait({ timeout: PATIENCE });
    const children = await world.batches.list({ parentId: batch.id });
    expect(new Set(children.map(({ id }) => id))).toEqual(new Set([inBlock, `${batch.id}-1-child`]));
    expect((await createBatch(world)).parentId).toBeNull();
    for (const child of children) await child.cancel();
    expect(await codeOf(world.batches.list({ parentId: 'no id' }))).toBe('INVALID_OPTION');
  });
});

describe('a batch that is a job of another', () => {
  /** An outer batch with one job and these. */
  async function outerBatch(...members: Batch[]): Promise<Batch> {
    const outer = await createBatch(world);
    await outer.jobs(async () => {
      await world.fixtures.jobs.record.performAsync('outer');
      for (const member of members) await member.enrol();
    });
    return outer;
  }

  test('is waited for, and counted as complete', async () => {
    const inner = await createBatch(world);
    await inner.jobs(() => gates.jobs.pass.performAsync(`inner-${inner.id}`));
    const outer = await outerBatch(inner);
    await eventually(async () => expect(await outer.progress()).toMatchObject({ complete: 1, pending: 1 }));
    expect(await outer.pendingJobs()).toMatchObject([{ workerClass: 'batch-jobs:Batch', args: [inner.id] }]);
    gates.gate(`inner-${inner.id}`).open();
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 2,
      complete: 2,
    });
    expect((await inner.progress()).status).toBe('complete');
    await expectConsistent(world, outer);
    expect(await firedCallbacks(world, outer.id)).toEqual(['OnComplete', 'OnSettled']);
  });

  test('counts as failed when it fails or is cancelled, and says why', async () => {
    const [failing, cancelled] = [await createBatch(world), await createBatch(world)];
    await failing.jobs(() => world.fixtures.jobs.failForGood.performAsync(1));
    await cancelled.cancel({ reason: 'no need' });
    const outer = await outerBatch(failing, cancelled);
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 2,
    });
    expect(await outer.failedJobs()).toMatchObject([
      {
        errorClass: 'BatchFailedError',
        errorMessage: `Batch "${failing.id}" is failed: 1 of 1 jobs failed.`,
      },
      { errorClass: 'BatchCancelledError', errorMessage: `Batch "${cancelled.id}" is cancelled: no need.` },
    ]);
    await expectConsistent(world, outer);
  });

  test('that was retried makes the outer batch complete when that is retried, too', async () => {
    const inner = await createBatch(world);
    const once = world.fixtures.jobs.failTimes.set({ retry: { maximumAttempts: 1 } });
    await inner.jobs(() => once.performAsync('inner', 1));
    const outer = await outerBatch(inner);
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed' });
    await inner.retryFailed({ failWhenFailed: { moreThan: 1 } });
    expect(await inner.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    await outer.retryFailed();
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
  });

  test('may have members itself, and jobs that are started later', async () => {
    const innermost = await createBatch(world);
    await innermost.jobs(() => world.fixtures.jobs.record.performAsync('innermost'));
    const inner = await outerBatch(innermost);
    const late = await createBatch(world);
    const outer = await outerBatch(inner, late);
    await late.jobs(() => world.fixtures.jobs.record.performAsync('late'));
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 3 });
  });

  test('does not keep the outer batch from being cancelled, and goes on', async () => {
    const inner = await createBatch(world);
    await inner.jobs(() => gates.jobs.pass.performAsync(`left-${inner.id}`));
    const outer = await outerBatch(inner);
    await eventually(async () => expect((await outer.progress()).complete).toBe(1));
    await outer.cancel();
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    gates.gate(`left-${inner.id}`).open();
    expect(await inner.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('survives a SIGKILL of the worker that asks for it', async () => {
    await using own = await createWorld();
    const victim = await own.spawnWorker();
    const inner = await createBatch(own);
    const outer = await createBatch(own);
    await outer.jobs(() => inner.enrol());
    victim.kill('SIGKILL');
    await own.spawnWorker();
    await inner.jobs(() => own.fixtures.jobs.record.performAsync(1));
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });

  test('is refused outside of a block, in its own block, and its name is nobody else’s', async () => {
    const batch = await createBatch(world);
    expect(await codeOf(batch.enrol())).toBe('NO_ENROLLMENT');
    await batch.jobs(async () => {
      expect(await codeOf(batch.enrol())).toBe('BATCH_CYCLE');
      await world.fixtures.jobs.record.performAsync(1);
    });
    await batch.wait({ timeout: PATIENCE });
    expect(() => defineJob('batch-jobs:Batch', async () => {})).toThrow('must be a name that does not begin');
  });
});
