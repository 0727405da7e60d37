import type { Command } from 'commander';
import { assertBatchId } from '../../client/batch-options.ts';
import {
  selectFailureGroups,
  selectOverview,
  type BatchOverview,
  type FailureGroup,
  type FailureGroups,
  type FailureSample,
} from '../../database/overview.ts';
import { counted, digits, oneLine } from '../../doctor/words.ts';
import { BatchNotFoundError } from '../../errors.ts';
import type { FailedFlags } from '../commands/failed.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { painter, type Paint } from '../paint.ts';
import { print } from '../print.ts';

/** Prints why jobs of a batch failed. */
export async function runFailed(
  context: CliContext,
  id: string,
  flags: FailedFlags,
  command: Command,
): Promise<void> {
  assertBatchId(id);
  await withDatabase(context, flags, command, async (database) => {
    const batch = await selectOverview(database, id);
    if (!batch) throw new BatchNotFoundError(id);
    const failures = await selectFailureGroups(database, id, flags);
    const { groups, total } = failures;
    print(context, flags, describe(batch, failures, flags, painter(context, context.stdout)), {
      id,
      failed: batch.failed,
      enrollmentError: batch.enrollmentError,
      failureReason: batch.failureReason,
      groups,
      omittedGroups: total - groups.length,
    });
  });
}

function describe(
  { id, failed, total, enrollmentError, failureReason }: BatchOverview,
  { groups, total: groupCount }: FailureGroups,
  flags: FailedFlags,
  paint: Paint,
): string {
  const block = [
    ...(enrollmentError === null ? [] : [`Its block broke: ${oneLine(enrollmentError)}`]),
    ...(failureReason === null ? [] : [oneLine(failureReason)]),
  ];
  if (groups.length === 0) return lines([`No job of batch ${id} has failed.`, ...block]);
  const omitted = groupCount - groups.length;
  return lines([
    `${digits(failed)} of ${counted(total, 'job')} of batch ${id} failed.`,
    ...block,
    ...groups.flatMap((group) => ['', ...describeGroup(group, flags, paint)]),
    ...(omitted > 0 ? ['', `There are ${digits(omitted)} more kinds: --limit ${groupCount}`] : []),
  ]);
}

function describeGroup(group: FailureGroup, flags: FailedFlags, paint: Paint): string[] {
  const { errorClass, errorMessage, jobs, samples } = group;
  return [
    `${paint('bold', counted(jobs, 'job'))}  ${paint('red', errorClass)}: ${oneLine(errorMessage)}`,
    ...samples.flatMap((sample) => [
      `  ${describeSample(sample, flags, paint)}`,
      ...stackLines(sample, flags),
    ]),
    ...(jobs > samples.length ? [paint('dim', `  and ${digits(jobs - samples.length)} more`)] : []),
  ];
}

function describeSample(
  { jid, workerClass, attempts, args }: FailureSample,
  flags: FailedFlags,
  paint: Paint,
) {
  const call = flags.args
    ? `${workerClass}(${oneLine(args!.map((arg) => JSON.stringify(arg)).join(', '))})`
    : workerClass;
  return `${jid}  ${call}  ${paint('dim', counted(attempts, 'attempt'))}`;
}

function stackLines({ errorStack }: FailureSample, { stacks }: FailedFlags): string[] {
  if (!stacks) return [];
  return (errorStack ?? 'No stack is stored.').split('\n').map((line) => `    ${oneLine(line)}`);
}

function lines(text: readonly string[]): string {
  return text.map((line) => `${line}\n`).join('');
}
