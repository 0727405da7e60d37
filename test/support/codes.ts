import { expect } from 'vitest';
import type { BatchErrorCode } from '../../src/index.ts';

/** Expects a rejection with one of our codes. */
export async function expectCode(promise: Promise<unknown>, code: BatchErrorCode): Promise<void> {
  await expect(promise).rejects.toMatchObject({ code });
}
