import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, type ChangeFlags } from '../flags.ts';

/** `batch-jobs pause`: holds a batch up. */
export function pauseCommand(context: CliContext): Command {
  const command: Command = new Command('pause')
    .summary('pause a batch')
    .description(
      'Pauses a batch: nothing new starts, and what runs goes on to its end. Its deadline goes on, too. Pausing twice ' +
        'changes nothing.',
    )
    .argument('<id>', 'the batch');
  return addChangeOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs pause import-2026-11-23 --yes',
    )
    .action(async (id: string, flags: ChangeFlags) => {
      const { runHold } = await import('../actions/steer.ts');
      await runHold(context, 'pause', id, flags, command);
    });
}
