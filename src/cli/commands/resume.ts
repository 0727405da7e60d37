import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, type ChangeFlags } from '../flags.ts';

/** `batch-jobs resume`: lets a paused batch go on. */
export function resumeCommand(context: CliContext): Command {
  const command: Command = new Command('resume')
    .summary('go on with a batch that was paused')
    .description('Goes on with a batch that was paused. One that is not paused stays as it is.')
    .argument('<id>', 'the batch');
  return addChangeOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs resume import-2026-11-23 --yes',
    )
    .action(async (id: string, flags: ChangeFlags) => {
      const { runHold } = await import('../actions/steer.ts');
      await runHold(context, 'resume', id, flags, command);
    });
}
