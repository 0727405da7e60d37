import { InvalidArgumentError, Option, type Command } from 'commander';
import type { BatchPolicyOptions, JobLimit } from '../client/batch-options.ts';
import { NONE, numberOrNone, type NumberOrNone } from './flags.ts';

/** Options of a batch's policy and limits, as the parser leaves them: unset ones are absent. */
export interface PolicyFlags {
  readonly failWhenFailed?: BatchPolicyOptions['failWhenFailed'];
  readonly failWhen?: BatchPolicyOptions['failWhen'];
  readonly afterFailure?: BatchPolicyOptions['afterFailure'];
  // oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where @types/ms is missing
  readonly deadline?: BatchPolicyOptions['deadline'];
  readonly afterDeadline?: BatchPolicyOptions['afterDeadline'];
  // oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where @types/ms is missing
  readonly alertAfterIdle?: BatchPolicyOptions['alertAfterIdle'];
  readonly maxConcurrentJobs?: NumberOrNone;
  readonly perSecond?: NumberOrNone;
  readonly jobLimit?: Readonly<Record<string, JobLimit>>;
}

/** Adds an option for each of `BatchPolicyOptions`. What they mean is checked by the library. */
export function addPolicyOptions(command: Command): Command {
  return command
    .option(
      '--fail-when-failed <policy>',
      'how many failed jobs make it failed: any, all, or more than a count or percentage: 10, 5%',
      parseFailurePolicy,
    )
    .addOption(
      new Option('--fail-when <time>', 'when too many failed jobs decide').choices(['settled', 'immediate']),
    )
    .addOption(
      new Option('--after-failure <effect>', 'what becomes of the rest once it fails').choices([
        'continue',
        'cancelRemaining',
      ]),
    )
    .option(
      '--deadline <time>',
      'what is left then is stopped: a duration from now, a date, or none',
      parseTime,
    )
    .addOption(
      new Option('--after-deadline <effect>', 'what becomes of a batch that its deadline stopped').choices([
        'fail',
        'cancel',
      ]),
    )
    .option('--alert-after-idle <duration>', 'alert when no job has ended for so long, or none')
    .option('--max-concurrent-jobs <count>', 'jobs that run at once, over all workers, or none', numberOrNone)
    .option('--per-second <count>', 'jobs that start in a second, over all workers, or none', numberOrNone)
    .option(
      '--job-limit <name.limit=count>',
      'the same for the jobs of a name, such as SendMail.perSecond=20 or SendMail.maxConcurrentJobs=none; again for more',
      addJobLimit,
    );
}

/** The options of the library for flags that were given. */
export function policyOf({
  failWhenFailed,
  failWhen,
  afterFailure,
  deadline,
  afterDeadline,
  alertAfterIdle,
  maxConcurrentJobs,
  perSecond,
  jobLimit: jobLimits,
}: PolicyFlags): BatchPolicyOptions {
  const policy = {
    failWhenFailed,
    failWhen,
    afterFailure,
    deadline,
    afterDeadline,
    alertAfterIdle,
    maxConcurrentJobs,
    perSecond,
    jobLimits,
  };
  const given = Object.entries(policy).filter(([, value]) => value !== undefined);
  // The parser makes an empty text of a null, so that it is told apart here.
  return Object.fromEntries(given.map(([name, value]) => [name, value === NONE ? null : value]));
}

function parseFailurePolicy(text: string): unknown {
  if (text === 'any' || text === 'all') return text;
  if (/^\d+$/.test(text)) return { moreThan: Number(text) };
  if (/^\d+(\.\d+)?%$/.test(text)) return { moreThan: text };
  throw new InvalidArgumentError('Give any, all, a count such as 10, or a percentage such as 5%.');
}

/** A date has a year; `resolveTime` takes everything else for a duration. */
function parseTime(text: string): unknown {
  if (!/^\d{4}-/.test(text)) return text;
  const date = new Date(text);
  if (Number.isNaN(date.getTime()))
    throw new InvalidArgumentError('Give a date such as 2026-11-23T18:00:00Z.');
  return date;
}

const JOB_LIMIT = /^(?<name>.+)\.(?<limit>maxConcurrentJobs|perSecond)=(?<count>none|[\d.]+)$/;

function addJobLimit(
  text: string,
  before: Readonly<Record<string, JobLimit>> = {},
): Readonly<Record<string, JobLimit>> {
  const { name, limit, count } = JOB_LIMIT.exec(text)?.groups ?? {};
  if (name === undefined || limit === undefined || count === undefined) {
    throw new InvalidArgumentError('Give a name and its limit, such as SendMail.perSecond=20.');
  }
  return { ...before, [name]: { ...before[name], [limit]: count === NONE ? null : Number(count) } };
}
