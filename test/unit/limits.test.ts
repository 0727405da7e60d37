import { describe, expect, test } from 'vitest';
import {
  describeLimits,
  existingLimits,
  hasLimits,
  isLimit,
  isLimitedFor,
  mergeJobLimits,
  Shares,
  windowMs,
  type Asker,
  type Limits,
  type Share,
} from '../../workflows/limits.ts';
import { forSeeds } from '../support/random.ts';

const NOW = 1_000_000;
const limits = (given: Partial<Limits>): Limits => ({ jobLimits: {}, ...given });
const asker = (range: string, lane = '', name: string | null = null): Asker => ({ range, lane, name });
const ONE = asker('1');

/** Takes shares until there is none. */
function takeAll(shares: Shares, given: Limits, by: Asker = ONE): Share[] {
  const taken: Share[] = [];
  for (
    let share = shares.take(given, by, 1, NOW);
    share;
    share = shares.take(given, by, taken.length + 1, NOW)
  ) {
    taken.push(share);
  }
  return taken;
}

describe('a limit', () => {
  test.each([
    {},
    { maxConcurrentJobs: 1 },
    { maxConcurrentJobs: null, perSecond: null },
    { perSecond: 0.5 },
    { maxConcurrentJobs: 1_000_000, perSecond: 1 / 86_400 },
  ])('can be %j', (limit) => {
    expect(isLimit(limit)).toBe(true);
  });

  test.each([
    null,
    5,
    { maxConcurrentJobs: 0 },
    { maxConcurrentJobs: 1.5 },
    { maxConcurrentJobs: '5' },
    { perSecond: 0 },
    { perSecond: -1 },
    { perSecond: Infinity },
    { perSecond: NaN },
    { perSecond: 0.00001 },
    { other: 1 },
  ])('cannot be %j', (limit) => {
    expect(isLimit(limit)).toBe(false);
  });

  test('of null does not exist', () => {
    const lifted = limits({ maxConcurrentJobs: null, jobLimits: { A: { perSecond: null } } });
    expect(hasLimits(lifted)).toBe(false);
    expect(existingLimits(lifted)).toBeNull();
    expect(describeLimits(lifted)).toBe('');
  });

  test('of a name limits that name alone', () => {
    const named = limits({ jobLimits: { A: { maxConcurrentJobs: 2 } } });
    expect(hasLimits(named)).toBe(true);
    expect(['A', 'constructor', null].map((name) => isLimitedFor(named, name))).toEqual([true, false, false]);
    expect(existingLimits(named)).toEqual({ jobLimits: { A: { maxConcurrentJobs: 2 } } });
    expect(describeLimits({ ...named, perSecond: 3 })).toBe('3 a second; A: 2 at once');
  });

  test('of a name keeps what a change does not name', () => {
    const before = { A: { maxConcurrentJobs: 2, perSecond: 1 }, B: { perSecond: 4 } };
    expect(mergeJobLimits(before, { A: { perSecond: null } })).toEqual({
      A: { maxConcurrentJobs: 2, perSecond: null },
      B: { perSecond: 4 },
    });
  });
});

