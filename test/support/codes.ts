import { expect } from 'vitest';
import { BatchError, type BatchErrorCode } from '../../src/index.ts';

/** Expects a rejection with one of our codes. */
export async function expectCode(promise: Promise<unknown>, code: BatchErrorCode): Promise<void> {
  await expect(promise).rejects.toMatchObject({ code });
}

/** The code that a promise rejects with; undefined if it resolves. Other errors are thrown. */
export async function codeOf(promise: Promise<unknown>): Promise<BatchErrorCode | undefined> {
  try {
    await promise;
    return undefined;
  } catch (error) {
    if (error instanceof BatchError) return error.code;
    throw error;
  }
}
