import type { Failure, Success } from '../src/database/chunks.ts';

/** Outcomes of one statement. */
export const FLUSH_SIZE = 1_000;
/** Results of one statement, in characters of JSON; and as many characters of errors. */
export const FLUSH_LENGTH = 1024 * 1024;
/** While more than this waits to be written, jobs that end keep their slots: bounds the worker's memory. */
export const MAX_WAITING_LENGTH = 8 * FLUSH_LENGTH;

type Outcome = Pick<Success, 'result'> | Pick<Failure, 'errorMessage' | 'errorStack'>;

/** Characters that an outcome brings with it: of its result's JSON, or of its error. */
export function lengthOf(outcome: Outcome): number {
  if ('errorMessage' in outcome) return outcome.errorMessage.length + (outcome.errorStack?.length ?? 0);
  return outcome.result === undefined ? 0 : outcome.result.length;
}

/** How many of these, from the first on, one statement takes: one at least. */
export function countThatFits(outcomes: readonly Outcome[], maxLength: number): number {
  let length = 0;
  const end = outcomes.findIndex((outcome, index) => {
    length += lengthOf(outcome);
    return length > maxLength && index > 0;
  });
  return end === -1 ? outcomes.length : end;
}
