import { createRequire } from 'node:module';
import { Command } from 'commander';
import { cancelCommand } from './commands/cancel.ts';
import { completeCommand, completionCommand } from './commands/completion.ts';
import { devCommand } from './commands/dev.ts';
import { doctorCommand } from './commands/doctor.ts';
import { failedCommand } from './commands/failed.ts';
import { jobsCommand } from './commands/jobs.ts';
import { limitsCommand } from './commands/limits.ts';
import { listCommand } from './commands/list.ts';
import { migrateCommand } from './commands/migrate.ts';
import { pauseCommand } from './commands/pause.ts';
import { pruneCommand } from './commands/prune.ts';
import { resumeCommand } from './commands/resume.ts';
import { retryCallbackCommand } from './commands/retry-callback.ts';
import { retryFailedCommand } from './commands/retry-failed.ts';
import { statusCommand } from './commands/status.ts';
import { updateCommand } from './commands/update.ts';
import { waitCommand } from './commands/wait.ts';
import type { CliContext } from './context.ts';

/**
 * Builds the `batch-jobs` program. Commands are known to the parser and to `--help`; what they do is loaded when one runs,
 * because the Temporal client and Knex take longer to load than most commands take. It writes to the given
 * streams only, and throws in place of ending the process.
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
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed or something is wrong, 2 for a wrong call.\n' +
        'docs/cli.md describes every command.\n' +
        '\nExample:\n  $ batch-jobs list --status running\n  $ batch-jobs status import-2026-11-23 --watch',
    )
    .showHelpAfterError('Add --help to see how it is used.')
    .showSuggestionAfterError();
  const commands = [
    devCommand(context),
    migrateCommand(context),
    listCommand(context),
    statusCommand(context),
    failedCommand(context),
    jobsCommand(context),
    doctorCommand(context),
    waitCommand(context),
    cancelCommand(context),
    pauseCommand(context),
    resumeCommand(context),
    retryFailedCommand(context),
    retryCallbackCommand(context),
    updateCommand(context),
    limitsCommand(context),
    pruneCommand(context),
    completionCommand(context),
  ];
  for (const command of commands) {
    program.addCommand(command.copyInheritedSettings(program));
  }
  program.addCommand(completeCommand(context, program).copyInheritedSettings(program), { hidden: true });
  return program;
}

/** The package imports itself by name, which works from the sources and from the build alike. */
function packageVersion(): string {
  const { version }: { version: string } = createRequire(import.meta.url)('temporal-batch-jobs/package.json');
  return version;
}
