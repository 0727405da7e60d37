import { Argument, Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, EVENTS, type ChangeFlags } from '../flags.ts';

export interface RetryCallbackFlags extends ChangeFlags {
  readonly taskQueue?: string;
}

/** `batch-jobs retry-callback`: runs a callback again that has failed for good. */
export function retryCallbackCommand(context: CliContext): Command {
  const command: Command = new Command('retry-callback')
    .summary('run a failed callback again')
    .description(
      'Runs a callback again that has failed for good, with new attempts. The outcome of the batch stays as it is. ' +
        'Without a worker the callback is queued until one starts.',
    )
    .argument('<id>', 'the batch')
    .addArgument(new Argument('<event>', 'the event of the callback').choices(EVENTS))
    .option('--task-queue <name>', "task queue of the batch (default: that of its last round's workflow)");
  return addChangeOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when it runs or is queued, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs retry-callback import-2026-11-23 failure --yes',
    )
    .action(async (id: string, event: string, flags: RetryCallbackFlags) => {
      const { runRetryCallback } = await import('../actions/steer.ts');
      await runRetryCallback(context, id, event, flags, command);
    });
}
