import { Command } from 'commander';
import type { CliContext } from '../context.ts';
import { addChangeOptions, type ChangeFlags } from '../flags.ts';
import { addPolicyOptions, type PolicyFlags } from '../policy-options.ts';

export interface UpdateFlags extends ChangeFlags, PolicyFlags {}

/** `batch-jobs update`: changes policy and limits of a batch that runs. */
export function updateCommand(context: CliContext): Command {
  const command: Command = new Command('update')
    .summary('change policy and limits of a batch')
    .description(
      'Changes what makes a batch fail, its deadline, or its limits, while it runs. What is not given stays as it is. ' +
        'Workers hear of lower limits within a second, and jobs that run go on to their end.',
    )
    .argument('<id>', 'the batch');
  return addChangeOptions(addPolicyOptions(command))
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed or the answer was no, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs update import-2026-11-23 --max-concurrent-jobs 20 --per-second none' +
        '\n  $ batch-jobs update import-2026-11-23 --job-limit SendMail.perSecond=20 --job-limit Score.maxConcurrentJobs=5' +
        '\n  $ batch-jobs update import-2026-11-23 --fail-when-failed 5% --deadline 2h --yes',
    )
    .action(async (id: string, flags: UpdateFlags) => {
      const { runUpdate } = await import('../actions/steer.ts');
      await runUpdate(context, id, flags, command);
    });
}
