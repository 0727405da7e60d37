import { migrate } from '../../database/migrate.ts';
import { startDevServers, type DevServers } from '../../dev/index.ts';
import type { DevFlags } from '../commands/dev.ts';
import { orUnavailable, withTemporal } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { temporalSettings } from '../temporal.ts';

/** Runs the servers until the process is asked to end. */
export async function runDev(context: CliContext, flags: DevFlags): Promise<void> {
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
    // Servers of one's own may be away.
    if (context.env['TEMPORAL_ADDRESS'])
      await withTemporal(temporalSettings(context.env, {}), async () => {});
    await orUnavailable(() =>
      migrate(servers.databaseUrl, flags.schema === undefined ? {} : { schema: flags.schema }),
    );
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
