import type { Command } from 'commander';
import type { CliContext } from './context.ts';
import { ExitCode } from './exit-code.ts';

/** The database by flag or environment. Without one the command ends as a wrong call. */
export function requireDatabaseUrl(
  context: CliContext,
  flags: { readonly databaseUrl?: string },
  command: Command,
): string {
  const databaseUrl = flags.databaseUrl ?? context.env['DATABASE_URL'];
  if (databaseUrl === undefined || databaseUrl === '') {
    command.error('error: no database. Give --database-url, or set DATABASE_URL.', {
      exitCode: ExitCode.usage,
    });
  }
  return databaseUrl;
}
