import { Command, InvalidArgumentError } from 'commander';
import { migrate } from '../../database/migrate.ts';
import { startDevServers, type DevServers } from '../../dev/index.ts';
import type { CliContext } from '../context.ts';

interface DevFlags {
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
      '\nExample:\n  $ batch-jobs dev --temporal-port 7233 --ui-port 8233 --data-dir .dev',
    )
    .action((flags: DevFlags) => runDev(context, flags));
}

async function runDev(context: CliContext, flags: DevFlags): Promise<void> {
  const shutdown = context.shutdownSignal?.();
  const servers = await startDevServers({
    env: context.env,
    log: (line) => void context.stderr.write(`${line}\n`),
    ...(flags.dataDir === undefined ? {} : { dataDir: flags.dataDir }),
    postgres: flags.postgresPort === undefined ? {} : { port: flags.postgresPort },
    temporal: {
      ...(flags.temporalPort === undefined ? {} : { port: flags.temporalPort }),
      ...(flags.uiPort === undefined ? {} : { uiPort: flags.uiPort }),
    },
  });
  try {
    await migrate(servers.databaseUrl, flags.schema === undefined ? {} : { schema: flags.schema });
    context.stdout.write(flags.json ? `${JSON.stringify(addresses(servers))}\n` : describe(servers));
    if (shutdown !== undefined) await aborted(shutdown);
  } finally {
    await servers.stop();
  }
}

function addresses({ databaseUrl, temporalAddress, namespace, webUiUrl }: DevServers) {
  return { databaseUrl, temporalAddress, namespace, webUiUrl };
}

function describe(servers: DevServers): string {
  const lines = [
    `Postgres  ${servers.postgres.address}`,
    `Temporal  ${servers.temporalAddress}, namespace ${servers.namespace}`,
    ...(servers.webUiUrl === undefined ? [] : [`Web UI    ${servers.webUiUrl}`]),
    '',
    'For the app and its workers:',
    '',
    `export DATABASE_URL=${shellQuote(servers.databaseUrl)} TEMPORAL_ADDRESS=${shellQuote(servers.temporalAddress)}`,
    '',
    'Ctrl-C stops both.',
  ];
  return `${lines.join('\n')}\n`;
}

function shellQuote(value: string): string {
  return `'${value.replaceAll("'", String.raw`'\''`)}'`;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
    throw new InvalidArgumentError('Give a port between 1 and 65535.');
  }
  return port;
}
