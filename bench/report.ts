import Table from 'cli-table3';
import type { ServerKind } from './environment.ts';

/** What every measurement takes. */
export interface BenchOptions {
  readonly json?: boolean;
  readonly server: ServerKind;
}

/** Prints a table for people and one line of JSON for programs, or the line alone. */
export function report(
  { json }: Pick<BenchOptions, 'json'>,
  head: readonly string[],
  rows: readonly (readonly (string | number)[])[],
  line: Readonly<Record<string, unknown>>,
): void {
  if (!json) {
    const table = new Table({ head: [...head], style: { head: [] } });
    table.push(...rows.map((row) => [...row]));
    console.log(table.toString());
  }
  console.log(JSON.stringify(line));
}
