import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ShareSlots } from '../../activities/share.ts';
import { acquire, Slots } from '../../src/worker/slots.ts';

function setup(
  share: { maxConcurrentJobs?: number; perSecond?: number; waitMs?: number },
  slots = new Slots(10),
) {
  const stopping = { value: false };
  return { slots, stopping, part: new ShareSlots(slots, { ...share, maxJobs: 100 }, () => stopping.value) };
}

/** Takes one slot after the other. @returns when each was taken */
async function takeMany(part: ShareSlots, count: number): Promise<number[]> {
  const times: number[] = [];
  while (times.length < count) {
    const free = acquire(part);
    if (free) await free;
    times.push(performance.now());
  }
  return times;
}

test('lets no more of its jobs run than its share, though the worker has room', async () => {
  const { part } = setup({ maxConcurrentJobs: 2 });
  expect([part.take(() => {}), part.take(() => {})]).toEqual([true, true]);
  let isStarted = false;
  expect(part.take(() => (isStarted = true))).toBe(false);
  expect(isStarted).toBe(false);
  part.release();
  expect(isStarted).toBe(true);
});

test('waits for a slot of the worker where its share has room', () => {
  const { slots, part } = setup({ maxConcurrentJobs: 2 }, new Slots(1));
  expect(slots.take(() => {})).toBe(true);
  let isStarted = false;
  expect(part.take(() => (isStarted = true))).toBe(false);
  slots.release();
  expect(isStarted).toBe(true);
});

test('gives up a wait, for its turn and for a slot of the worker, and keeps nothing', () => {
  const { slots, part } = setup({ maxConcurrentJobs: 1 }, new Slots(2));
  const start = () => {
    throw new Error('must not start');
  };
  expect(part.take(() => {})).toBe(true);
  expect(part.take(start)).toBe(false);
  expect(part.withdraw(start)).toBe(true);
  expect(part.withdraw(start)).toBe(false);
  part.release();
  for (let taken = 0; taken < 2; taken++) slots.take(() => {});
  expect(part.take(start)).toBe(false);
  expect(part.withdraw(start)).toBe(true);
  slots.release();
  expect(part.take(() => {})).toBe(true);
});

test('starts its jobs evenly, the first one not before its time', async () => {
  const { part } = setup({ perSecond: 20, waitMs: 200 });
  const began = performance.now();
  const times = await takeMany(part, 6);
  expect(times[0]! - began).toBeGreaterThanOrEqual(199);
  expect(times.at(-1)! - times[0]!).toBeGreaterThanOrEqual(249 - 100);
});

test('lets what waits for its turn learn soon that nothing starts any more', async () => {
  const { part, stopping } = setup({ perSecond: 0.001, waitMs: 100_000 });
  const wait = acquire(part);
  stopping.value = true;
  expect(await Promise.race([wait, delay(2_000, 'late')])).toBeUndefined();
});

test('counts a job that runs alone in its worker like any other', async () => {
  const { slots, part } = setup({ maxConcurrentJobs: 1 });
  let end!: () => void;
  const alone = part.runExclusive(() => new Promise<void>((resolve) => (end = resolve)));
  await new Promise(setImmediate);
  let isStarted = false;
  expect(part.take(() => (isStarted = true))).toBe(false);
  end();
  await alone;
  expect(isStarted).toBe(true);
  part.release();
  expect(slots.take(() => {})).toBe(true);
});
