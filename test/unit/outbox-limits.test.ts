import { expect, test } from 'vitest';
import { countThatFits, FLUSH_LENGTH, FLUSH_SIZE, lengthOf } from '../../activities/outbox-limits.ts';
import type { Success } from '../../src/database/chunks.ts';
import { forSeeds } from '../support/random.ts';

const success = (length?: number): Success => ({
  position: 1,
  startedAt: 0,
  finishedAt: 0,
  result: length === undefined ? undefined : 'x'.repeat(length),
});

test.each([
  ['without results', [undefined, undefined, undefined], 3],
  ['whose results fit', [4, undefined, 6], 3],
  ['whose last result is one character too much', [4, 6, 1], 2],
  ['of which the first is too large by itself', [11, 1], 1],
  ['of which one is too large by itself', [1, 11, 1], 1],
  ['that are none', [], 0],
])('of successes %s as many go into one statement as fit', (_what, lengths, count) => {
  expect(countThatFits(lengths.map(success), 10)).toBe(count);
});

test('statement by statement, all are written, and each has one more than fits at no time', async () => {
  await forSeeds(200, (random) => {
    let left = Array.from({ length: random.int(0, 50) }, () =>
      success(random.chance(0.2) ? undefined : random.int(0, 30)),
    );
    const total = left.length;
    let written = 0;
    while (left.length > 0) {
      const taken = left.slice(0, countThatFits(left, 40));
      left = left.slice(taken.length);
      written += taken.length;
      const length = taken.reduce((sum, one) => sum + lengthOf(one), 0);
      expect(taken.length).toBeGreaterThan(0);
      expect(length).toBeLessThanOrEqual(40);
      // What comes next did not fit.
      if (left.length > 0) expect(length + lengthOf(left[0]!)).toBeGreaterThan(40);
    }
    expect(written).toBe(total);
  });
});

test('small results do not make statements smaller', () => {
  const small = Array.from({ length: FLUSH_SIZE }, () => success(FLUSH_LENGTH / FLUSH_SIZE - 1));
  expect(countThatFits(small, FLUSH_LENGTH)).toBe(FLUSH_SIZE);
});
