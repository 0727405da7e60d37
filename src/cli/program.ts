import { createRequire } from 'node:module';
import { Command } from 'commander';
import { devCommand } from './commands/dev.ts';
import { doctorCommand } from './commands/doctor.ts';
import { migrateCommand } from './commands/migrate.ts';
import { pruneCommand } from './commands/prune.ts';
import type { CliContext } from './context.ts';

/**
 * Builds the `batch-jobs` program. It writes to the given streams only, and throws in place of ending the process.
 *
 * @returns a program whose `parseAsync` runs one command
 */
export function buildProgram(context: CliContext): Command {
  const program = new Command('batch-jobs')
    .description('Batch tracking and completion callbacks for Temporal, mirrored to Postgres.')
    .version(packageVersion())
    // Set before the commands: they take these over.
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void context.stdout.write(text),
      writeErr: (text) => void context.stderr.write(text),
    })
    .showHelpAfterError('Add --help to see how it is used.')
    .showSuggestionAfterError();
  const commands = [
    devCommand(context),
    migrateCommand(context),
    doctorCommand(context),
    pruneCommand(context),
  ];
  for (const command of commands) {
    program.addCommand(command.copyInheritedSettings(program));
  }
  return program;
}

/** The package imports itself by name, which works from the sources and from the build alike. */
function packageVersion(): string {
  const { version }: { version: string } = createRequire(import.meta.url)('temporal-batch-jobs/package.json');
  return version;
}
