import { AsyncResource } from 'node:async_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BatchPlugin, outsideBlock, type Batch, type EnrollmentBlock } from '../../src/index.ts';
import { createBatch, expectConsistent } from '../support/batches.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE } from '../support/patience.ts';
import { createTaskQueue } from '../support/task-queue.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
});
afterAll(() => world[Symbol.asyncDispose]());

const valuesOf = async (batch: Batch) =>
  (await world.ledger.of(batch.id, 'job')).map(({ detail }) => String(detail)).toSorted();

describe('a process that waits for none of its starts', () => {
  test.each([{ keyed: false }, { keyed: true }])(
    'goes on when the batch is cancelled meanwhile, and jobs() rejects with that: %j',
    async ({ keyed }) => {
      await using enqueuer = await spawnEnqueuer(world);
      const [batch, next] = [await createBatch(world), await createBatch(world)];
      const command = { batchId: batch.id, name: 'a', count: 200_000, job: 'noop', keyed } as const;
      enqueuer.enrol({ ...command, isUnawaited: true });
      await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
      await batch.cancel();
      expect(await enqueuer.ended(batch.id)).toMatchObject({ what: 'refused', code: 'BATCH_CANCELLED' });
      enqueuer.enrol({ batchId: next.id, name: 'b', count: 3, isUnawaited: true });
      expect(await enqueuer.ended(next.id)).toEqual({ what: 'closed', batchId: next.id, total: 3 });
      expect(await next.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 3 });
    },
  );

  test('goes on when its batch has closed the block, because it was stopped for too long', async () => {
    await using enqueuer = await spawnEnqueuer(world);
    const [batch, next] = [await createBatch(world, { enrollmentTimeout: '2s' }), await createBatch(world)];
    enqueuer.enrol({ batchId: batch.id, name: 'a', count: 200_000, job: 'noop', isUnawaited: true });
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
    enqueuer.signal('SIGSTOP');
    const atItsEnd = await batch.wait({ timeout: PATIENCE });
    enqueuer.signal('SIGCONT');
    expect(await enqueuer.ended(batch.id)).toMatchObject({ what: 'refused', code: 'ENROLLMENT_TIMED_OUT' });
    expect(await batch.progress()).toEqual(atItsEnd);
    enqueuer.enrol({ batchId: next.id, name: 'b', count: 3 });
    expect(await enqueuer.ended(next.id)).toMatchObject({ what: 'closed', total: 3 });
  });

  test('has all jobs of a bulk in its batch', async () => {
    async function* rows(): AsyncGenerator<[number]> {
      for (let i = 0; i < 1_200; i++) {
        if (i % 400 === 0) await delay(5);
        yield [i];
      }
    }
    const batch = await createBatch(world);
    const { total } = await batch.jobs(() => void world.fixtures.jobs.noop.performBulk(rows()));
    expect(total).toBe(1_200);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_200 });
    await expectConsistent(world, batch);
  });
});

