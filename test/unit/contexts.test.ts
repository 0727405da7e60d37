import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  currentBatch,
  currentJob,
  defineJob,
  outsideBlock,
  type Batch,
  type EnrollmentBlock,
} from '../../src/index.ts';
import { createInlineBatches, enrolledJobs } from '../../src/testing/index.ts';
import { codeOf } from '../support/codes.ts';
import { createTaskQueue } from '../support/task-queue.ts';

const pair = defineJob('Pair', async (_block: number, _i: number) => {});
/** Not what JSON can carry. */
const WRONG = new Date() as unknown as number;

function setup(jobs: Parameters<typeof createInlineBatches>[0] = {}) {
  const warnings: string[] = [];
  const batches = createInlineBatches({
    jobs: [pair],
    logger: { warn: (message, meta) => void warnings.push(`${message} ${JSON.stringify(meta)}`) },
    ...jobs,
  });
  let created = 0;
  const create = () => batches.create({ id: `b${created++}`, description: 'A test' });
  return { batches, create, warnings, [Symbol.asyncDispose]: () => batches.close() };
}

const argsOf = async (batch: Batch) => (await enrolledJobs(batch)).map(({ args }) => args);

// Each of these would be an unhandled rejection, which fails the run, if nobody heard of it.
describe('a start that nobody waits for', () => {
  const cases: [string, () => unknown][] = [
    ['of one job', () => void pair.performAsync(1, WRONG)],
    ['of one job, with something to do then', () => void pair.performAsync(1, WRONG).then((jid) => jid)],
    ['of one job, with more to do then', () => void pair.performAsync(1, WRONG).then().then().then()],
    ['of one job, with something to do in the end', () => void pair.performAsync(1, WRONG).finally(() => {})],
    ['of many jobs', () => void pair.performBulk([[1, 1], [1, WRONG]])],
    ['of many jobs with a key', () => void pair.set({ key: 'one' }).performBulk([])],
    ['from a timer', async () => {
      setTimeout(() => void pair.performAsync(1, WRONG), 1);
      await delay(5);
    }],
  ]; // prettier-ignore

  test.each(cases)('%s is what jobs() rejects with', async (_title, block) => {
    await using world = setup();
    const batch = await world.create();
    expect(await codeOf(batch.jobs(block))).toMatch(/^INVALID_/);
    await world.batches.drain();
    expect((await batch.reload()).status).toBe('failed');
    expect(batch.enrollmentError).toMatch(/^Invalid/);
    expect(world.warnings).toEqual([]);
  });

  test('with the block itself is what jobs() rejects with', async () => {
    await using world = setup();
    expect(await codeOf((await world.create()).jobs((block) => void block.perform(pair, 1, WRONG)))).toBe(
      'INVALID_ARGUMENTS',
    );
    const bulk = (block: EnrollmentBlock) => void block.performBulk(pair, [[1, WRONG]]);
    expect(await codeOf((await world.create()).jobs(bulk))).toBe('INVALID_ARGUMENTS');
    const noJob = (block: EnrollmentBlock) => void block.perform({} as typeof pair, 1, 2);
    expect(await codeOf((await world.create()).jobs(noJob))).toBe('INVALID_OPTION');
    const inOwn = await world.create();
    expect(await codeOf(inOwn.jobs((block) => void inOwn.enrol(block)))).toBe('BATCH_CYCLE');
  });

  test('because its generator throws is what jobs() rejects with', async () => {
    await using world = setup();
    const error = new RangeError('row 2 is broken');
    async function* rows(): AsyncGenerator<[number, number]> {
      yield [1, 1];
      await delay(5);
      throw error;
    }
    const batch = await world.create();
    await expect(batch.jobs(() => void pair.performBulk(rows()))).rejects.toBe(error);
    expect(await argsOf(batch)).toEqual([[1, 1]]);
  });

  test('of which somebody handles the error is not', async () => {
    await using world = setup();
    const batch = await world.create();
    const { total } = await batch.jobs(async () => {
      expect(await codeOf(pair.performAsync(1, WRONG))).toBe('INVALID_ARGUMENTS');
      void pair.performAsync(1, WRONG).catch(() => {});
      void pair.performAsync(1, WRONG).then(
        () => {},
        () => {},
      );
      await Promise.allSettled([pair.performAsync(1, WRONG), pair.performBulk([[1, WRONG]])]);
      const later = pair.performAsync(1, WRONG);
      await delay(5);
      expect(await codeOf(later)).toBe('INVALID_ARGUMENTS');
      await pair.performAsync(1, 1);
    });
    expect(total).toBe(1);
  });

  test('does not replace what the block throws', async () => {
    await using world = setup();
    const error = new RangeError('the block');
    const batch = await world.create();
    const block = () => {
      void pair.performAsync(1, WRONG);
      throw error;
    };
    await expect(batch.jobs(block)).rejects.toBe(error);
    expect(world.warnings).toEqual([]);
  });

  test('of many is heard of, however many others somebody handles', async () => {
    await using world = setup();
    const batch = await world.create();
    const block = async () => {
      for (let i = 0; i < 500; i++) await codeOf(pair.performAsync(1, WRONG));
      void pair.performAsync(1, WRONG);
      for (let i = 0; i < 500; i++) await codeOf(pair.performAsync(1, WRONG));
    };
    expect(await codeOf(batch.jobs(block))).toBe('INVALID_ARGUMENTS');
  });

  test('of many jobs keeps the block open until all are enrolled', async () => {
    await using world = setup();
    async function* slow(): AsyncGenerator<[number, number]> {
      for (let i = 0; i < 5; i++) {
        await delay(2);
        yield [1, i];
      }
    }
    const batch = await world.create();
    const { total } = await batch.jobs((block) => {
      void pair.performBulk(slow());
      void block.performBulk(pair, slow());
    });
    expect(total).toBe(10);
  });
});

