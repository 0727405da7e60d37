import type { Success } from '../src/database/chunks.ts';

/** Outcomes of one statement. */
export const FLUSH_SIZE = 1_000;
/** Results of one statement, in characters of JSON. */
export const FLUSH_LENGTH = 1024 * 1024;
/** While more than this waits to be written, jobs that end keep their slots: bounds the worker's memory. */
export const MAX_WAITING_LENGTH = 8 * FLUSH_LENGTH;

/** Characters of JSON that a success brings with it. */
export function lengthOf({ result }: Success): number {
  return result === undefined ? 0 : result.length;
}

/** How many of these, from the first on, one statement takes: one at least. */
export function countThatFits(successes: readonly Success[], maxLength: number): number {
  let length = 0;
  const end = successes.findIndex((success, index) => {
    length += lengthOf(success);
    return length > maxLength && index > 0;
  });
  return end === -1 ? successes.length : end;
}
