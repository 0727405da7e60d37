import type { Duration } from '@temporalio/common';
import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, type DatabaseFlags } from '../flags.ts';

export interface WaitFlags extends DatabaseFlags {
  /** As it was typed: `resolveDuration` says whether it is one. */
  readonly timeout: Duration;
  readonly json?: true;
}

/** `batch-jobs wait`: for scripts that go on when a batch is over. */
export function waitCommand(context: CliContext): Command {
  const command: Command = new Command('wait')
    .summary('wait until a batch is over')
    .description(
      'Waits until a batch is over, callbacks included, and says how it ended. It looks at the rows every second; it ' +
        'does not ask Temporal, so it waits for a batch whose workflow an operator terminated until the timeout. The ' +
        'message then says what the batch waits for.',
    )
    .argument('<id>', 'the batch')
    .option('--timeout <duration>', 'give up after so long; the batch goes on', '1 hour')
    .option('--json', 'print the result as one line of JSON');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when the batch ended complete; 1 when it ended failed or cancelled, the time was over, or the\n' +
        'command failed; 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs wait import-2026-11-23 --timeout 10m && ./publish',
    )
    .action(async (id: string, flags: WaitFlags) => {
      const { runWait } = await import('../actions/wait.ts');
      await runWait(context, id, flags, command);
    });
}
