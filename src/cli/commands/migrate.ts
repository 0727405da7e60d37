import { Command, Option } from 'commander';
import type { CliContext } from '../context.ts';

export interface MigrateFlags {
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
      '\nExit code: 0 when it is done, 1 when it failed, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs migrate --database-url postgres://localhost/app --schema batch_jobs' +
        '\n  $ batch-jobs migrate --status' +
        '\n  $ batch-jobs migrate --print-sql --schema batch_jobs > batch-jobs.sql',
    )
    .action(async (flags: MigrateFlags) => {
      const { runMigrate } = await import('../actions/migrate.ts');
      context.stdout.write(await runMigrate(context, flags, command));
    });
  return command;
}
