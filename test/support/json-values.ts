import type { Random } from './random.ts';

const NUMBERS = [
  0,
  1,
  -1,
  0.1 + 0.2,
  1e21,
  -1e-7,
  5e-324,
  Number.MAX_VALUE,
  Number.MAX_SAFE_INTEGER,
  2 ** 53,
];
const TEXTS = [
  '',
  ' ',
  'null',
  '漢字',
  '👩‍👩‍👧',
  '\u2028\u2029',
  '\u0001\u001f',
  '\\u0000',
  '"\\/\b\f\n\r\t',
  '\uFEFF',
  "'; drop table batches; --",
  '${}',
  ':schema: ? ??',
];
const KEYS = [
  '',
  'a',
  '__proto__',
  'constructor',
  'toString',
  'length',
  '0',
  '-1',
  'ключ',
  'a.b',
  'a"b',
  ' ',
];

/** Anything that JSON can carry exactly. */
export function randomValue(random: Random, depth: number): unknown {
  const kind = random.int(0, depth > 5 ? 3 : 6);
  if (kind === 0) return random.pick([null, true, false]);
  if (kind === 1) return random.chance(0.5) ? random.pick(NUMBERS) : (random.next() - 0.5) * 1e6;
  if (kind === 2) return random.pick(TEXTS);
  if (kind === 3) return random.pick(TEXTS).repeat(random.int(1, 50));
  const length = random.int(0, 5);
  if (kind === 4) return Array.from({ length }, () => randomValue(random, depth + 1));
  return randomObject(random, depth + 1, length);
}

/** By `fromEntries`: an assignment to the key `__proto__` would set the prototype. */
export function randomObject(random: Random, depth: number, length: number): Record<string, unknown> {
  return Object.fromEntries(
    Array.from({ length }, () => [random.pick(KEYS), randomValue(random, depth)] as const),
  );
}

export function nested(depth: number): unknown {
  return depth === 0 ? 'at the bottom' : depth % 2 ? [nested(depth - 1)] : { deeper: nested(depth - 1) };
}

/** Text that is so many bytes of JSON with its quotes, mostly of characters of three bytes. */
export function textOf(bytes: number): string {
  const wide = Math.floor((bytes - 2) / 3);
  return '語'.repeat(wide) + 'x'.repeat(bytes - 2 - wide * 3);
}
