import { inspect } from 'node:util';

/** Parts of an error that its message repeats; of more it says how many. */
const MAX_PARTS = 5;
const MAX_DEPTH = 5;

/**
 * The message of an error. One without a message repeats those of its parts, of its cause, or its code: Node reports a
 * connection that was refused at two addresses as an `AggregateError` whose own message is empty. An `AggregateError`
 * that has a message, as that of `Promise.any`, is followed by its parts.
 */
export function messageOf(error: unknown): string {
  return messageAt(error, 0);
}

function messageAt(error: unknown, depth: number): string {
  if (typeof error === 'string') return error;
  if (typeof error !== 'object' || error === null || depth > MAX_DEPTH) return inspect(error, { depth: 0 });
  const { message, errors, cause, code } = error as {
    readonly [key in 'message' | 'errors' | 'cause' | 'code']?: unknown;
  };
  const own =
    typeof message === 'string' ? message : message === undefined ? '' : inspect(message, { depth: 3 });
  const parts = Array.isArray(errors) ? partsOf(errors, depth) : '';
  if (own.trim() !== '') return parts === '' || !(error instanceof AggregateError) ? own : `${own}: ${parts}`;
  if (parts !== '') return parts;
  if (cause !== undefined && cause !== null) return messageAt(cause, depth + 1);
  return typeof code === 'string' || typeof code === 'number' ? String(code) : own;
}

function partsOf(errors: readonly unknown[], depth: number): string {
  const messages = new Set(errors.map((part) => messageAt(part, depth + 1)).filter((text) => text !== ''));
  const shown = [...messages].slice(0, MAX_PARTS).join('; ');
  return messages.size > MAX_PARTS ? `${shown}; and ${messages.size - MAX_PARTS} more` : shown;
}
