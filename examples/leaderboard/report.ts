import type { DevServers } from '../../src/dev/index.ts';
import type { DemoOptions } from './options.ts';
import { questionsAbout } from './queries.ts';
import type { BatchResult, Summary } from './summary.ts';
import { printFailures, printResults } from './tables.ts';
import type { Terminal } from './terminal.ts';

export interface End {
  readonly summary: Summary;
  readonly options: DemoOptions;
  readonly servers: DevServers;
  /** The worker was to be killed, but the batch was faster. */
  readonly isKillMissing: boolean;
}

/** What happened, how to ask for it, and whether it is what should have happened. */
export function printEnd(terminal: Terminal, { summary, options, servers, isKillMissing }: End): void {
  const { batches } = summary;
  terminal.heading('What happened');
  printResults(terminal, batches);

  terminal.heading('Failed jobs by error');
  for (const { failures } of batches) if (failures.length > 0) printFailures(terminal, failures);

  terminal.heading('Ask the same in SQL');
  const [first] = batches;
  if (first) printQuestions(terminal, options.schema, first);

  terminal.heading('Look around');
  printAddresses(terminal, options, servers, batches);

  terminal.heading('Checked');
  for (const { id, checks } of batches) {
    for (const { claim, ok } of checks) printCheck(terminal, ok, `${id}: ${claim}`);
  }
  if (summary.workersKilled > 0)
    printCheck(terminal, true, 'all this although a worker was killed in the middle');
  if (isKillMissing) {
    printCheck(terminal, false, 'the batch ended before its worker could be killed: use more cities');
  }
}

function printQuestions(terminal: Terminal, schema: string, { id }: BatchResult): void {
  for (const sql of Object.values<string>({ ...questionsAbout(schema, id) })) {
    for (const line of sql.split('\n')) terminal.line(`  ${terminal.paint('cyan', line)}`);
    terminal.line();
  }
}

function printAddresses(
  terminal: Terminal,
  { keep }: DemoOptions,
  servers: DevServers,
  batches: readonly BatchResult[],
): void {
  const { databaseUrl, namespace, postgres, temporalAddress, webUiUrl } = servers;
  // What the caller's own DATABASE_URL says, the password first, is not for a log.
  terminal.line(`  psql     psql ${postgres.pid === undefined ? '"$DATABASE_URL"' : `'${databaseUrl}'`}`);
  if (webUiUrl === undefined) {
    terminal.line(`  Web UI   that of your Temporal server at ${temporalAddress}; the workflows are:`);
    for (const { id } of batches) terminal.line(`           batch:${id}`);
  } else {
    terminal.line(`  Web UI   ${webUiUrl}`);
    for (const { id } of batches) {
      terminal.line(`           ${webUiUrl}/namespaces/${namespace}/workflows/batch:${id}`);
    }
  }
  if (!keep && postgres.pid !== undefined) {
    terminal.line(terminal.paint('dim', '  The servers stop now. With --keep they stay up until Ctrl-C.'));
  }
}

function printCheck(terminal: Terminal, ok: boolean, claim: string): void {
  terminal.line(`  ${ok ? terminal.paint('green', '✓') : terminal.paint('red', '✗')} ${claim}`);
}
