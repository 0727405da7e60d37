import { InvalidArgumentsError, show } from './errors.ts';

/** Arguments of one job, and a batch's context, hold at most so many bytes of JSON. */
export const MAX_JSON_BYTES = 64 * 1024;

const MAX_DEPTH = 100;
// A NUL character, or half of a surrogate pair: Postgres cannot store either in jsonb.
// oxlint-disable-next-line no-control-regex
const UNSTORABLE = /\0|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;
// oxlint-disable-next-line no-control-regex
const ALL_UNSTORABLE = new RegExp(UNSTORABLE, 'g');

/**
 * JSON text of a value that comes back exactly as it was given.
 *
 * @throws {@link InvalidArgumentsError} for what JSON would drop or change (undefined, NaN, -0, Date, Map, class
 * instances, functions, bigint, cycles), what Postgres cannot store, and for more than 64 KiB
 */
export function toExactJson(path: string, value: unknown): string {
  assertExact(path, value, 0, { left: MAX_JSON_BYTES });
  const json = JSON.stringify(value);
  // A UTF-16 unit is at most three bytes of UTF-8: most texts need no exact count.
  const bytes = json.length * 3 <= MAX_JSON_BYTES ? json.length : Buffer.byteLength(json);
  if (bytes > MAX_JSON_BYTES) {
    throw new InvalidArgumentsError(
      path,
      `holds ${bytes} bytes of JSON; at most ${MAX_JSON_BYTES} are allowed. Store the data elsewhere and pass its id.`,
    );
  }
  return json;
}

/** Whether Postgres can store the text. */
export function isStorable(text: string): boolean {
  return !UNSTORABLE.test(text);
}

/** The text with what Postgres cannot store replaced by U+FFFD: for messages, where the rest is what matters. */
export function toStorable(text: string): string {
  return text.replace(ALL_UNSTORABLE, '\uFFFD');
}

/**
 * How many more values fit: each takes a byte of JSON at least. Without it, values that share others on many levels
 * would be walked on more paths than ever end.
 */
interface Budget {
  left: number;
}

function assertExact(path: string, value: unknown, depth: number, budget: Budget): void {
  if (budget.left-- <= 0) {
    throw new InvalidArgumentsError(
      path,
      `is one value too many: at most ${MAX_JSON_BYTES} bytes of JSON are allowed. Store the data elsewhere and pass its id.`,
    );
  }
  switch (typeof value) {
    case 'boolean':
      return;
    case 'string':
      if (UNSTORABLE.test(value)) {
        throw new InvalidArgumentsError(
          path,
          'has a NUL character or half of a surrogate pair; Postgres refuses both.',
        );
      }
      return;
    case 'number':
      if (!Number.isFinite(value) || Object.is(value, -0)) {
        throw new InvalidArgumentsError(
          path,
          `is ${Object.is(value, -0) ? '-0' : value}; JSON cannot carry it.`,
        );
      }
      return;
    case 'object':
      if (value === null) return;
      if (depth >= MAX_DEPTH) {
        throw new InvalidArgumentsError(
          path,
          `is nested deeper than ${MAX_DEPTH} levels, or contains itself.`,
        );
      }
      if (Array.isArray(value)) return assertExactArray(path, value, depth, budget);
      return assertExactObject(path, value, depth, budget);
    default:
      throw new InvalidArgumentsError(
        path,
        `is ${show(value)}; JSON cannot carry it. Use null, or leave it out.`,
      );
  }
}

function assertExactArray(path: string, value: readonly unknown[], depth: number, budget: Budget): void {
  if (Object.getPrototypeOf(value) !== Array.prototype) throw notPlain(path, value);
  if (Object.keys(value).length > value.length) {
    throw new InvalidArgumentsError(
      path,
      'is an array with properties beside its elements; JSON would drop them.',
    );
  }
  // By index: forEach would skip the holes of a sparse array, which JSON turns into nulls.
  for (let index = 0; index < value.length; index++)
    assertExact(`${path}[${index}]`, value[index], depth + 1, budget);
}

function assertExactObject(path: string, value: object, depth: number, budget: Budget): void {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    throw notPlain(path, value);
  }
  if (
    typeof (value as { toJSON?: unknown }).toJSON === 'function' ||
    Object.getOwnPropertySymbols(value).length > 0
  ) {
    throw new InvalidArgumentsError(path, 'has symbol keys or a toJSON method; JSON would change it.');
  }
  for (const key of Object.keys(value)) {
    if (UNSTORABLE.test(key)) throw new InvalidArgumentsError(path, 'has a key that Postgres cannot store.');
    assertExact(`${path}.${key}`, (value as Record<string, unknown>)[key], depth + 1, budget);
  }
}

function notPlain(path: string, value: object): InvalidArgumentsError {
  const name = (value.constructor as { name?: string } | undefined)?.name ?? 'unknown class';
  return new InvalidArgumentsError(
    path,
    `is an instance of ${name}; pass plain objects and arrays, for a Date its ISO text.`,
  );
}
