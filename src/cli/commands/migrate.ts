import { Command, Option } from 'commander';
import { migrate, migrationSql, migrationStatus } from '../../database/migrate.ts';
import { requireDatabaseUrl } from '../database-url.ts';
import type { CliContext } from '../context.ts';

interface MigrateFlags {
  readonly databaseUrl?: string;
  readonly schema?: string;
  readonly status?: true;
  readonly printSql?: true;
  readonly json?: true;
}

/** `batch-jobs migrate`: brings a database up to this version, or tells what that would take. */
export function migrateCommand(context: CliContext): Command {
  const command: Command = new Command('migrate')
    .summary('create or update the tables in Postgres')
    .description('Applies the migrations that the database lacks. Safe to run from many machines at once.')
    .option('--database-url <url>', 'connection string (default: DATABASE_URL)')
    .option('--schema <name>', 'database schema of the tables (default: public)')
    .option('--status', 'show applied and pending migrations, change nothing')
    .addOption(
      new Option('--print-sql', 'print the SQL of all migrations, connect to nothing').conflicts('status'),
    )
    .option('--json', 'print the result as one line of JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ batch-jobs migrate --database-url postgres://localhost/app --schema batch_jobs',
    )
    .action(async (flags: MigrateFlags) => {
      context.stdout.write(await runMigrate(context, flags, command));
    });
  return command;
}

async function runMigrate(context: CliContext, flags: MigrateFlags, command: Command): Promise<string> {
  const options = flags.schema === undefined ? {} : { schema: flags.schema };
  if (flags.printSql) {
    const sql = await migrationSql(options);
    return flags.json ? jsonLine({ sql }) : sql;
  }
  const databaseUrl = requireDatabaseUrl(context, flags, command);
  if (flags.status) {
    const status = await migrationStatus(databaseUrl, options);
    return flags.json ? jsonLine(status) : describeStatus(status);
  }
  const result = await migrate(databaseUrl, options);
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
