import { Command, Option } from 'commander';
import type { CliContext } from '../context.ts';
import {
  addDatabaseOptions,
  numberOrNone,
  wholeNumberOrNone,
  type DatabaseFlags,
  type NumberOrNone,
} from '../flags.ts';

export interface LimitsFlags extends DatabaseFlags {
  readonly maxConcurrent?: NumberOrNone;
  readonly perSecond?: NumberOrNone;
  readonly maxConcurrentPerKey?: NumberOrNone;
  readonly delete?: true;
  readonly json?: true;
}

/** `batch-jobs limits`: shows, sets and deletes limits over all batches. */
export function limitsCommand(context: CliContext): Command {
  const command: Command = new Command('limits')
    .summary('show, set or delete limits over all batches')
    .description(
      'Lists the limits over all batches, or shows one limit with its busiest keys. --max-concurrent, --per-second and ' +
        '--max-concurrent-per-key set the limit. Values that are not given stay as they are. Workers apply a change ' +
        'within two seconds, and running jobs continue.',
    )
    .argument('[name]', 'the limit')
    .option(
      '--max-concurrent <count>',
      'jobs that run at once, over all batches and workers, or none',
      wholeNumberOrNone,
    )
    .option(
      '--per-second <count>',
      'jobs that start in a second, over all batches and workers, or none',
      numberOrNone,
    )
    .option(
      '--max-concurrent-per-key <count>',
      'jobs of one key that run at once, or none',
      wholeNumberOrNone,
    )
    .addOption(
      new Option(
        '--delete',
        'delete the limit: its waiting jobs start, and new jobs that name it are refused',
      ).conflicts(['maxConcurrent', 'perSecond', 'maxConcurrentPerKey']),
    )
    .option('--json', 'print the result as one line of JSON');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, also when there is no limit to list or delete; 1 when it failed or the limit to ' +
        'show does not exist; 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs limits' +
        '\n  $ batch-jobs limits stripe --max-concurrent 20 --per-second 100 --max-concurrent-per-key 2' +
        '\n  $ batch-jobs limits stripe --per-second none' +
        '\n  $ batch-jobs limits stripe --delete',
    )
    .action(async (name: string | undefined, flags: LimitsFlags) => {
      const { runLimits } = await import('../actions/limits.ts');
      await runLimits(context, name, flags, command);
    });
}
