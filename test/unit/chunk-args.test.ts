import { describe, expect, test } from 'vitest';
import { ChunkArgs } from '../../activities/chunk-args.ts';
import type { ChunkJob } from '../../src/database/chunks.ts';
import { ByteBudget } from '../../src/worker/byte-budget.ts';

const KIB = 1024;

/** Lets everything run that can run now. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Jobs of these sizes, of which the small ones come with their arguments. */
function rows(sizes: readonly number[], maxBytesEach: number, first = 1): ChunkJob[] {
  return sizes.map((bytes, i) => {
    const position = first + i;
    return { position, bytes, args: bytes <= maxBytesEach ? [position] : null } as unknown as ChunkJob;
  });
}

async function setup(sizes: readonly number[], budget = new ByteBudget(1024 * KIB), first = 1) {
  const reads: (readonly number[])[] = [];
  let stops = false;
  const read = async (positions: readonly number[]) => {
    reads.push(positions);
    return new Map(positions.map((position) => [position, [position]]));
  };
  const args = new ChunkArgs({ budget, read, isStopping: () => stops });
  const jobs = await args.withRows(sizes.length, async (maxBytesEach) => rows(sizes, maxBytesEach, first));
  args.setOrder(jobs);
  return { args, budget, jobs, reads, stop: () => (stops = true) };
}

/** Starts and ends one job after the other. @returns what each one got */
async function runAll({ args, jobs }: Awaited<ReturnType<typeof setup>>): Promise<unknown[]> {
  const got: unknown[] = [];
  for (const [index, job] of jobs.entries()) {
    await new Promise<void>((loaded) => args.whenLoaded(index, loaded) && loaded());
    if (args.error !== undefined) throw args.error;
    got.push(args.take(job)?.[0]);
    args.release(job);
  }
  return got;
}

