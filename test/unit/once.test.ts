import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { currentJob, defineJob, type Batch } from '../../src/index.ts';
import { createInlineBatches, enrolledJobs } from '../../src/testing/index.ts';
import { codeOf } from '../support/codes.ts';

const part = defineJob('Part', async (_value: number) => {});

function setup(options: Parameters<typeof createInlineBatches>[0] = {}) {
  const batches = createInlineBatches({ jobs: [part], ...options });
  return { batches, [Symbol.asyncDispose]: () => batches.close() };
}

const start = (i: number) => part.set({ key: `${i}` }).performAsync(i);
const valuesOf = async (batch: Batch) => (await enrolledJobs(batch)).map(({ args: [value] }) => value);

describe('jobs(block, { once: true })', () => {
  test('enrolls a batch once: later calls resolve to the same total, and their blocks do not run', async () => {
    await using world = setup();
    const batch = await world.batches.create({ description: 'A test' });
    expect(await batch.jobs(() => Promise.all([start(1), start(2)]), { once: true })).toEqual({ total: 2 });
    let runs = 0;
    expect(await batch.jobs(() => runs++, { once: true })).toEqual({ total: 2 });
    await world.batches.drain();
    expect(await batch.jobs(() => runs++, { once: true })).toEqual({ total: 2 });
    expect(runs).toBe(0);
  });

  test('lets a job that creates a batch by id and enrolls succeed on its second attempt', async () => {
    const totals: number[] = [];
    const nightly = defineJob('Nightly', async (night: string) => {
      const { attempt, batches } = currentJob();
      const mails = await batches.create({ id: `mails-${night}`, description: 'Mails' });
      totals.push((await mails.jobs(() => Promise.all([start(1), start(2)]), { once: true })).total);
      if (attempt === 1) throw new Error('The worker died');
    });
    await using world = setup({ jobs: [part, nightly] });
    const batch = await world.batches.create({ description: 'All nights' });
    await batch.jobs(() => nightly.performAsync('1'));
    await world.batches.drain();
    expect(await batch.progress()).toMatchObject({ status: 'complete' });
    expect(totals).toEqual([2, 2]);
    expect(await valuesOf(await world.batches.find('mails-1'))).toEqual([1, 2]);
  });

  test('of two at once: both resolve to the same total, and each key is one job', async () => {
    await using world = setup();
    const batch = await world.batches.create({ description: 'A test' });
    const block = async () => {
      for (let i = 1; i <= 3; i++) {
        await start(i);
        await delay(5);
      }
    };
    const first = batch.jobs(block, { once: true });
    await delay(3);
    const second = batch.jobs(block, { once: true });
    expect(await Promise.all([first, second])).toEqual([{ total: 3 }, { total: 3 }]);
    expect(await valuesOf(batch)).toEqual([1, 2, 3]);
  });

  test('rejects when an earlier block broke, and when the batch was stopped', async () => {
    await using world = setup();
    const broken = await world.batches.create({ description: 'A test' });
    const error = new RangeError('row 2 is broken');
    const block = async () => {
      await start(1);
      throw error;
    };
    await expect(broken.jobs(block, { once: true })).rejects.toBe(error);
    await expect(broken.jobs(block, { once: true })).rejects.toMatchObject({
      code: 'ENROLLMENT_BROKEN',
      message: expect.stringContaining('RangeError: row 2 is broken'),
    });
    const stopped = await world.batches.create({ description: 'A test' });
    await stopped.cancel();
    expect(await codeOf(stopped.jobs(() => start(1), { once: true }))).toBe('BATCH_CANCELLED');
    const later = await world.batches.create({ description: 'A test' });
    await later.jobs(() => start(1), { once: true });
    await delay(5);
    await later.cancel();
    expect(await later.jobs(() => start(1), { once: true })).toEqual({ total: 1 });
  });

  test('runs the block of an open-ended batch until it is sealed', async () => {
    await using world = setup();
    const batch = await world.batches.create({ description: 'A test', autoSeal: false });
    expect(await batch.jobs(() => start(1), { once: true })).toEqual({ total: 1 });
    expect(await batch.jobs(() => Promise.all([start(1), start(2)]), { once: true })).toEqual({ total: 2 });
    await batch.seal();
    expect(await batch.jobs(() => start(3), { once: true })).toEqual({ total: 2 });
    expect(await codeOf(batch.jobs(() => start(3)))).toBe('BATCH_SEALED');
  });

  test('is a boolean', async () => {
    await using world = setup();
    const batch = await world.batches.create({ description: 'A test' });
    expect(await codeOf(batch.jobs(() => start(1), { once: 1 } as never))).toBe('INVALID_OPTION');
  });
});
