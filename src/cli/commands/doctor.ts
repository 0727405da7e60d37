import type { Duration } from '@temporalio/common';
import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, addTemporalOptions, type DatabaseFlags } from '../flags.ts';
import type { TemporalFlags } from '../temporal.ts';

export interface DoctorFlags extends DatabaseFlags, TemporalFlags {
  /** As it was typed: `resolveDuration` says whether it is one. */
  readonly idle: Duration;
  readonly json?: true;
}

/** `batch-jobs doctor`: what a batch that does not move waits for, and what to do. */
export function doctorCommand(context: CliContext): Command {
  const command: Command = new Command('doctor')
    .summary('explain why batches do not move')
    .description(
      'Explains what a batch waits for, since when, and what to do about it. Without an id: all batches that are not ' +
        'over and have not moved for a while. Reads the rows and asks Temporal; changes nothing.',
    )
    .argument('[id]', 'the batch (default: all that stand still)')
    .option('--idle <duration>', 'a batch whose rows did not change for so long stands still', '1 minute')
    .option('--json', 'print the result as one line of JSON');
  return addTemporalOptions(addDatabaseOptions(command))
    .addHelpText(
      'after',
      '\nExit code: 0 when nothing is wrong, 1 when something needs attention, 2 for a wrong call.\n' +
        'docs/doctor.md explains every finding.\n' +
        '\nExample:\n  $ batch-jobs doctor' +
        '\n  $ batch-jobs doctor import-2026-11-23 --schema batch_jobs' +
        '\n  $ batch-jobs doctor --idle 10m --json --address temporal.internal:7233 --namespace jobs',
    )
    .action(async (batchId: string | undefined, flags: DoctorFlags) => {
      const { runDoctor } = await import('../actions/doctor.ts');
      await runDoctor(context, batchId, flags, command);
    });
}
