import { toExactJson } from '../json-value.ts';
import { describeError } from './outcome.ts';

/** A handler returned what cannot be stored. Its work is done, and would be done again: no retry. Rows show the name. */
export class InvalidResultError extends Error {
  override readonly name = 'InvalidResultError';
}

/**
 * JSON text of what a handler returned; undefined for undefined, of which nothing is stored.
 *
 * @throws {@link InvalidResultError} for what JSON cannot carry exactly, and over 64 KiB of it
 */
export function resultJson(value: unknown): string | undefined {
  if (value === undefined) return undefined;
  try {
    return toExactJson('result', value);
  } catch (error) {
    // Whatever it is: reading the value may run code of the app, a getter for example.
    throw new InvalidResultError(`The handler has run, but ${describeError(error).errorMessage}`, {
      cause: error,
    });
  }
}
