import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, type DatabaseFlags } from '../flags.ts';

export interface StatusFlags extends DatabaseFlags {
  readonly watch?: true;
  readonly json?: true;
}

/** `batch-jobs status`: how far a batch is, once or until it is over. */
export function statusCommand(context: CliContext): Command {
  const command: Command = new Command('status')
    .summary('show how far a batch is')
    .description(
      'Shows how far a batch is, how fast it goes, and what became of its callbacks. With --watch it goes on until the ' +
        'batch is over, callbacks included: a progress bar on a terminal, elsewhere a line whenever something has changed.',
    )
    .argument('<id>', 'the batch')
    .option('--watch', 'follow it every second until it is over')
    .option('--json', 'print the result as one line of JSON, with --watch one for each change');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when the batch was found; with --watch, when it ended complete. 1 when it ended failed or\n' +
        'cancelled (--watch), or the command failed; 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs status import-2026-11-23' +
        '\n  $ batch-jobs status import-2026-11-23 --watch',
    )
    .action(async (id: string, flags: StatusFlags) => {
      const { runStatus } = await import('../actions/status.ts');
      await runStatus(context, id, flags, command);
    });
}
