import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, type ChangeFlags } from '../flags.ts';
import { addPolicyOptions, type PolicyFlags } from '../policy-options.ts';

export interface RetryFailedFlags extends ChangeFlags, PolicyFlags {
  readonly cancelled?: true;
  readonly taskQueue?: string;
}

/** `batch-jobs retry-failed`: runs failed jobs again, as a new round. */
export function retryFailedCommand(context: CliContext): Command {
  const command: Command = new Command('retry-failed')
    .summary('run failed jobs again')
    .description(
      'Runs the failed jobs of a batch that has settled again, as a new round: with new attempts, and the arguments that ' +
        'they had. The outcome is judged again, and its callbacks run. Policy and limits stay, but for what is given; a ' +
        'deadline does not carry over.',
    )
    .argument('<id>', 'the batch')
    .option('--cancelled', 'run cancelled jobs again, too')
    .option('--task-queue <name>', "task queue of the batch (default: that of its last round's workflow)");
  return addChangeOptions(addPolicyOptions(command))
    .addHelpText(
      'after',
      '\nExit code: 0 when the round is asked for, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs retry-failed import-2026-11-23' +
        '\n  $ batch-jobs retry-failed import-2026-11-23 --cancelled --max-concurrent-jobs 10 --yes',
    )
    .action(async (id: string, flags: RetryFailedFlags) => {
      const { runRetryFailed } = await import('../actions/steer.ts');
      await runRetryFailed(context, id, flags, command);
    });
}
