import { expect, test } from 'vitest';
import { resolveBatchOptions } from '../../src/client/batch-options.ts';
import { defineCallback } from '../../src/index.ts';

const note = defineCallback('Note', () => {}, { startToCloseTimeout: '5s', taskQueue: 'mail' });
const resolve = (callbacks: unknown) =>
  resolveBatchOptions({ description: 'd', callbacks: callbacks as never }, () => 'b-1');

test('callbacks of create are registered with the options of their definition', () => {
  expect(resolve({ settled: note, complete: note, failure: undefined }).callbacks).toEqual(
    ['complete', 'settled'].map((event) => ({
      event,
      callback: 'Note',
      taskQueue: 'mail',
      startToCloseTimeoutMs: 5_000,
      retry: note.options.retry,
    })),
  );
});

test('they are part of what the batch is, by their names', () => {
  expect(resolve({ complete: note }).definition['callbacks']).toEqual({ complete: 'Note' });
  for (const none of [{}, undefined]) expect(resolve(none).definition).not.toHaveProperty('callbacks');
});

test.each([
  ['callbacks', 'Note'],
  ['callbacks', null],
  ['callbacks.completed', { completed: note }],
  ['callbacks.complete', { complete: 'Note' }],
  ['callbacks.idle', { idle: () => {} }],
])('%s of %j is refused', (option, callbacks) => {
  expect(() => resolve(callbacks)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', option }));
});
