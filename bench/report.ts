import Table from 'cli-table3';

/** Prints a table for people and one line of JSON for programs, or the line alone. */
export function report(
  { json }: { readonly json?: boolean },
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
