import type { Duration } from '@temporalio/common';
import { Command, Option } from 'commander';
import type { BatchStatus } from '../../../workflows/batch-state.ts';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, STATUSES, wholeNumber, type DatabaseFlags } from '../flags.ts';

export interface ListFlags extends DatabaseFlags {
  readonly status?: BatchStatus[];
  /** As it was typed: `resolveAge` says whether it is one. */
  readonly newerThan?: Duration;
  readonly olderThan?: Duration;
  readonly description?: string;
  readonly parent?: string;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}

/** `batch-jobs list`: batches, newest first. */
export function listCommand(context: CliContext): Command {
  const command: Command = new Command('list')
    .summary('list batches')
    .description('Lists batches, newest first, with their progress.')
    .addOption(
      new Option('--status <status...>', 'batches in these statuses (default: all)').choices(STATUSES),
    )
    .option('--newer-than <duration>', 'batches created less long ago, such as 2h')
    .option('--older-than <duration>', 'batches created longer ago, such as 7d')
    .option('--description <text>', 'batches with this in their description, whatever the case')
    .option('--parent <id>', 'batches that a block, job or callback of this batch created')
    .option('--limit <count>', 'most batches', wholeNumber(1), 20)
    .option('--after <id>', 'the next page: those that come after this batch')
    .option('--json', 'print the result as one line of JSON');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0, also when there is none; 1 when it failed; 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs list --status pending running' +
        "\n  $ batch-jobs list --status failed --newer-than 1d --description 'import'" +
        '\n  $ batch-jobs list --limit 100 --after import-2026-11-23 --json',
    )
    .action(async (flags: ListFlags) => {
      const { runList } = await import('../actions/list.ts');
      await runList(context, flags, command);
    });
}
