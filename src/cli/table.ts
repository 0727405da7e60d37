import Table from 'cli-table3';
import type { Paint } from './paint.ts';

export interface Column {
  /** @default none: of a table without a heading */
  readonly title?: string;
  /** @default 'left' */
  readonly align?: 'left' | 'right';
}

/** No frame: rows can be cut into columns by other programs, too. */
const BARE = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** Rows in aligned columns, under their titles where these have some. Ends with a newline. */
export function formatTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paint: Paint,
): string {
  const table = new Table({
    chars: BARE,
    colAligns: columns.map(({ align = 'left' }) => align),
    // Without its own colours: those do not ask whether there is a terminal.
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
    ...(columns.some(({ title }) => title)
      ? { head: columns.map(({ title = '' }) => paint('dim', title)) }
      : {}),
  });
  table.push(...rows.map((row) => [...row]));
  const lines = table.toString().split('\n');
  return lines.map((line) => `${line.trimEnd()}\n`).join('');
}