describe('the arguments of a chunk', () => {
  test('of small jobs come with their rows, and nothing else is read', async () => {
    const chunk = await setup(Array.from({ length: 2_000 }, () => 100));
    expect(chunk.budget.used).toBe(200_000);
    expect(await runAll(chunk)).toEqual(chunk.jobs.map(({ position }) => position));
    expect(chunk.reads).toEqual([]);
    expect(chunk.budget.used).toBe(0);
  });

  test('of large jobs are loaded a slice at a time, and are not kept by their rows', async () => {
    const chunk = await setup(Array.from({ length: 40 }, () => 48 * KIB));
    expect(chunk.jobs.filter(({ args }) => args !== null)).toEqual([]);
    expect(chunk.budget.used).toBe(0);
    let most = 0;
    const read = chunk.reads.push.bind(chunk.reads);
    chunk.reads.push = (...positions) => {
      most = Math.max(most, chunk.budget.used);
      return read(...positions);
    };
    expect(await runAll(chunk)).toEqual(chunk.jobs.map(({ position }) => position));
    expect(chunk.reads.flat()).toEqual(chunk.jobs.map(({ position }) => position));
    expect(Math.max(...chunk.reads.map((positions) => positions.length))).toBe(5);
    expect(most).toBeLessThanOrEqual(2 * 256 * KIB);
    expect(chunk.budget.used).toBe(0);
  });

  test('of small jobs behind a large one are not held while that one waits for memory', async () => {
    const chunk = await setup([10, 200 * KIB, 20, 30, 200 * KIB, 100 * KIB, 40]);
    expect(chunk.budget.used).toBe(10);
    expect(await runAll(chunk)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(chunk.reads).toEqual([[2, 3, 4], [5], [6, 7]]);
    expect(chunk.budget.used).toBe(0);
  });

  test('that do not fit wait until other chunks have given back as much', async () => {
    const budget = new ByteBudget(256 * KIB);
    expect(budget.take(256 * KIB, () => {})).toBe(true);
    const chunk = await setup([20 * KIB], budget);
    let isLoaded = chunk.args.whenLoaded(0, () => (isLoaded = true));
    await settle();
    expect({ isLoaded, reads: chunk.reads }).toEqual({ isLoaded: false, reads: [] });
    budget.release(100 * KIB);
    await settle();
    expect({ isLoaded, reads: chunk.reads }).toEqual({ isLoaded: true, reads: [[1]] });
    chunk.args.close();
    expect(budget.used).toBe(156 * KIB);
  });

  test('of one job that is larger than the bound are loaded alone', async () => {
    const chunk = await setup([10, 300 * KIB, 10], new ByteBudget(64 * KIB));
    expect(await runAll(chunk)).toEqual([1, 2, 3]);
    expect(chunk.reads).toEqual([[2], [3]]);
    expect(chunk.budget.used).toBe(0);
  });

  test('are not waited for once nothing starts any more', async () => {
    const budget = new ByteBudget(64 * KIB);
    budget.take(64 * KIB, () => {});
    const chunk = await setup([10, 20], budget);
    expect(chunk.args.withdraw()).toBe(false);
    expect(chunk.args.whenLoaded(0, () => expect.unreachable())).toBe(false);
    expect(chunk.args.withdraw()).toBe(true);
    budget.release(64 * KIB);
    await settle();
    expect({ reads: chunk.reads, used: budget.used }).toEqual({ reads: [], used: 0 });
  });

  test('are not read for a chunk that stops while it waits: it goes on, to give its jobs back', async () => {
    const budget = new ByteBudget(64 * KIB);
    budget.take(64 * KIB, () => {});
    const chunk = await setup([10, 20], budget);
    let goesOn = false;
    chunk.args.whenLoaded(0, () => (goesOn = true));
    chunk.stop();
    budget.release(64 * KIB);
    await settle();
    expect({ goesOn, reads: chunk.reads, used: budget.used }).toEqual({ goesOn: true, reads: [], used: 0 });
  });

  test('that arrive after the end are given back', async () => {
    const budget = new ByteBudget(1024 * KIB);
    let answer!: (args: Map<number, unknown[]>) => void;
    const args = new ChunkArgs({
      budget,
      read: () => new Promise((resolve) => (answer = resolve)),
      isStopping: () => false,
    });
    args.setOrder(await args.withRows(1, async () => rows([20], 0)));
    args.whenLoaded(0, () => {});
    await settle();
    args.close();
    expect(budget.used).toBe(20);
    answer(new Map([[1, [1]]]));
    await settle();
    expect(budget.used).toBe(0);
  });

  test('that cannot be read end the wait with why', async () => {
    const budget = new ByteBudget(1024 * KIB);
    const read = () => Promise.reject(new Error('away'));
    const args = new ChunkArgs({ budget, read, isStopping: () => false });
    const jobs = await args.withRows(1, async () => rows([20], 0));
    args.setOrder(jobs);
    await expect(runAll({ args, jobs } as never)).rejects.toThrow('away');
    expect(args.whenLoaded(0, () => expect.unreachable())).toBe(true);
    args.close();
    expect(budget.used).toBe(0);
  });

  test('of jobs that are not pending any more are not there', async () => {
    const args = new ChunkArgs({
      budget: new ByteBudget(1024 * KIB),
      read: async () => new Map(),
      isStopping: () => false,
    });
    const jobs = await args.withRows(1, async () => rows([20], 0));
    args.setOrder(jobs);
    expect(await runAll({ args, jobs } as never)).toEqual([undefined]);
  });

  test('of jobs that do not run here are given back', async () => {
    const budget = new ByteBudget(1024 * KIB);
    const args = new ChunkArgs({ budget, read: async () => new Map(), isStopping: () => false });
    const [first, , third] = await args.withRows(3, async (maxBytesEach) => rows([10, 20, 30], maxBytesEach));
    expect(budget.used).toBe(60);
    args.setOrder([first!, third!]);
    expect(budget.used).toBe(40);
    expect([args.take(first!), args.take(third!)]).toEqual([[1], [3]]);
  });

  test('of many chunks that share a small bound are all loaded', async () => {
    const budget = new ByteBudget(64 * KIB);
    const chunks = await Promise.all(
      Array.from({ length: 30 }, (_, i) => setup([9 * KIB, 60 * KIB, 1, 70 * KIB, 5], budget, i * 10)),
    );
    const got = await Promise.all(chunks.map(runAll));
    expect(got).toEqual(chunks.map(({ jobs }) => jobs.map(({ position }) => position)));
    expect(budget.used).toBe(0);
  });
});
