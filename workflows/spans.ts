/** An inclusive range of job positions. Lists of spans are sorted, and neither overlap nor touch. */
export type Span = readonly [from: number, to: number];

/** How many positions the spans hold. */
export function countOf(spans: readonly Span[]): number {
  return spans.reduce((sum, [from, to]) => sum + to - from + 1, 0);
}

/** The spans of a set of positions, in any order. */
export function spansOf(positions: readonly number[]): Span[] {
  return union([positions.map((position) => [position, position] as const)]);
}

/** All positions that are in any of the lists. */
export function union(lists: readonly (readonly Span[])[]): Span[] {
  const sorted = lists.flat().sort((a, b) => a[0] - b[0]);
  const result: [number, number][] = [];
  for (const [from, to] of sorted) {
    const last = result.at(-1);
    if (last && from <= last[1] + 1) last[1] = Math.max(last[1], to);
    else result.push([from, to]);
  }
  return result;
}

/** The positions that lie in a range. */
export function clip(spans: readonly Span[], from: number, to: number): Span[] {
  return spans.map(([a, b]) => [Math.max(a, from), Math.min(b, to)] as const).filter(([a, b]) => a <= b);
}

/** The positions that are in both lists. */
export function intersect(one: readonly Span[], other: readonly Span[]): Span[] {
  return union(one.map(([from, to]) => clip(other, from, to)));
}

/** The positions of the first list that are not in the other one. */
export function subtract(spans: readonly Span[], others: readonly Span[]): Span[] {
  const sorted = union([others]);
  return spans.flatMap(([from, to]) => {
    const left: Span[] = [];
    let next = from;
    for (const [a, b] of clip(sorted, from, to)) {
      if (next < a) left.push([next, a - 1]);
      next = b + 1;
    }
    if (next <= to) left.push([next, to]);
    return left;
  });
}

/** Splits off the first `count` positions. */
export function take(spans: readonly Span[], count: number): [taken: Span[], rest: Span[]] {
  const taken: Span[] = [];
  let left = count;
  for (const [index, [from, to]] of spans.entries()) {
    const size = to - from + 1;
    if (size <= left) {
      taken.push([from, to]);
      left -= size;
      continue;
    }
    if (left === 0) return [taken, spans.slice(index)];
    taken.push([from, from + left - 1]);
    return [taken, [[from + left, to], ...spans.slice(index + 1)]];
  }
  return [taken, []];
}

/** Short text for people and payloads: `1-1000,1005`. */
export function formatSpans(spans: readonly Span[]): string {
  return spans.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}

/** Whether a text from outside is one of {@link formatSpans}. */
export function isSpans(text: unknown): text is string {
  return typeof text === 'string' && /^\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*$/.test(text);
}

/** Reads what {@link formatSpans} wrote. */
export function parseSpans(text: string): Span[] {
  if (text === '') return [];
  return text.split(',').map((part) => {
    const [from, to = from] = part.split('-').map(Number);
    return [from!, to!] as const;
  });
}
