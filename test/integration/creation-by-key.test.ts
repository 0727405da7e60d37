import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resolveBatchOptions } from '../../src/client/batch-options.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import type { BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock } from '../support/batches.ts';
import { codeOf, expectCode } from '../support/codes.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let record: World['fixtures']['jobs']['record'];
let otherQueue: string;
beforeAll(async () => {
  world = await createWorld();
  ({ record } = world.fixtures.jobs);
  otherQueue = `${world.taskQueue}-other`;
  await world.startWorker();
  await world.startWorker({ taskQueue: otherQueue });
});
afterAll(() => world[Symbol.asyncDispose]());

let ids = 0;
const newId = () => `by-key-${world.schema}-${++ids}`;

const jobRows = (id: string) =>
  world.knex.withSchema(world.schema).from('batch_jobs').where({ batch_id: id }).orderBy('position');

/** What `create` does before it dies. */
function startWorkflow({ client, taskQueue }: World, id: string) {
  const { description, context, definition, settings } = resolveBatchOptions(
    { description: 'A test', id },
    () => id,
  );
  return client.workflow.start('batch', {
    workflowId: `batch:${id}`,
    taskQueue,
    args: [{ batchId: id, description, context, definition, settings }],
  });
}

const valuesOf = async (id: string) =>
  (await world.ledger.of(id, 'job')).map(({ detail }) => String(detail)).toSorted();

