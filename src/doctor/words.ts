const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1_000],
] as const;

/** A time span for people, in its largest unit and the next: `4 min`, `1 h 20 min`. Short minutes keep their seconds. */
export function span(ms: number): string {
  const index = UNITS.findIndex(([, size]) => ms >= size);
  if (index === -1) return '0 s';
  const [unit, size] = UNITS[index]!;
  const count = Math.floor(ms / size);
  const next = UNITS[index + 1];
  const rest = next === undefined || count >= 10 ? 0 : Math.floor((ms % size) / next[1]);
  return `${count} ${unit}${rest === 0 ? '' : ` ${rest} ${next![0]}`}`;
}

/** `1,200`. */
export function digits(count: number): string {
  return count.toLocaleString('en-US');
}

/** `1 job`, `1,200 jobs`. */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${digits(count)} ${count === 1 ? noun : plural}`;
}

/** Text of other code on one line, cut to a length that a terminal shows. */
export function oneLine(text: string, length = 300): string {
  const flat = text.replaceAll(/\s+/g, ' ').trim();
  return flat.length > length ? `${flat.slice(0, length - 1)}…` : flat;
}

/** Text in quotes as a person would type it. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/** Text as one word of a command line. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** `in 40 s`, or `any moment` for a time that has come. */
export function inTime(ms: number): string {
  return ms < 1_000 ? 'any moment' : `in ${span(ms)}`;
}

/** The values by what `keyOf` says of them, in the order of their first appearance. */
export function groupBy<T, Key>(values: readonly T[], keyOf: (value: T) => Key): [Key, T[]][] {
  const groups = new Map<Key, T[]>();
  for (const value of values) {
    const key = keyOf(value);
    const group = groups.get(key);
    if (group) group.push(value);
    else groups.set(key, [value]);
  }
  return [...groups];
}
