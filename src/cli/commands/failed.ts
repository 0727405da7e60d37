import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, wholeNumber, type DatabaseFlags } from '../flags.ts';

export interface FailedFlags extends DatabaseFlags {
  readonly args?: true;
  readonly stacks?: true;
  readonly limit: number;
  readonly samples: number;
  readonly json?: true;
}

/** `batch-jobs failed`: why jobs of a batch failed. */
export function failedCommand(context: CliContext): Command {
  const command: Command = new Command('failed')
    .summary('show why jobs failed')
    .description(
      'Shows why jobs of a batch failed for good: grouped by class and message of their last error, the commonest ' +
        'first, with some of their ids.',
    )
    .argument('<id>', 'the batch')
    .option('--args', 'show the arguments of the jobs, too')
    .option('--stacks', 'show where the last error of each of these jobs was thrown; --json always has it')
    .option('--limit <count>', 'most groups', wholeNumber(1), 20)
    .option('--samples <count>', 'most jobs that are named in a group', wholeNumber(1), 3)
    .option('--json', 'print the result as one line of JSON');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when the batch was found, 1 when the command failed, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs failed import-2026-11-23' +
        '\n  $ batch-jobs failed import-2026-11-23 --args --samples 10',
    )
    .action(async (id: string, flags: FailedFlags) => {
      const { runFailed } = await import('../actions/failed.ts');
      await runFailed(context, id, flags, command);
    });
}