describe('creating a batch of an id that exists', () => {
  const options: BatchOptions = {
    description: 'An import',
    context: { file: 's3://', parts: [1, { deep: null }] },
    failWhenFailed: { moreThan: '5%' },
    deadline: '6 hours',
    enrollmentTimeout: '1 minute',
  };

  test('gives that batch, while it is new, while it runs and after it has ended', async () => {
    const id = newId();
    const batch = await world.batches.create({ ...options, id });
    const again = async () => {
      const same = await world.openClient().create({ ...options, id });
      expect(same).toMatchObject({ id, createdAt: batch.createdAt, deadlineAt: batch.deadlineAt });
      return same;
    };
    await again();
    await batch.jobs(() => record.performAsync(1));
    expect((await again()).status).not.toBe('pending');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    expect((await again()).status).toBe('complete');
    expect(await (await again()).wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    await expectCode(
      (await again()).jobs(() => record.performAsync(2)),
      'ALREADY_ENROLLED',
    );
  });

  test('takes the same definition in another form for the same', async () => {
    const id = newId();
    await world.batches.create({ ...options, id });
    const same = {
      ...options,
      context: { parts: [1, { deep: null }], file: 's3://' },
      deadline: 6 * 3_600_000,
      enrollmentTimeout: 60_000,
      openTimeout: '1 day',
      failWhen: 'settled',
      autoSeal: true,
    } as const;
    expect((await world.batches.create({ ...same, id })).id).toBe(id);
  });

  test('is refused with the options that differ', async () => {
    const id = newId();
    await world.batches.create({ ...options, id });
    const differences = async (changes: Partial<BatchOptions>) => {
      try {
        await world.batches.create({ ...options, ...changes, id });
        return 'none';
      } catch (error) {
        expect(error).toMatchObject({ code: 'BATCH_EXISTS', batchId: id });
        return (error as { differences: string[] }).differences.join();
      }
    };
    expect(await differences({})).toBe('none');
    expect(await differences({ description: 'Another', context: {} })).toBe('context,description');
    expect(await differences({ deadline: '7 hours' })).toBe('deadline');
    expect(await differences({ deadline: null })).toBe('deadline');
    expect(await differences({ failWhenFailed: 'any', failWhen: 'immediate' })).toBe(
      'failWhen,failWhenFailed',
    );
    expect(await differences({ autoSeal: false, openTimeout: '2 days' })).toBe('autoSeal,openTimeout');
    expect(await differences({ unknownJobTimeout: '1s', continueAsNewAfterEvents: 50 })).toBe(
      'continueAsNewAfterEvents,unknownJobTimeout',
    );
    expect(await (await world.batches.find(id)).progress()).toMatchObject({ status: 'pending', total: 0 });
  });

  test('gives it, though its deadline was a Date that has passed', async () => {
    const id = newId();
    const deadline = new Date(Date.now() + 1_500);
    const batch = await world.batches.create({ description: 'd', id, deadline });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed' });
    expect((await world.batches.create({ description: 'd', id, deadline })).status).toBe('failed');
    await expectCode(world.batches.create({ description: 'd', id: newId(), deadline }), 'INVALID_OPTION');
    await expectCode(world.batches.create({ description: 'd', deadline }), 'INVALID_OPTION');
  });

  test('at once gives one batch to all, in every round', async () => {
    await inRounds(40, 4, async (round) => {
      const id = newId();
      const clients = [world.batches, world.batches, world.openClient()];
      const all = await Promise.all(clients.map((client) => client.create({ description: 'd', id })));
      expect(new Set(all.map(({ createdAt }) => createdAt.getTime())).size).toBe(1);
      const blocks = all.map((batch) => codeOf(batch.jobs(() => record.performAsync(round))));
      const codes = await Promise.all(blocks);
      expect(codes.filter((code) => code === 'ALREADY_ENROLLED')).toHaveLength(2);
      expect(codes).toContain(undefined);
      expect(await all[0]!.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    });
  });

  test('at once with different definitions gives it to one of them, in every round', async () => {
    await inRounds(20, 4, async () => {
      const id = newId();
      const codes = ['a', 'b'].map((description) => codeOf(world.batches.create({ description, id })));
      expect(new Set(await Promise.all(codes))).toEqual(new Set(['BATCH_EXISTS', undefined]));
    });
  });

  test('whose creator died before its row was written gives it, once a worker has written that', async () => {
    await using apart = await createWorld();
    const id = `died-${apart.schema}`;
    await startWorkflow(apart, id);
    const creating = apart.batches.create({ description: 'A test', id });
    await delay(500);
    await apart.startWorker();
    expect(await creating).toMatchObject({ id, status: 'pending' });
    await expectCode(apart.batches.create({ description: 'Another', id }), 'BATCH_EXISTS');
  });

  test('that came to nothing makes a new one, also while it is being removed', async () => {
    await inRounds(20, 4, async () => {
      const options = { id: newId(), description: 'A test' };
      const first = await world.batches.create(options);
      const emptied = codeOf(first.jobs(() => {}));
      await delay(Math.random() * 30);
      const again = await world.batches.create(options);
      expect(await emptied).toBe('EMPTY_BATCH');
      // It was the one that was about to be removed, or is a new one.
      const code = await codeOf(again.jobs(() => record.performAsync('again')));
      if (code === undefined)
        expect(await again.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
      else expect(['ALREADY_ENROLLED', 'BATCH_NOT_FOUND']).toContain(code);
    });
  });

  test('does not disturb those who wait for it, nor does a workflow of its id that comes to nothing', async () => {
    const options = { id: newId(), description: 'A test' };
    const batch = await world.batches.create(options);
    await batch.jobs(() => record.performAsync(1));
    await batch.wait({ timeout: PATIENCE });
    const late = await startWorkflow(world, options.id);
    await expect(late.result()).rejects.toThrow('Workflow execution failed');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await (await world.batches.create(options)).wait()).toMatchObject({
      total: 1,
    });
  });
});

describe('resuming a block', () => {
  test('whose process was killed adds the jobs that are missing: those with keys are not doubled', async () => {
    await using enqueuer = await spawnEnqueuer(world);
    const batch = await createBatch(world);
    enqueuer.enrol({ batchId: batch.id, name: 'k', count: 30, keyed: true, thenHang: true });
    await eventually(async () => expect(await jobRows(batch.id)).toHaveLength(30));
    const before = await jobRows(batch.id);
    await enqueuer.kill();
    await expectCode(
      batch.jobs(() => record.performAsync('without resume')),
      'ALREADY_ENROLLED',
    );
    const jids: string[] = [];
    const { total } = await batch.jobs(
      async () => {
        for (let i = 0; i < 40; i++) jids.push(await record.set({ key: `k${i}` }).performAsync(`k${i}`));
      },
      { resume: true },
    );
    expect(total).toBe(40);
    expect(jids.slice(0, 30)).toEqual(before.map(({ jid }) => jid));
    expect(jids).toEqual(Array.from({ length: 40 }, (_, i) => `${batch.id}/${i + 1}`));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 40 });
    expect(await valuesOf(batch.id)).toEqual(Array.from({ length: 40 }, (_, i) => `k${i}`).toSorted());
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('whose process lives refuses that from then on, whatever it has numbered', async () => {
    const batch = await createBatch(world);
    const elsewhere = await world.openClient().find(batch.id);
    let goOn!: () => void;
    const taken = new Promise<void>((resolve) => (goOn = resolve));
    const old = batch.jobs(async () => {
      await record.performAsync('before');
      await eventually(async () => expect(await jobRows(batch.id)).toHaveLength(1));
      await taken;
      for (let i = 0; i < 2_500; i++) await record.performAsync(`late ${i}`);
    });
    await eventually(async () => expect(await jobRows(batch.id)).toHaveLength(1));
    await elsewhere.jobs(
      async () => {
        goOn();
        await expectCode(old, 'ALREADY_ENROLLED');
        await record.performAsync('after');
      },
      { resume: true },
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await valuesOf(batch.id)).toEqual(['after', 'before']);
    await expectConsistent(world, batch);
  });

  test('runs rows that the other process had not announced, on whatever task queue', async () => {
    const batch = await createBatch(world);
    const token = await openBlock(world, batch.id);
    const rows = ['x', 'y'].map(
      (value) => ['Record', JSON.stringify([value]), null, otherQueue, null] as const,
    );
    await insertJobs(world.batches.database, batch.id, 1, rows, token);
    expect(await batch.jobs(() => {}, { resume: true })).toEqual({ total: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await valuesOf(batch.id)).toEqual(['x', 'y']);
    expect(await insertJobs(world.batches.database, batch.id, 3, rows, token)).toBe(false);
  });

  test('that was not opened yet opens it, and one that is closed is not opened again', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => record.performAsync(1), { resume: true });
    await batch.wait({ timeout: PATIENCE });
    await expectCode(
      batch.jobs(() => record.performAsync(2), { resume: true }),
      'BATCH_SETTLED',
    );
    const running = await createBatch(world);
    await running.jobs(() => world.fixtures.jobs.work.performAsync(1, 60_000));
    await expectCode(
      running.jobs(() => record.performAsync(2), { resume: true }),
      'ALREADY_ENROLLED',
    );
    await expectCode(
      running.jobs(() => {}, { resume: 1 } as never),
      'INVALID_OPTION',
    );
    await expectCode(
      running.jobs(() => {}, { restart: true } as never),
      'INVALID_OPTION',
    );
    await running.cancel();
  });

  test('at once in several processes leaves it to one: every key is one job, in every round', async () => {
    await using first = await spawnEnqueuer(world);
    await using second = await spawnEnqueuer(world);
    await inRounds(25, 2, async (round) => {
      const batch = await createBatch(world);
      // The batch has heard of it, or has not.
      const token = await openBlock(world, batch.id, { isHeard: round % 2 === 0 });
      const rows = [0, 1, 2].map((i) => ['Record', `["old ${i}"]`, null, null, null] as const);
      await insertJobs(world.batches.database, batch.id, 1, rows, token);
      const command = { batchId: batch.id, name: 'k', count: 12, keyed: true, resume: true };
      first.enrol(command);
      second.enrol(command);
      const ends = await Promise.all([first.ended(batch.id), second.ended(batch.id)]);
      const closed = ends.filter(({ what }) => what === 'closed');
      expect(closed.length).toBe(1);
      expect(closed[0]).toMatchObject({ total: 15 });
      expect(ends.find(({ what }) => what === 'refused')).toMatchObject({ code: 'ALREADY_ENROLLED' });
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 15 });
      const positions = (await jobRows(batch.id)).map(({ position }) => position);
      expect(positions).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
      expect((await valuesOf(batch.id)).length).toBe(15);
      expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    });
  });
});
