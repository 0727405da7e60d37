/** Reads a column's text as Postgres sends it. */
export type Parse = (text: string) => unknown;

const asText: Parse = (text) => text;
const asNumber: Parse = (text) => Number(text);

/**
 * How the library reads the types that its columns and statements have, whatever parsers the app has set in its driver
 * (`pg.types.setTypeParser`), by the numbers of `pg_type`. Other types come from the app's own expressions.
 */
export const PARSERS: ReadonlyMap<number, Parse> = new Map<number, Parse>([
  [16, (text) => text === 't'], // bool
  [18, asText], // "char"
  [19, asText], // name
  [21, asNumber], // int2
  [23, asNumber], // int4
  [25, asText], // text
  [114, JSON.parse], // json
  [700, asNumber], // float4
  [701, asNumber], // float8
  [1007, (text) => parseArray(text).map((item) => (item === null ? null : Number(item)))], // int4[]
  [1009, parseArray], // text[]
  [1042, asText], // bpchar
  [1043, asText], // varchar
  [3802, JSON.parse], // jsonb
]);

export const TIMESTAMPTZ = 1184;

/** As text, or as JSON has it. */
const ISO = /^(\d{4,6}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(\.\d{1,6})?([+-]\d\d)(?::?(\d\d))?$/;

/** A `timestamptz` in the DateStyle ISO; undefined: it has another style, in which no reader can tell day and month. */
export function parseIsoTime(text: string): Date | number | undefined {
  if (text === 'infinity') return Infinity;
  if (text === '-infinity') return -Infinity;
  const [, day, time, fraction = '', hours, minutes = '00'] = ISO.exec(text) ?? [];
  if (day === undefined) return undefined;
  const date = new Date(`${day}T${time}${fraction.slice(0, 4)}${hours}:${minutes}`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}

/** The items of a one-dimensional array, as text. */
export function parseArray(text: string): (string | null)[] {
  const items: (string | null)[] = [];
  for (const [, quoted, plain] of text.slice(1, -1).matchAll(/(?:"((?:[^"\\]|\\.)*)"|([^",]+))(?:,|$)/gs)) {
    if (quoted !== undefined) items.push(quoted.replaceAll(/\\(.)/gs, '$1'));
    else items.push(plain === 'NULL' ? null : plain!);
  }
  return items;
}
