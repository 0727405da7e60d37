import type { Command } from 'commander';
import { assertBatchId } from '../../client/batch-options.ts';
import { selectJobPage, selectOverview, type JobPageRow } from '../../database/overview.ts';
import { digits, oneLine } from '../../doctor/words.ts';
import { BatchNotFoundError } from '../../errors.ts';
import type { JobsFlags } from '../commands/jobs.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { painter, statusStyle, type Paint } from '../paint.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';

/** Prints jobs of a batch. */
export async function runJobs(
  context: CliContext,
  id: string,
  flags: JobsFlags,
  command: Command,
): Promise<void> {
  assertBatchId(id);
  const { status, name, after, limit } = flags;
  await withDatabase(context, flags, command, async (database) => {
    if (!(await selectOverview(database, id))) throw new BatchNotFoundError(id);
    const found = await selectJobPage(database, id, {
      ...(status === undefined ? {} : { status }),
      ...(name === undefined ? {} : { workerClass: name }),
      after,
      // One more than asked for tells whether there is a next page.
      limit: limit + 1,
      args: flags.args === true,
    });
    const jobs = found.slice(0, limit);
    const next = found.length > jobs.length ? jobs.at(-1)!.position : null;
    print(context, flags, describe(jobs, next, flags, painter(context, context.stdout)), {
      id,
      jobs: jobs.map(({ batchId: _batchId, ...job }) => job),
      next,
    });
  });
}

function describe(jobs: readonly JobPageRow[], next: number | null, flags: JobsFlags, paint: Paint): string {
  if (jobs.length === 0) return 'No job.\n';
  const hasExecutions = jobs.some(({ workflowId, activityId }) => (workflowId ?? activityId) !== null);
  const rows = jobs.map((job) => [
    digits(job.position),
    job.workerClass,
    ...(hasExecutions ? [describeExecution(job)] : []),
    paint(statusStyle(job.status), job.status),
    digits(job.attempts),
    describeTime(job),
    ...(flags.args ? [oneLine(job.args!.map((arg) => JSON.stringify(arg)).join(', '), 60)] : []),
    job.errorClass === null ? '' : oneLine(`${job.errorClass}: ${job.errorMessage ?? ''}`, 80),
  ]);
  const columns = [
    { title: 'position', align: 'right' },
    { title: 'name' },
    ...(hasExecutions ? [{ title: 'runs as' }] : []),
    { title: 'status' },
    { title: 'attempts', align: 'right' },
    { title: 'took', align: 'right' },
    ...(flags.args ? [{ title: 'arguments' }] : []),
    { title: 'error' },
  ] as const;
  const more = next === null ? '' : `\nThere are more: --after ${next}\n`;
  return `${formatTable(columns, rows, paint)}${more}`;
}

/** `workflow order-1`, `activity charge-1`; empty for a job that has a handler. */
function describeExecution({ workflowId, activityId }: JobPageRow): string {
  if (workflowId !== null) return oneLine(`workflow ${workflowId}`, 60);
  return activityId === null ? '' : oneLine(`activity ${activityId}`, 60);
}

/** How long its last attempt took. */
function describeTime({ startedAt, finishedAt }: JobPageRow): string {
  return startedAt === null || finishedAt === null
    ? ''
    : `${digits(finishedAt.getTime() - startedAt.getTime())} ms`;
}
