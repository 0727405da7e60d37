import type { Duration } from '@temporalio/common';
import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, type ChangeFlags } from '../flags.ts';

export interface CancelFlags extends ChangeFlags {
  readonly reason?: string;
  /** As it was typed: the library says whether it is one. */
  readonly gracePeriod?: Duration;
}

/** `batch-jobs cancel`: ends a batch before its time. */
export function cancelCommand(context: CliContext): Command {
  const command: Command = new Command('cancel')
    .summary('cancel a batch')
    .description(
      'Cancels a batch: what has not started never starts, and what runs is asked to stop. Its callbacks for the events ' +
        'cancelled and settled run. Cancelling twice changes nothing. A batch whose workflow an operator terminated ends ' +
        'this way, too.',
    )
    .argument('<id>', 'the batch')
    .option('--reason <text>', 'why, for people (default: cancelled)')
    .option('--grace-period <duration>', 'how long running handlers may go on (default: 10 seconds)');
  return addChangeOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        "\nExample:\n  $ batch-jobs cancel import-2026-11-23 --reason 'wrong file'" +
        '\n  $ batch-jobs cancel import-2026-11-23 --grace-period 1m --yes',
    )
    .action(async (id: string, flags: CancelFlags) => {
      const { runCancel } = await import('../actions/steer.ts');
      await runCancel(context, id, flags, command);
    });
}
