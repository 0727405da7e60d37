/** A value in a payload that it would not come back from as it was given. */
export interface Inexact {
  readonly path: string;
  readonly problem: string;
}

const MAX_DEPTH = 100;

/**
 * What JSON would drop or change in a value, or cannot carry: what nobody could see any more behind a payload. It is
 * found here because it would stay hidden there, or fail the workflow's task again and again.
 *
 * @param maxValues in case that values share others on so many levels that a walk would not end
 */
export function findInexact(path: string, value: unknown, maxValues: number): Inexact | undefined {
  const left = { values: maxValues };
  return find(path, value, 0, left);
}

function find(path: string, value: unknown, depth: number, left: { values: number }): Inexact | undefined {
  if (left.values-- <= 0) return { path, problem: 'is one value too many for a payload' };
  switch (typeof value) {
    case 'boolean':
    case 'string':
      return undefined;
    case 'number':
      if (Number.isFinite(value) && !Object.is(value, -0)) return undefined;
      return { path, problem: `is ${Object.is(value, -0) ? '-0' : value}; JSON cannot carry it` };
    case 'object':
      if (value === null) return undefined;
      if (depth >= MAX_DEPTH) return { path, problem: `is nested deeper than ${MAX_DEPTH} levels` };
      return findIn(path, value, depth, left);
    default:
      return { path, problem: `is of the type ${typeof value}; JSON cannot carry it` };
  }
}

function findIn(path: string, value: object, depth: number, left: { values: number }): Inexact | undefined {
  if (Array.isArray(value)) {
    if (Object.keys(value).length > value.length) return { path, problem: 'is an array with properties' };
    // By index: the holes of a sparse array become nulls.
    for (let index = 0; index < value.length; index++) {
      const found = find(`${path}[${index}]`, value[index], depth + 1, left);
      if (found) return found;
    }
    return undefined;
  }
  if (!isPlain(value))
    return { path, problem: 'is no plain object; pass plain ones, for a Date its ISO text' };
  if (Object.getOwnPropertySymbols(value).length > 0) return { path, problem: 'has symbol keys' };
  for (const [key, member] of Object.entries(value)) {
    const found = find(`${path}.${key}`, member, depth + 1, left);
    if (found) return found;
  }
  return undefined;
}

/** Also of another realm: the objects of a workflow need not be of the same one as this code. */
export function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as object | null;
  return prototype === null || (Object.getPrototypeOf(prototype) === null && !Array.isArray(value));
}