describe('a queue that runs tasks in the context of other code', () => {
  const N = 6;

  /** Blocks of two batches at once, whose tasks go through one queue. */
  async function twoBlocks(
    made: readonly [Batch, Batch],
    start: (value: string, block: EnrollmentBlock) => Promise<unknown>,
    bind: (task: () => Promise<unknown>) => () => Promise<unknown> = (task) => task,
  ): Promise<void> {
    const queue = createTaskQueue();
    const ends = createGates().gate('ends');
    const block = (k: number) => async (own: EnrollmentBlock) => {
      const task = (i: number) => async () => {
        await delay(2);
        await start(`${k}.${i}`, own);
      };
      await Promise.all(Array.from({ length: N }, (_, i) => queue.add(bind(task(i)))));
      // Whichever of the blocks woke the queue outlives the tasks of the other, which run in its context.
      void ends.pass();
      await ends.arrivals(2);
    };
    await Promise.all(made.map((batch, k) => batch.jobs(block(k))));
  }

  const own = (k: number) => Array.from({ length: N }, (_, i) => `${k}.${i}`);

  async function checkOwners(made: readonly Batch[]): Promise<void> {
    for (const [k, batch] of made.entries()) {
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: N });
      expect(await valuesOf(batch)).toEqual(own(k));
      await expectConsistent(world, batch);
    }
  }

  const record = () => world.fixtures.jobs.record;

  test('starts jobs of the right batches with their blocks: one by one, in lists, with keys', async () => {
    const made = [await createBatch(world), await createBatch(world)] as const;
    await twoBlocks(made, (value, block) => block.perform(record(), value));
    await checkOwners(made);
    const lists = [await createBatch(world), await createBatch(world)] as const;
    await twoBlocks(lists, (value, block) => block.performBulk(record(), [[value]]));
    await checkOwners(lists);
    const keyed = [await createBatch(world), await createBatch(world)] as const;
    await twoBlocks(keyed, (value, block) => block.perform(record().set({ key: value }), value));
    await checkOwners(keyed);
  });

  test('starts jobs of the right batches by their tasks’ own context, where that is bound', async () => {
    const made = [await createBatch(world), await createBatch(world)] as const;
    const bind = (task: () => Promise<unknown>) => AsyncResource.bind(task);
    await twoBlocks(made, (value) => record().performAsync(value), bind);
    await checkOwners(made);
  });

  test('fails loudly without: jobs() rejects when it sees the jids', async () => {
    const [first, second] = [await createBatch(world), await createBatch(world)];
    const queue = createTaskQueue();
    const tasksEnd = createGates().gate('ends');
    const block = (k: number) => async () => {
      const jid = await record().performAsync(`own ${k}`);
      const task = async () => {
        await delay(2);
        return record().performAsync(`queued ${k}`);
      };
      const jids = await Promise.all([queue.add(task), queue.add(task)]);
      void tasksEnd.pass();
      await tasksEnd.arrivals(2);
      return [jid, jids];
    };
    const made = [first, second];
    const ends = await Promise.allSettled(made.map((batch, k) => batch.jobs(block(k))));
    // All tasks ran in the context of the block that woke the queue.
    const astray = ends.findIndex(({ status }) => status === 'rejected');
    expect(ends).toMatchObject(
      made.map((_, k) => (k === astray ? { reason: { code: 'CONTEXT_LOST' } } : { value: { total: 5 } })),
    );
    expect(await made[astray]!.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 1 });
    expect(made[astray]!.enrollmentError).toContain('ContextLostError');
  });

  test('starts jobs of an open-ended batch with its block, and workflows in a context that is bound', async () => {
    const plugins = [new BatchPlugin()];
    const app = new Client({ connection: world.client.connection, plugins });
    const queue = createTaskQueue({ isPaused: true });
    const batch = await createBatch(world, { autoSeal: false });
    const start = { taskQueue: `${world.taskQueue}-none`, workflowId: `w-${batch.id}`, args: [] };
    const running = batch.jobs((block) =>
      Promise.all([
        queue.add(() => block.perform(record(), 'job')),
        queue.add(AsyncResource.bind(() => app.workflow.start('anything', start))),
      ]),
    );
    await delay(5);
    queue.start();
    await running;
    expect(await batch.seal()).toEqual({ total: 2 });
    expect(await batch.pendingJobs().where({ worker_class: 'anything' })).toMatchObject([
      { workflowId: start.workflowId },
    ]);
    await app.workflow.getHandle(start.workflowId).terminate();
    await batch.cancel();
  });

  test('makes a batch a job of the batch whose block is given', async () => {
    const [outer, inner] = [await createBatch(world), await createBatch(world)];
    await inner.jobs(() => record().performAsync('inner'));
    await outer.jobs(async (block) => {
      await outsideBlock(() => inner.enrol(block));
    });
    expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
  });
});
