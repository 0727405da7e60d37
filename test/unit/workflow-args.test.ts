import { expect, test } from 'vitest';
import { argsJsonOf } from '../../src/plugin/workflow-args.ts';

test.each([
  [[], '[]'],
  [[1, 'a', null, { b: [true] }], '[1,"a",null,{"b":[true]}]'],
  [[undefined], '[null]'],
  [[new Date(0)], '["1970-01-01T00:00:00.000Z"]'],
  [[new Uint8Array(3)], '["(3 bytes)"]'],
  [['a\0b', { 'c\0': '\uD800' }], '["a\uFFFDb",{"c\uFFFD":"\uFFFD"}]'],
])('the arguments %j are shown as JSON', (args, expected) => {
  expect(argsJsonOf(args)).toBe(expected);
});

test('what JSON cannot carry is named', () => {
  const cyclic: unknown[] = [];
  cyclic.push(cyclic);
  expect(argsJsonOf([1n, cyclic])).toBe('["(bigint)","(object)"]');
});
