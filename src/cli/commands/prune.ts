import type { Duration } from '@temporalio/common';
import { Command, Option } from 'commander';
import type { BatchOutcome } from '../../../workflows/batch-state.ts';
import { DEFAULT_TASK_QUEUE } from '../../../workflows/names.ts';
import type { CliContext } from '../context.ts';
import {
  addDatabaseOptions,
  addTemporalOptions,
  OUTCOMES,
  wholeNumber,
  type DatabaseFlags,
} from '../flags.ts';
import type { TemporalFlags } from '../temporal.ts';

export interface PruneFlags extends DatabaseFlags, TemporalFlags {
  /** As it was typed: `resolveAge` says whether it is one. */
  readonly olderThan?: Duration;
  readonly status?: BatchOutcome[];
  readonly limit?: number;
  readonly yes?: true;
  readonly schedule?: Duration;
  readonly unschedule?: true;
  readonly scheduleId?: string;
  readonly taskQueue?: string;
  readonly json?: true;
}

/** `batch-jobs prune`: removes batches that settled long ago, now or by a schedule. */
export function pruneCommand(context: CliContext): Command {
  const command: Command = new Command('prune')
    .summary('remove batches that settled long ago')
    .description(
      'Shows which settled batches would go, with their jobs; --yes removes them, in small transactions. What still ' +
        'runs stays, and so does a batch whose callbacks have not all ended. --schedule lets Temporal do it again and ' +
        'again, by the workers of a task queue in their own database.',
    )
    .option('--older-than <duration>', 'batches that settled longer ago, such as 30d')
    .addOption(
      new Option('--status <outcome...>', 'batches of these outcomes (default: all)').choices(OUTCOMES),
    )
    .option(
      '--limit <count>',
      'most batches, those first that settled first (default: no limit)',
      wholeNumber(1),
    )
    .option('--yes', 'remove them')
    .addOption(
      new Option(
        '--schedule <every>',
        'create or change a Temporal Schedule in place of pruning now',
      ).conflicts(['databaseUrl', 'schema', 'unschedule']),
    )
    .addOption(
      new Option('--unschedule', 'delete that schedule').conflicts([
        'databaseUrl',
        'limit',
        'olderThan',
        'schema',
        'status',
        'yes',
      ]),
    )
    .option('--schedule-id <id>', 'id of the schedule (default: prune: and the task queue)')
    .option('--task-queue <name>', `task queue of the schedule's workers (default: ${DEFAULT_TASK_QUEUE})`)
    .option('--json', 'print the result as one line of JSON');
  return addTemporalOptions(addDatabaseOptions(command))
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed, 2 for a wrong call. A prune that fails is continued by the next.\n' +
        '\nExample:\n  $ batch-jobs prune --older-than 30d' +
        '\n  $ batch-jobs prune --older-than 30d --status complete cancelled --yes' +
        "\n  $ batch-jobs prune --older-than 30d --schedule '1 day'" +
        '\n  $ batch-jobs prune --unschedule',
    )
    .action(async (flags: PruneFlags) => {
      const { runPrune } = await import('../actions/prune.ts');
      await runPrune(context, flags, command);
    });
}
