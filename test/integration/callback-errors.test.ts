import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { defineCallback } from '../../src/index.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const retry = { initialInterval: '50ms', maximumAttempts: 2 } as const;
const longError = defineCallback(
  'LongError',
  () => {
    throw new RangeError('x'.repeat(6_000_000));
  },
  { retry },
);
const longFailure = defineCallback(
  'LongFailure',
  () => {
    throw ApplicationFailure.create({ type: 'HugeError', message: 'x'.repeat(6_000_000) });
  },
  { retry },
);

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ callbacks: [longError, longFailure] });
});
afterAll(() => world[Symbol.asyncDispose]());

test.each([
  [longError, 'RangeError'],
  [longFailure, 'HugeError'],
])(
  'a callback that fails with a message of millions of characters fails with that error: $name',
  async (callback, errorClass) => {
    const batch = await world.batches.create({ description: 'A long error' });
    await batch.on('complete', callback);
    await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
    await batch.wait({ timeout: PATIENCE });
    const [row] = await batch.callbacks();
    expect(row).toMatchObject({ status: 'failed', attempts: 2, errorClass });
    expect(row!.errorMessage).toMatch(/^x{9000,}\.\.\. \(6000000 characters\)$/);
  },
);
