import { toStorable } from '../json-value.ts';

/**
 * The arguments of a workflow for its row, as JSON text: what the default converter makes of them, so that a Date is its
 * ISO text. The workflow gets them from Temporal, not from here: what JSON cannot carry is shown as well as it can be.
 */
export function argsJsonOf(args: readonly unknown[]): string {
  return `[${args.map(argJson).join(',')}]`;
}

function argJson(arg: unknown): string {
  if (arg instanceof Uint8Array) return JSON.stringify(`(${arg.byteLength} bytes)`);
  try {
    return JSON.stringify(storable(JSON.parse(JSON.stringify(arg) ?? 'null')));
  } catch {
    // A bigint, or a value that contains itself: unless the client's own converter takes it, the start is refused.
    return JSON.stringify(`(${typeof arg})`);
  }
}

/** Without what Postgres cannot store. */
function storable(value: unknown): unknown {
  if (typeof value === 'string') return toStorable(value);
  if (Array.isArray(value)) return value.map(storable);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [toStorable(key), storable(part)]));
}
