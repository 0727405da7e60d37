import Table from 'cli-table3';
import { countryName } from './cities.ts';
import type { FailureGroup, LeaderboardEntry } from './facts.ts';
import { formatCount, formatSeconds } from './format.ts';
import type { BatchResult } from './summary.ts';
import type { Terminal } from './terminal.ts';

type Cell = string | { readonly content: string; readonly hAlign: 'right' };

export function printLeaderboard(terminal: Terminal, entries: readonly LeaderboardEntry[]): void {
  print(
    terminal,
    ['', 'city', 'country', 'population', 'score'],
    entries.map((entry, index) => [
      right(`${index + 1}`),
      entry.name,
      countryName(entry.country),
      right(formatCount(entry.population)),
      right(entry.score.toFixed(2)),
    ]),
  );
}

export function printResults(terminal: Terminal, results: readonly BatchResult[]): void {
  print(
    terminal,
    ['batch', 'status', 'total', 'complete', 'failed', 'pending', 'retried', 'time', 'jobs/s', 'callback'],
    results.map(({ id, facts, seconds }) => [
      id,
      terminal.paint(facts.status === 'complete' ? 'green' : 'red', facts.status),
      ...[facts.total, facts.complete, facts.failed, facts.pending, facts.retried].map((count) =>
        right(formatCount(count)),
      ),
      right(formatSeconds(seconds)),
      right(formatCount(facts.total / seconds)),
      facts.callbackRuns.map(({ event }) => event).join(', '),
    ]),
  );
}

export function printFailures(terminal: Terminal, failures: readonly FailureGroup[]): void {
  print(
    terminal,
    ['error', 'jobs', 'for example'],
    failures.map((group) => [
      terminal.paint('red', group.error_class),
      right(formatCount(group.jobs)),
      group.example,
    ]),
  );
}

function right(content: string): Cell {
  return { content, hAlign: 'right' };
}

function print(terminal: Terminal, head: readonly string[], rows: readonly (readonly Cell[])[]): void {
  const table = new Table({
    head: head.map((title) => terminal.paint('dim', title)),
    // Without its own colours: those do not ask whether there is a terminal.
    style: { head: [], border: [], compact: true },
  });
  table.push(...rows.map((row) => [...row]));
  for (const line of table.toString().split('\n')) terminal.line(`  ${line}`);
}