describe('a start after the end of its block', () => {
  test('is a warning with the remedy, once in a while, where nobody waits for it', async () => {
    await using world = setup();
    let start!: () => void;
    const batch = await world.create();
    await batch.jobs(async () => {
      await pair.performAsync(1, 1);
      start = AsyncResource.bind(() => void pair.performAsync(1, 2));
    });
    for (let i = 0; i < 3; i++) start();
    await turn();
    await turn();
    expect(world.warnings).toHaveLength(1);
    expect(world.warnings[0]).toContain(`block of batch "${batch.id}" had closed; the job was not started`);
    expect(world.warnings[0]).toContain('create it in outsideBlock(() => …)');
    expect(world.warnings[0]).toContain('block.perform(job, ...args)');
    expect(await argsOf(batch)).toEqual([[1, 1]]);
  });

  test('rejects for who waits for it, names other blocks that are open, and is no warning', async () => {
    await using world = setup();
    let block!: EnrollmentBlock;
    let start!: () => Promise<string>;
    const [batch, other] = [await world.create(), await world.create()];
    await batch.jobs(async (own) => {
      block = own;
      start = AsyncResource.bind(() => pair.performAsync(1, 2));
      await pair.performAsync(1, 1);
    });
    await other.jobs(async () => {
      await expect(start()).rejects.toThrow(`Open in this process: the blocks of batches "${other.id}".`);
      await pair.performAsync(2, 1);
    });
    expect(await codeOf(start())).toBe('ENROLLMENT_CLOSED');
    expect(await codeOf(block.perform(pair, 1, 3))).toBe('ENROLLMENT_CLOSED');
    expect(await codeOf(block.performBulk(pair, [[1, 4]]))).toBe('ENROLLMENT_CLOSED');
    await turn();
    expect(world.warnings).toEqual([]);
  });

  test('is a plain job in what was created by outsideBlock', async () => {
    await using world = setup();
    const tick = new EventEmitter();
    const batch = await world.create();
    await batch.jobs(async () => {
      outsideBlock(() => setTimeout(() => void pair.performAsync(0, 0).then(() => tick.emit('done')), 5));
      await pair.performAsync(1, 1);
    });
    await new Promise<void>((resolve) => tick.once('done', resolve));
    expect(await world.batches.drain()).toMatchObject({ jobs: 2 });
    expect(await argsOf(batch)).toEqual([[1, 1]]);
    expect(world.warnings).toEqual([]);
    expect(() => outsideBlock(1 as never)).toThrow('run must be a function');
  });
});

