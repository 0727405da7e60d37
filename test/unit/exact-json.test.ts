import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { findInexact } from '../../workflows/exact-json.ts';

class Point {
  x = 1;
}
const cyclic: unknown[] = [];
cyclic.push(cyclic);
/** Values that share others on 60 levels: no walk over all paths would end. */
let shared: unknown = 1;
for (let level = 0; level < 60; level++) shared = [shared, shared];

test.each([
  null,
  true,
  0,
  1.5,
  'text\0',
  [],
  [1, ['a', null]],
  { a: { b: [] } },
  Object.assign(Object.create(null) as object, { a: 1 }),
  runInNewContext('({ ofAnotherRealm: [1, { a: 1 }] })'),
])('finds nothing in %j', (value) => {
  expect(findInexact('v', value, 100)).toBeUndefined();
});

test.each([
  { title: 'undefined', value: { a: undefined }, path: 'v.a' },
  { title: 'a bigint', value: [1n], path: 'v[0]' },
  { title: 'a function', value: { toJSON: () => 1 }, path: 'v.toJSON' },
  { title: 'NaN', value: [1, Number.NaN], path: 'v[1]' },
  { title: '-0', value: -0, path: 'v' },
  { title: 'a Date', value: { at: [new Date()] }, path: 'v.at[0]' },
  { title: 'a Date of another realm', value: runInNewContext('[new Date()]'), path: 'v[0]' },
  { title: 'a Map', value: new Map(), path: 'v' },
  { title: 'a class instance', value: [new Point()], path: 'v[0]' },
  { title: 'a hole', value: [1, , 3], path: 'v[1]' }, // oxlint-disable-line no-sparse-arrays
  { title: 'an array with properties', value: Object.assign([1], { a: 1 }), path: 'v' },
  { title: 'a symbol key', value: { [Symbol('s')]: 1 }, path: 'v' },
])('finds $title', ({ value, path }) => {
  expect(findInexact('v', value, 100)?.path).toBe(path);
});

test('ends with values that contain themselves, or share others on many levels', () => {
  expect(findInexact('v', cyclic, 1_000)?.problem).toMatch(/nested deeper/);
  expect(findInexact('v', shared, 1_000)?.problem).toMatch(/too many/);
});
