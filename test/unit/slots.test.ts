import { expect, test } from 'vitest';
import { acquire, Slots } from '../../src/worker/slots.ts';
import { forSeeds } from '../support/random.ts';

/** Lets everything run that can run now. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

function setup(limit: number) {
  const slots = new Slots(limit);
  const started: string[] = [];
  const running = new Map<string, () => void>();
  /** Starts work that runs until `end` is called for it. */
  const start = (name: string, isExclusive = false) => {
    const work = () =>
      new Promise<void>((end) => {
        started.push(name);
        running.set(name, end);
      });
    const run = async () => {
      const free = acquire(slots);
      if (free) await free;
      try {
        await work();
      } finally {
        slots.release();
      }
    };
    return isExclusive ? slots.runExclusive(work) : run();
  };
  const end = async (name: string) => {
    running.get(name)!();
    running.delete(name);
    await settle();
  };
  return { slots, started, running, start, end };
}

test('gives a free slot at once, without a promise', () => {
  const { slots } = setup(2);
  expect(acquire(slots)).toBeUndefined();
  expect(acquire(slots)).toBeUndefined();
  expect(acquire(slots)).toBeInstanceOf(Promise);
});

test('gives a slot that was released to the one that waits longest', async () => {
  const { started, start, end } = setup(1);
  for (const name of ['a', 'b', 'c']) void start(name);
  await settle();
  expect(started).toEqual(['a']);
  await end('a');
  expect(started).toEqual(['a', 'b']);
  await end('b');
  expect(started).toEqual(['a', 'b', 'c']);
});

test('lets nobody overtake those that wait, also when a slot is free for a moment', async () => {
  const { slots } = setup(1);
  expect(acquire(slots)).toBeUndefined();
  const order: string[] = [];
  const waiting = acquire(slots)!.then(() => order.push('waited'));
  slots.release();
  const late = acquire(slots)!.then(() => order.push('late'));
  await waiting;
  expect(order).toEqual(['waited']);
  slots.release();
  await late;
  expect(order).toEqual(['waited', 'late']);
});

test('runs exclusive work once nothing else runs, and holds back what comes after it', async () => {
  const { started, start, end } = setup(3);
  void start('a');
  void start('b');
  void start('alone', true);
  void start('after');
  await settle();
  expect(started).toEqual(['a', 'b']);
  await end('a');
  expect(started).toEqual(['a', 'b']);
  await end('b');
  expect(started).toEqual(['a', 'b', 'alone']);
  await end('alone');
  expect(started).toEqual(['a', 'b', 'alone', 'after']);
});

test('runs exclusive work at once when nothing runs', async () => {
  const { started, start } = setup(3);
  void start('alone', true);
  await settle();
  expect(started).toEqual(['alone']);
});

test('runs exclusive works one after the other', async () => {
  const { started, start, end } = setup(3);
  void start('first', true);
  void start('second', true);
  await settle();
  expect(started).toEqual(['first']);
  await end('first');
  expect(started).toEqual(['first', 'second']);
});

test('fills all slots again after exclusive work', async () => {
  const { running, start, end } = setup(3);
  void start('alone', true);
  for (const name of ['a', 'b', 'c', 'd']) void start(name);
  await settle();
  await end('alone');
  expect([...running.keys()]).toEqual(['a', 'b', 'c']);
});

test('hands back what exclusive work returns', async () => {
  await expect(new Slots(1).runExclusive(async () => 'result')).resolves.toBe('result');
});

test('goes on after exclusive work that failed', async () => {
  const { slots, started, start } = setup(1);
  await expect(slots.runExclusive(() => Promise.reject(new Error('broke')))).rejects.toThrow('broke');
  void start('next');
  await settle();
  expect(started).toEqual(['next']);
});

test('starts all work in order, within the limit and exclusive work alone, whatever comes and ends when', async () => {
  await forSeeds(100, async (random) => {
    const limit = random.int(1, 4);
    const { started, running, start, end } = setup(limit);
    const asked: string[] = [];
    const all: Promise<unknown>[] = [];
    const holds = () => {
      const names = [...running.keys()];
      const isAlone = !names.some((name) => name.endsWith('!')) || names.length === 1;
      expect(isAlone, `exclusive work among ${names.join(', ')}`).toBe(true);
      expect(names.length, `running: ${names.join(', ')}`).toBeLessThanOrEqual(limit);
      expect(started).toEqual(asked.slice(0, started.length));
    };
    for (let step = 0; step < 60; step++) {
      if (random.chance(0.55)) {
        const name = `${asked.length}${random.chance(0.2) ? '!' : ''}`;
        asked.push(name);
        all.push(start(name, name.endsWith('!')));
        if (random.chance(0.5)) await settle();
      } else if (running.size > 0) {
        await end(random.pick([...running.keys()]));
      }
      holds();
    }
    await settle();
    while (running.size > 0) {
      await end(random.pick([...running.keys()]));
      holds();
    }
    expect(started).toEqual(asked);
    await Promise.all(all);
  });
});