describe('the block itself', () => {
  const N = 5;
  /** Blocks of two batches at once, whose tasks go through something that they share. */
  async function twoBlocks(
    world: ReturnType<typeof setup>,
    add: (task: () => Promise<string>) => Promise<string>,
    start: (block: EnrollmentBlock, k: number, i: number) => Promise<string> = (block, k, i) =>
      block.perform(pair, k, i),
  ) {
    const made = [await world.create(), await world.create()];
    const ends = await Promise.allSettled(
      made.map((batch, k) =>
        batch.jobs(async (block) => {
          const task = (i: number) => async () => {
            await delay(1);
            return start(block, k, i);
          };
          const jids = await Promise.all(Array.from({ length: N }, (_, i) => add(task(i))));
          await delay(30);
          return jids;
        }),
      ),
    );
    return { ends, owners: await Promise.all(made.map(async (b) => (await argsOf(b)).map(([k]) => k))) };
  }
  const OWN = [Array.from({ length: N }, () => 0), Array.from({ length: N }, () => 1)];

  test('starts jobs of its batch from the tasks of a queue that runs them in another context', async () => {
    await using world = setup();
    const queue = createTaskQueue();
    const { ends, owners } = await twoBlocks(world, (task) => queue.add(task));
    expect(ends).toMatchObject([{ value: { total: N } }, { value: { total: N } }]);
    expect(owners).toEqual(OWN);
  });

  test('warns once that contexts are mixed, because other starts of the same code go astray', async () => {
    await using world = setup();
    const queue = createTaskQueue();
    await twoBlocks(world, (task) => queue.add(task));
    await twoBlocks(world, (task) => queue.add(task));
    expect(world.warnings).toHaveLength(1);
    expect(world.warnings[0]).toMatch(
      /^A job of batch "b1" was started in the context of the block of batch "b0"/,
    );
  });

  test('does so from a queue that is started outside of blocks, and from a listener', async () => {
    await using world = setup();
    const queue = createTaskQueue({ isPaused: true });
    const running = twoBlocks(world, (task) => queue.add(task));
    await delay(5);
    queue.start();
    expect((await running).owners).toEqual(OWN);
    const emitter = new EventEmitter();
    // Context of whoever opened the source of events, as of a socket.
    const emit = AsyncResource.bind((task: () => void) => emitter.emit('task', task));
    emitter.on('task', (task: () => void) => task());
    const add = (task: () => Promise<string>) =>
      new Promise<string>((resolve, reject) => emit(() => void task().then(resolve, reject)));
    expect((await twoBlocks(world, add)).owners).toEqual(OWN);
    expect(world.warnings).toEqual([]);
  });

  test('takes options of a call and lists, and works without this', async () => {
    await using world = setup();
    const batch = await world.create();
    await batch.jobs(async ({ batchId, perform, performBulk }) => {
      expect(batchId).toBe(batch.id);
      const jid = await perform(pair.set({ key: 'one' }), 1, 1);
      expect(await perform(pair.set({ key: 'one' }), 1, 2)).toBe(jid);
      expect(await performBulk(pair, [[1, 3], [1, 4]])).toHaveLength(2); // prettier-ignore
    });
    expect(await argsOf(batch)).toEqual([[1, 1], [1, 3], [1, 4]]); // prettier-ignore
  });

  test('is that of a handler, too', async () => {
    const queue = createTaskQueue();
    const adds = defineJob('Adds', async (i: number) => {
      expect(currentJob().jid).toBeDefined();
      const start = (block: EnrollmentBlock) => queue.add(() => block.perform(pair.set({ key: 'p' }), 1, i));
      await currentBatch().jobs(start);
    });
    await using world = setup({ jobs: [pair, adds] });
    const batch = await world.create();
    await batch.jobs((block) => block.perform(adds, 7));
    await world.batches.drain();
    expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 2 });
  });

  test('makes a batch a job of its own batch', async () => {
    await using world = setup();
    const [outer, inner, other] = [await world.create(), await world.create(), await world.create()];
    await inner.jobs(() => pair.performAsync(1, 1));
    await outer.jobs(async (block) => {
      await outsideBlock(() => other.jobs(() => inner.enrol(block).then(() => pair.performAsync(2, 2))));
    });
    expect(await argsOf(outer)).toEqual([[inner.id]]);
    expect(await codeOf(inner.enrol({} as EnrollmentBlock))).toBe('INVALID_OPTION');
  });
});

