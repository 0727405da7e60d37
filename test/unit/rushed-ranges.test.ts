import { expect, test } from 'vitest';
import {
  chunkPostponed,
  initialRange,
  isDue,
  nextChunk,
  nextDueAt,
  rushed,
} from '../../workflows/range-state.ts';

const NOW = 1_000_000;
const LATER = NOW + 30_000;

/** A range of which these positions wait until `LATER`. */
function waiting(from: number, to: number) {
  return chunkPostponed(initialRange([]), { spans: [[from, to]], losses: 0 }, NOW, LATER - NOW);
}

test('what is rushed is due at once, and the rest when it was', () => {
  const state = rushed(waiting(1, 10), [[4, 5]], NOW);
  const { chunk, state: rest } = nextChunk(state, NOW)!;
  expect(chunk.spans).toEqual([[4, 5]]);
  expect(isDue(rest, NOW)).toBe(false);
  expect(nextDueAt(rest)).toBe(LATER);
  expect(nextChunk(rest, LATER)!.chunk.spans).toEqual([
    [1, 3],
    [6, 10],
  ]);
});

test('what is rushed twice runs once', () => {
  const state = rushed(rushed(waiting(1, 3), [[2, 2]], NOW), [[2, 2]], NOW + 1);
  const { state: rest } = nextChunk(state, NOW + 1)!;
  expect(isDue(rest, NOW + 1)).toBe(false);
});

test('what does not wait is left alone', () => {
  const state = waiting(1, 3);
  expect(rushed(state, [[7, 9]], NOW)).toEqual(state);
  const ready = initialRange([[1, 3]]);
  expect(rushed(ready, [[1, 3]], NOW)).toEqual(ready);
});

test('what was lost with its worker stays under suspicion', () => {
  const suspect = chunkPostponed(initialRange([]), { spans: [[1, 2]], losses: 2 }, NOW, 30_000);
  expect(nextChunk(rushed(suspect, [[1, 1]], NOW), NOW)!.chunk).toMatchObject({ spans: [[1, 1]], losses: 2 });
});
