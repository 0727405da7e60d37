import { expect, test } from 'vitest';
import { byName } from '../../src/worker/registry.ts';
import { defineCallback } from '../../src/index.ts';
import { isCallback, type Callback } from '../../src/jobs/define-callback.ts';

const named = (name: string) => defineCallback(name, async () => {});
const register = (definitions: unknown) =>
  byName('callbacks', definitions as readonly Callback[], isCallback, 'defineCallback');

test('finds definitions by name', () => {
  const [first, second] = [named('First'), named('Second')];
  expect([...register([first, second])]).toEqual([
    ['First', first],
    ['Second', second],
  ]);
  expect(register([]).size).toBe(0);
});

test('finds nothing under names that every object has', () => {
  expect(register([named('First')]).get('constructor')).toBeUndefined();
});

test('refuses two definitions of one name and says which', () => {
  expect(() => register([named('First'), named('Second'), named('First')])).toThrow(
    expect.objectContaining({
      option: 'callbacks',
      message: expect.stringMatching(/different names.*First/),
    }),
  );
});

test('refuses what is no definition, says where it stands and how to make one', () => {
  expect(() => register([named('First'), () => {}])).toThrow(
    expect.objectContaining({
      option: 'callbacks[1]',
      message: expect.stringContaining('made by defineCallback'),
    }),
  );
});

test.each([undefined, null, {}, 'callbacks', new Map()])('refuses %o in place of an array', (definitions) => {
  expect(() => register(definitions)).toThrow(
    expect.objectContaining({ option: 'callbacks', message: expect.stringContaining('an array') }),
  );
});
