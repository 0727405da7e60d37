import { expect, test } from 'vitest';
import { Pacer } from '../../activities/pacer.ts';
import { mostIn } from '../support/concurrency.ts';
import { forSeeds } from '../support/random.ts';

/** Starts jobs as soon as they may, each late by what `late` says. */
function startsOf(pacer: Pacer, count: number, late: () => number = () => 0): number[] {
  const starts: number[] = [];
  for (let now = 0; starts.length < count;) {
    now = Math.max(now, pacer.dueAt) + late();
    pacer.started(now);
    starts.push(now);
  }
  return starts;
}

test('starts jobs evenly, from when the first one may', () => {
  expect(startsOf(new Pacer(4, 500), 5)).toEqual([500, 750, 1_000, 1_250, 1_500]);
});

test('starts less than one a second, too', () => {
  expect(startsOf(new Pacer(0.5, 0), 3)).toEqual([0, 2_000, 4_000]);
});

test('makes up for what was a little late, and not for what was very late', () => {
  const pacer = new Pacer(10, 0);
  pacer.started(60);
  expect(pacer.dueAt).toBe(100);
  pacer.started(5_000);
  expect(pacer.dueAt).toBe(5_000);
  pacer.started(5_000);
  expect(pacer.dueAt).toBe(5_100);
});

test('has no more than the rate in any second, however late jobs start, and uses it up', async () => {
  await forSeeds(200, (random) => {
    const perSecond = random.pick([1, 3, 10, 80]);
    const lateness = random.pick([0, 3, 40, 3_000]);
    const starts = startsOf(new Pacer(perSecond, 0), 300, () => random.next() * random.int(0, lateness));
    expect(mostIn(starts, 1_000 - 1e-6)).toBeLessThanOrEqual(perSecond);
    if (lateness <= 3) expect(300 / (starts.at(-1)! / 1_000)).toBeGreaterThan(0.9 * perSecond);
  });
});
