import { Command, Option } from 'commander';
import type { JobStatus } from '../../database/rows.ts';
import type { CliContext } from '../context.ts';
import { addDatabaseOptions, JOB_STATUSES, wholeNumber, type DatabaseFlags } from '../flags.ts';

export interface JobsFlags extends DatabaseFlags {
  readonly status?: JobStatus;
  readonly name?: string;
  readonly args?: true;
  readonly limit: number;
  readonly after: number;
  readonly json?: true;
}

/** `batch-jobs jobs`: the jobs of a batch, in the order of enrolment. */
export function jobsCommand(context: CliContext): Command {
  const command: Command = new Command('jobs')
    .summary('list the jobs of a batch')
    .description('Lists the jobs of a batch in the order of their enrolment.')
    .argument('<id>', 'the batch')
    .addOption(new Option('--status <status>', 'jobs in this status (default: all)').choices(JOB_STATUSES))
    .option('--name <name>', 'jobs of this name, as defineJob gave it (default: all)')
    .option('--args', 'show their arguments, too')
    .option('--limit <count>', 'most jobs', wholeNumber(1), 20)
    .option('--after <position>', 'the next page: jobs behind this position', wholeNumber(0), 0)
    .option('--json', 'print the result as one line of JSON');
  return addDatabaseOptions(command)
    .addHelpText(
      'after',
      '\nExit code: 0 when the batch was found, 1 when the command failed, 2 for a wrong call.\n' +
        '\nExample:\n  $ batch-jobs jobs import-2026-11-23 --status pending' +
        '\n  $ batch-jobs jobs import-2026-11-23 --name ScoreEntry --args --limit 100 --after 400',
    )
    .action(async (id: string, flags: JobsFlags) => {
      const { runJobs } = await import('../actions/jobs.ts');
      await runJobs(context, id, flags, command);
    });
}