describe('shares', () => {
  test('are not limited where nothing is', () => {
    const shares = new Shares(-Infinity);
    expect(Array.from({ length: 20 }, (_, chunk) => shares.take(limits({}), ONE, chunk, NOW))).toEqual(
      Array.from({ length: 20 }, () => ({})),
    );
  });

  test.each([
    { maxConcurrentJobs: 50, expected: [6, 6, 6, 6, 6, 6, 7, 7] },
    { maxConcurrentJobs: 3, expected: [1, 1, 1] },
    { maxConcurrentJobs: 1, expected: [1] },
    { maxConcurrentJobs: 1_000, expected: Array.from({ length: 8 }, () => 125) },
  ])('of $maxConcurrentJobs at once are $expected', ({ maxConcurrentJobs, expected }) => {
    const taken = takeAll(new Shares(-Infinity), limits({ maxConcurrentJobs }));
    expect(taken.map((share) => share.maxConcurrentJobs)).toEqual(expected);
  });

  test.each([
    { perSecond: 20, expected: [2, 2, 2, 2, 3, 3, 3, 3] },
    { perSecond: 2.5, expected: [1, 1.5] },
    { perSecond: 0.5, expected: [0.5] },
    { perSecond: 1.1, expected: [1.1] },
  ])('of $perSecond a second are $expected', ({ perSecond, expected }) => {
    const taken = takeAll(new Shares(-Infinity), limits({ perSecond }));
    expect(taken.map((share) => share.perSecond)).toEqual(expected);
  });

  test('are free again when their chunk has ended, or as far as its jobs have', () => {
    const shares = new Shares(-Infinity);
    const given = limits({ maxConcurrentJobs: 1 });
    expect(takeAll(shares, given)).toHaveLength(1);
    shares.release(ONE, 1, true, NOW);
    expect(takeAll(shares, given)).toHaveLength(1);
    const more = limits({ maxConcurrentJobs: 9 });
    expect(shares.take(more, ONE, 2, NOW)).toEqual({ maxConcurrentJobs: 1 });
    expect(shares.take(more, ONE, 3, NOW)).toEqual({ maxConcurrentJobs: 1 });
    shares.reduce(ONE, 1, 0, NOW);
    shares.reduce(ONE, 2, 5, NOW);
    expect(shares.sums().maxConcurrentJobs).toBe(2);
  });

  test('are not given out while a chunk runs that was not limited, until it says how many of its jobs do', () => {
    const shares = new Shares(-Infinity);
    shares.take(limits({}), ONE, 1, NOW);
    const given = limits({ maxConcurrentJobs: 5, perSecond: 5 });
    expect(shares.isFree(given, ONE)).toBe(false);
    shares.reduce(ONE, 1, 4, NOW);
    expect(shares.take(given, ONE, 2, NOW)).toMatchObject({ maxConcurrentJobs: 1 });
  });

  test('are not given out until what is held fits into a lower limit', () => {
    const shares = new Shares(-Infinity);
    takeAll(shares, limits({ maxConcurrentJobs: 8 }));
    const lower = limits({ maxConcurrentJobs: 2 });
    for (let chunk = 1; chunk <= 6; chunk++) {
      shares.release(ONE, chunk, true, NOW);
      expect(shares.isFree(lower, ONE)).toBe(false);
    }
    shares.release(ONE, 7, true, NOW);
    expect(shares.isFree(lower, ONE)).toBe(true);
  });

  test.each([NaN, -1, 1.5, undefined as never])(
    'stay as they are when %s jobs are said to run',
    (running) => {
      const shares = new Shares(-Infinity);
      const given = limits({ maxConcurrentJobs: 1 });
      shares.take(given, ONE, 1, NOW);
      shares.reduce(ONE, 1, running, NOW);
      expect(shares.isFree(given, ONE)).toBe(false);
    },
  );

  test('of a rate wait for a window after the end of a chunk that started jobs, and of no other', () => {
    const shares = new Shares(-Infinity);
    const given = limits({ perSecond: 1 });
    expect(shares.take(given, ONE, 1, NOW)).toEqual({ perSecond: 1, waitMs: 0 });
    shares.release(ONE, 1, true, NOW + 100);
    expect(shares.take(given, ONE, 2, NOW + 200)).toEqual({ perSecond: 1, waitMs: 900 });
    shares.release(ONE, 2, false, NOW + 500);
    expect(shares.take(given, ONE, 3, NOW + 600)).toEqual({ perSecond: 1, waitMs: 500 });
    shares.reduce(ONE, 3, 1, NOW + 2_000);
    expect(shares.take(given, ONE, 4, NOW + 5_000)).toEqual({ perSecond: 1, waitMs: 0 });
    shares.release(ONE, 3, true, NOW + 6_000);
    shares.release(ONE, 4, false, NOW + 6_000);
    expect(shares.take(given, ONE, 5, NOW + 6_000)).toEqual({ perSecond: 1, waitMs: 0 });
  });

  test('go to the lane that holds less, and in turns', () => {
    const shares = new Shares(-Infinity);
    const given = limits({ maxConcurrentJobs: 8 });
    const [own, gpu] = [asker('1'), asker('2', 'gpu')];
    takeAll(shares, given, own);
    shares.rest(own);
    expect(shares.take(given, gpu, 1, NOW)).toBeUndefined();
    for (const chunk of [1, 2, 3, 4]) {
      shares.release(own, chunk, true, NOW);
      expect(shares.take(given, own, 10 + chunk, NOW)).toBeUndefined();
      expect(shares.take(given, gpu, chunk, NOW)).toBeDefined();
      expect(shares.take(given, gpu, 20 + chunk, NOW)).toBeUndefined();
    }
    shares.release(own, 5, true, NOW);
    expect(shares.take(given, gpu, 30, NOW)).toBeUndefined();
    expect(shares.take(given, own, 30, NOW)).toBeDefined();
    // One that does not ask any more holds up nobody.
    shares.rest(own);
    shares.release(own, 6, true, NOW);
    shares.release(own, 7, true, NOW);
    expect(shares.take(given, gpu, 31, NOW)).toBeDefined();
  });

  test('of a name that has none left hold up no other name', () => {
    const shares = new Shares(-Infinity);
    const given = limits({ maxConcurrentJobs: 8, jobLimits: { A: { maxConcurrentJobs: 1 } } });
    const [own, named] = [asker('1'), asker('2', '\0A', 'A')];
    expect(takeAll(shares, given, named)).toHaveLength(1);
    expect(takeAll(shares, given, own)).toHaveLength(7);
  });
});

