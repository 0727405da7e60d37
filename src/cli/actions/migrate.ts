import type { Command } from 'commander';
import { migrate, migrationSql, migrationStatus } from '../../database/migrate.ts';
import type { MigrateFlags } from '../commands/migrate.ts';
import { orUnavailable } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { requireDatabaseUrl } from '../database-url.ts';

/** @returns what to print */
export async function runMigrate(
  context: CliContext,
  flags: MigrateFlags,
  command: Command,
): Promise<string> {
  const options = flags.schema === undefined ? {} : { schema: flags.schema };
  if (flags.printSql) {
    const sql = await migrationSql(options);
    return flags.json ? jsonLine({ sql }) : sql;
  }
  const databaseUrl = requireDatabaseUrl(context, flags, command);
  if (flags.status) {
    const status = await orUnavailable(() => migrationStatus(databaseUrl, options));
    return flags.json ? jsonLine(status) : describeStatus(status);
  }
  const result = await orUnavailable(() => migrate(databaseUrl, options));
  return flags.json ? jsonLine(result) : describeApplied(result.applied);
}

function describeStatus({ applied, pending }: { applied: string[]; pending: string[] }): string {
  const rows = [...applied.map((name) => `applied  ${name}`), ...pending.map((name) => `pending  ${name}`)];
  return rows.map((row) => `${row}\n`).join('');
}

function describeApplied(applied: string[]): string {
  if (applied.length === 0) return 'Up to date, nothing to apply.\n';
  return applied.map((name) => `applied  ${name}\n`).join('');
}

function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}