describe('jobs()', () => {
  test('rejects when its block returns jids of another batch: a queue has mixed the contexts', async () => {
    await using world = setup();
    const queue = createTaskQueue();
    const made = [await world.create(), await world.create()];
    const ends = await Promise.allSettled(
      made.map((batch, k) =>
        batch.jobs(async () => {
          const own = pair.performAsync(k, -1);
          const task = (i: number) => async () => {
            await delay(1);
            return pair.performAsync(k, i);
          };
          const jids = await Promise.all([0, 1, 2].map((i) => queue.add(task(i))));
          await delay(30);
          return [await own, jids];
        }),
      ),
    );
    expect(ends[0]).toMatchObject({ status: 'fulfilled' });
    const astray = [
      expect.stringMatching(/^b0\/\d$/),
      expect.stringMatching(/^b0\//),
      expect.stringMatching(/^b0\//),
    ];
    expect(ends[1]).toMatchObject({ reason: { code: 'CONTEXT_LOST', jids: astray } });
    expect((ends[1] as PromiseRejectedResult).reason.message).toContain('block.perform(job, ...args)');
    expect((await made[1]!.reload()).enrollmentError).toMatch(/^ContextLostError/);
  });

  test('rejects when its block returns jids of no batch: a queue has lost the context', async () => {
    await using world = setup();
    const queue = createTaskQueue({ isPaused: true });
    const batch = await world.create();
    const block = async () => [await pair.performAsync(1, 0), await queue.add(() => pair.performAsync(1, 1))];
    const running = batch.jobs(block);
    await delay(5);
    queue.start();
    await expect(running).rejects.toMatchObject({ code: 'CONTEXT_LOST', jids: [expect.any(String)] });
  });

  test('says of an empty block what was started meanwhile elsewhere', async () => {
    await using world = setup();
    const queue = createTaskQueue({ isPaused: true });
    const [batch, other] = [await world.create(), await world.create()];
    const running = batch.jobs(async () => void (await queue.add(() => pair.performAsync(1, 1))));
    await other.jobs(() => pair.performAsync(2, 2));
    queue.start();
    await expect(running).rejects.toThrow(
      'Meanwhile, in this process, 1 jobs were started outside of any block, and blocks of other batches were open ("b1")',
    );
  });

  test('resolves when the jids are of jobs that were meant for elsewhere', async () => {
    await using world = setup();
    const [batch, other] = [await world.create(), await world.create()];
    let end!: () => void;
    let block!: EnrollmentBlock;
    const open = other.jobs(async (own) => {
      block = own;
      await new Promise<void>((resolve) => (end = resolve));
    });
    await delay(1);
    await batch.jobs(async () => [
      await pair.performAsync(1, 1),
      await block.perform(pair, 2, 2),
      await outsideBlock(() => pair.performAsync(0, 0)),
      'b9/1',
    ]);
    end();
    await open;
    expect(await argsOf(batch)).toEqual([[1, 1]]);
    expect(await argsOf(other)).toEqual([[2, 2]]);
  });

  test('that a queue runs in the block of another batch says what to do', async () => {
    await using world = setup();
    const [batch, other] = [await world.create(), await world.create()];
    await batch.jobs(async () => {
      await expect(other.jobs(() => {})).rejects.toThrow('call outsideBlock(() => batch.jobs(…))');
      await outsideBlock(() => other.jobs(() => pair.performAsync(2, 2)));
      await pair.performAsync(1, 1);
    });
    expect([await argsOf(batch), await argsOf(other)]).toEqual([[[1, 1]], [[2, 2]]]);
  });
});