test('never add up to more than the limits, whatever is taken, reduced, released and changed', async () => {
  const seen = new Set<string>();
  await forSeeds(500, (random) => {
    const shares = new Shares(-Infinity);
    const askers = [
      asker('1'),
      asker('2'),
      asker('3', 'gpu'),
      asker('4', '\0A', 'A'),
      asker('5', 'gpu\0A', 'A'),
      asker('6', '\0B', 'B'),
    ];
    const aLimit = () => ({
      maxConcurrentJobs: random.pick([null, 1, 3, 8, 50]),
      perSecond: random.pick([null, null, 0.3, 1, 2.5, 30]),
    });
    let given = limits({ ...aLimit(), jobLimits: { A: aLimit(), B: aLimit() } });
    const chunks: { by: Asker; chunk: number }[] = [];
    let now = NOW;
    for (let step = 0; step < 200; step++) {
      now += random.int(0, 500);
      const one = random.pick(askers);
      const kind = random.pick(['take', 'take', 'take', 'reduce', 'release', 'change', 'rest']);
      if (kind === 'take') {
        const before = scopesOf(given).map(({ isCounted }) => shares.sums(isCounted));
        const isFree = shares.isFree(given, one);
        const share = shares.take(given, one, step, now);
        expect(share !== undefined).toBe(isFree);
        if (!share) {
          seen.add('none');
          continue;
        }
        chunks.push({ by: one, chunk: step });
        for (const [index, { limit, isCounted }] of scopesOf(given).entries()) {
          const after = shares.sums(isCounted);
          if (JSON.stringify(after) === JSON.stringify(before[index])) continue;
          expect(after.maxConcurrentJobs).toBeLessThanOrEqual(limit.maxConcurrentJobs ?? Infinity);
          expect(after.perSecond).toBeLessThanOrEqual((limit.perSecond ?? Infinity) + 1e-9);
        }
        const { maxConcurrentJobs = 1, perSecond = 1, waitMs = 0 } = share;
        expect(maxConcurrentJobs).toBeGreaterThanOrEqual(1);
        expect(perSecond).toBeGreaterThan(0);
        expect(waitMs).toBeLessThan(windowMs(perSecond) + 1);
        if (share.perSecond !== undefined) seen.add('rate');
      } else if (kind === 'change' && random.chance(0.2)) {
        given = limits({ ...aLimit(), jobLimits: { A: aLimit(), B: aLimit() } });
      } else if (kind === 'rest') shares.rest(one);
      else if (chunks.length > 0) {
        const index = random.int(0, chunks.length - 1);
        const { by, chunk } = chunks[index]!;
        if (kind === 'reduce') shares.reduce(by, chunk, random.int(0, 20), now);
        else {
          shares.release(by, chunk, random.chance(0.8), now);
          chunks.splice(index, 1);
        }
      }
    }
    // Nothing is lost: when all have ended, everything is free again.
    for (const { by, chunk } of chunks) shares.release(by, chunk, true, now);
    for (const one of askers) shares.rest(one);
    expect(shares.sums()).toEqual({ maxConcurrentJobs: 0, perSecond: 0 });
    for (const one of askers) expect(shares.isFree(given, one)).toBe(true);
  });
  expect([...seen].sort()).toEqual(['none', 'rate']);
});

function scopesOf(given: Limits) {
  return [
    { limit: given, isCounted: () => true },
    ...['A', 'B'].map((name) => ({
      limit: given.jobLimits[name]!,
      isCounted: ({ name: other }: Asker) => other === name,
    })),
  ];
}
