import { expect, test } from 'vitest';
import { ByteBudget } from '../../src/worker/byte-budget.ts';
import { forSeeds } from '../support/random.ts';

test('gives what is free at once, and the rest to those that wait, the longest first', () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  expect(budget.take(6, () => order.push('a'))).toBe(true);
  expect(budget.take(5, () => order.push('b'))).toBe(false);
  // It would fit, but another one waits for longer.
  expect(budget.take(1, () => order.push('c'))).toBe(false);
  expect(budget.takeUpTo(4)).toBe(0);
  expect(budget.used).toBe(6);
  budget.release(6);
  expect(order).toEqual(['b', 'c']);
  expect(budget.used).toBe(6);
});

test('lets more than the bound through alone', () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  expect(budget.take(1, () => {})).toBe(true);
  expect(budget.take(25, () => order.push('large'))).toBe(false);
  expect(budget.take(1, () => order.push('small'))).toBe(false);
  budget.release(1);
  expect(order).toEqual(['large']);
  expect(budget.isExceeded).toBe(true);
  budget.release(25);
  expect(order).toEqual(['large', 'small']);
  expect(budget.isExceeded).toBe(false);
});

test('takes a part where less is free than asked for', () => {
  const budget = new ByteBudget(10);
  expect(budget.takeUpTo(6)).toBe(6);
  expect(budget.takeUpTo(6)).toBe(4);
  expect(budget.takeUpTo(6)).toBe(0);
  budget.add(3);
  expect(budget.used).toBe(13);
  expect(budget.takeUpTo(1)).toBe(0);
  budget.release(4);
  expect(budget.takeUpTo(6)).toBe(1);
});

test('forgets one that waits no more, and goes on with the next', () => {
  const budget = new ByteBudget(10);
  const order: string[] = [];
  const large = () => order.push('large');
  budget.take(8, () => {});
  budget.take(9, large);
  budget.take(2, () => order.push('small'));
  expect(budget.withdraw(large)).toBe(true);
  expect(order).toEqual(['small']);
  expect(budget.withdraw(large)).toBe(false);
  expect(budget.used).toBe(10);
});

test('whatever takes and gives back, the bound holds, nobody waits for ever, and nothing is left', async () => {
  await forSeeds(50, (random) => {
    const max = random.int(1, 100);
    const budget = new ByteBudget(max);
    const held: number[] = [];
    let waiting = 0;
    for (let step = 0; step < 100; step++) {
      if (random.chance(0.5)) {
        const bytes = random.int(0, 60);
        const start = () => held.push(bytes);
        if (budget.take(bytes, () => (waiting--, start()))) start();
        else waiting++;
      } else if (held.length > 0) budget.release(held.splice(random.int(0, held.length - 1), 1)[0]!);
      if (budget.used > max) expect(held.filter((bytes) => bytes > 0)).toHaveLength(1);
      expect(budget.used).toBe(held.reduce((sum, bytes) => sum + bytes, 0));
    }
    while (held.length > 0) budget.release(held.pop()!);
    expect({ waiting, used: budget.used }).toEqual({ waiting: 0, used: 0 });
  });
});
