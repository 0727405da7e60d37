import { Command, InvalidArgumentError } from 'commander';
import type { CliContext } from '../context.ts';

export interface DevFlags {
  readonly postgresPort?: number;
  readonly temporalPort?: number;
  readonly uiPort?: number;
  readonly dataDir?: string;
  readonly schema?: string;
  readonly json?: true;
}

/** `batch-jobs dev`: Postgres, Temporal and its Web UI on this machine until a signal ends them. */
export function devCommand(context: CliContext): Command {
  return new Command('dev')
    .summary('run Postgres and Temporal for development')
    .description(
      'Starts Postgres, Temporal and its Web UI on 127.0.0.1, applies the migrations, and runs until Ctrl-C.\n' +
        'Servers that DATABASE_URL and TEMPORAL_ADDRESS name are used in place of new ones.',
    )
    .option('--postgres-port <port>', 'port of Postgres (default: a free one)', parsePort)
    .option('--temporal-port <port>', 'port of Temporal (default: a free one)', parsePort)
    .option('--ui-port <port>', 'port of the Temporal Web UI (default: a free one)', parsePort)
    .option('--data-dir <folder>', 'keep the data of both servers here (default: gone at the end)')
    .option('--schema <name>', 'database schema of the tables (default: public)')
    .option('--json', 'print the addresses as one line of JSON')
    .addHelpText(
      'after',
      '\nExit code: 0 when it was asked to end, 1 when a server did not start, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs dev --temporal-port 7233 --ui-port 8233 --data-dir .dev',
    )
    .action(async (flags: DevFlags) => {
      const { runDev } = await import('../actions/dev.ts');
      await runDev(context, flags);
    });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError('Give a port between 1 and 65535.');
  }
  return port;
}
