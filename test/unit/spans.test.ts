import { expect, test } from 'vitest';
import {
  countOf,
  formatSpans,
  intersect,
  parseSpans,
  spansOf,
  subtract,
  take,
  union,
  type Span,
} from '../../workflows/spans.ts';
import { forSeeds, type Random } from '../support/random.ts';

const SEEDS = 500;

function randomPositions(random: Random): number[] {
  return Array.from({ length: random.int(0, 30) }, () => random.int(1, 60));
}

function positionsOf(spans: readonly Span[]): number[] {
  return spans.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, index) => from + index));
}

function sortedSet(positions: readonly number[]): number[] {
  return [...new Set(positions)].sort((a, b) => a - b);
}

function expectCanonical(spans: readonly Span[]): void {
  for (const [index, [from, to]] of spans.entries()) {
    expect(from, `start of span ${index} of ${formatSpans(spans)}`).toBeLessThanOrEqual(to);
    const before = spans[index - 1];
    if (before)
      expect(from, `gap before span ${index} of ${formatSpans(spans)}`).toBeGreaterThan(before[1] + 1);
  }
}

test('joins positions that overlap or touch, in any order', () => {
  expect(spansOf([5, 1, 3, 2, 9, 3])).toEqual([
    [1, 3],
    [5, 5],
    [9, 9],
  ]);
});

test('keeps a span that lies within another one as part of it', () => {
  expect(union([[[1, 10]], [[2, 3]], [[10, 12]]])).toEqual([[1, 12]]);
});

test('has no spans for no positions', () => {
  expect({ of: spansOf([]), union: union([]), parsed: parseSpans(''), text: formatSpans([]) }).toEqual({
    of: [],
    union: [],
    parsed: [],
    text: '',
  });
});

test('makes sorted spans with gaps between them that hold exactly the given positions', async () => {
  await forSeeds(SEEDS, (random) => {
    const positions = randomPositions(random);
    const spans = spansOf(positions);
    expectCanonical(spans);
    expect(positionsOf(spans)).toEqual(sortedSet(positions));
    expect(countOf(spans)).toBe(new Set(positions).size);
  });
});

test('unites lists to the positions that are in any of them, and leaves the lists as they were', async () => {
  await forSeeds(SEEDS, (random) => {
    const sets = Array.from({ length: random.int(0, 4) }, () => randomPositions(random));
    const lists = sets.map((positions) => spansOf(positions));
    const before = structuredClone(lists);
    const united = union(lists);
    expectCanonical(united);
    expect(positionsOf(united)).toEqual(sortedSet(sets.flat()));
    expect(lists).toEqual(before);
  });
});

test('takes the first positions and leaves exactly the others', async () => {
  await forSeeds(SEEDS, (random) => {
    const spans = spansOf(randomPositions(random));
    const before = structuredClone(spans);
    const all = positionsOf(spans);
    const count = random.int(0, all.length + 3);
    const [taken, rest] = take(spans, count);
    expectCanonical(taken);
    expectCanonical(rest);
    expect(positionsOf(taken), `${count} of ${formatSpans(spans)}`).toEqual(all.slice(0, count));
    expect(positionsOf(rest), `rest after ${count} of ${formatSpans(spans)}`).toEqual(all.slice(count));
    expect(spans).toEqual(before);
  });
});

test('takes whole spans without leaving an empty one behind', () => {
  const spans: Span[] = [
    [1, 3],
    [7, 9],
  ];
  expect(take(spans, 3)).toEqual([[[1, 3]], [[7, 9]]]);
  expect(take(spans, 6)).toEqual([spans, []]);
  expect(take(spans, 0)).toEqual([[], spans]);
});

test('intersects and subtracts as sets of positions do', async () => {
  await forSeeds(SEEDS, (random) => {
    const [one, other] = [new Set(randomPositions(random)), new Set(randomPositions(random))];
    const both = [...one].filter((position) => other.has(position));
    const rest = [...one].filter((position) => !other.has(position));
    expect(intersect(spansOf([...one]), spansOf([...other]))).toEqual(spansOf(both));
    expect(subtract(spansOf([...one]), spansOf([...other]))).toEqual(spansOf(rest));
  });
});

test('writes spans as short text', () => {
  expect(
    formatSpans([
      [1, 1000],
      [1005, 1005],
    ]),
  ).toBe('1-1000,1005');
});

test('reads back what it wrote', async () => {
  await forSeeds(SEEDS, (random) => {
    const spans = spansOf(randomPositions(random));
    expect(parseSpans(formatSpans(spans))).toEqual(spans);
  });
});
