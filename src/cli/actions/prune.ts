import type { Duration } from '@temporalio/common';
import type { Command } from 'commander';
import type { Database } from '../../database/connect.ts';
import { selectPrunable, type Prunable, type PruneFilter } from '../../database/prune.ts';
import { counted, digits, span } from '../../doctor/words.ts';
import { assertName, DEFAULT_TASK_QUEUE } from '../../options.ts';
import {
  resolvePruneOptions,
  resolvePruneSchedule,
  resolveScheduleId,
  type PruneResult,
  type PruneSelection,
} from '../../prune/options.ts';
import { filterOf, pruneBatches, totalOf } from '../../prune/prune-batches.ts';
import { deletePruneSchedule, savePruneSchedule } from '../../prune/schedule.ts';
import type { PruneFlags } from '../commands/prune.ts';
import { withDatabase, withTemporal } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { timestamp } from '../describe.ts';
import { ExitCode } from '../exit-code.ts';
import { withProgressBar } from '../progress-bar.ts';
import { temporalSettings } from '../temporal.ts';

/** Shows what would go, removes it, or sets the schedule. */
export async function runPrune(context: CliContext, flags: PruneFlags, command: Command): Promise<void> {
  const print = (text: string, json: object) =>
    void context.stdout.write(flags.json ? `${JSON.stringify(json)}\n` : text);
  if (flags.unschedule) return unschedule(context, flags, print);
  const { olderThan, status, limit } = flags;
  if (olderThan === undefined) {
    command.error("error: required option '--older-than <duration>' not specified", {
      exitCode: ExitCode.usage,
    });
  }
  const selection: PruneSelection = {
    olderThan,
    ...(status === undefined ? {} : { status }),
    ...(limit === undefined ? {} : { limit }),
  };
  if (flags.schedule !== undefined) return schedule(context, flags, selection, flags.schedule, print);
  const { selection: resolved } = resolvePruneOptions(selection);
  await withDatabase(context, flags, command, async (database) => {
    const filter = await filterOf(database, resolved);
    const moment = momentOf(filter.settledBeforeMs, resolved.olderThanMs);
    if (flags.yes) await removeNow(context, database, filter, moment, print);
    else await show(database, filter, moment, print);
  });
}

type Print = (text: string, json: object) => void;

/** What `--older-than` means. */
interface Moment {
  readonly settledBefore: Date;
  /** With the age as it was read, so that a wrong unit shows. */
  readonly text: string;
}

function momentOf(epochMs: number, ageMs: number): Moment {
  const settledBefore = new Date(epochMs);
  return { settledBefore, text: `${timestamp(settledBefore)} (${span(ageMs)} ago)` };
}

async function show(
  database: Database,
  filter: PruneFilter,
  { settledBefore, text: moment }: Moment,
  print: Print,
): Promise<void> {
  const outcomes = await selectPrunable(database, filter);
  const total = totalOf(outcomes);
  const text =
    total.batches === 0
      ? `No batch would be removed: none settled before ${moment}.\n`
      : `Batches that settled before ${moment}:\n\n${describePrunable(outcomes, total)}\nNothing was changed. --yes removes them.\n`;
  print(text, { dryRun: true, settledBefore, ...total, outcomes });
}

async function removeNow(
  context: CliContext,
  database: Database,
  filter: PruneFilter,
  { settledBefore, text: moment }: Moment,
  print: Print,
): Promise<void> {
  const { jobs } = context.stderr.isTTY ? totalOf(await selectPrunable(database, filter)) : { jobs: 0 };
  const removed = await withProgressBar(context.stderr, { total: jobs, noun: 'jobs' }, (update) =>
    pruneBatches(database, filter, { onProgress: (soFar) => update(soFar.jobs) }),
  );
  print(`Removed ${countsOf(removed)}, settled before ${moment}.\n`, {
    dryRun: false,
    settledBefore,
    ...removed,
  });
}

async function schedule(
  context: CliContext,
  flags: PruneFlags,
  selection: PruneSelection,
  every: Duration,
  print: Print,
): Promise<void> {
  const { scheduleId, taskQueue = DEFAULT_TASK_QUEUE } = flags;
  assertName('taskQueue', taskQueue);
  const resolved = resolvePruneSchedule(
    { ...selection, every, ...(scheduleId === undefined ? {} : { scheduleId }) },
    taskQueue,
  );
  await withTemporal(temporalSettings(context.env, flags), (client) =>
    savePruneSchedule(client, taskQueue, resolved),
  );
  const { olderThanMs } = resolvePruneOptions(selection).selection;
  const { text: moment } = momentOf(Date.now() - olderThanMs, olderThanMs);
  const schedules = `Schedule "${resolved.scheduleId}" prunes every ${every} on task queue "${taskQueue}".`;
  print(`${schedules} A run now would remove what settled before ${moment}.\n`, {
    scheduleId: resolved.scheduleId,
    taskQueue,
    everyMs: resolved.everyMs,
    ...resolved.input,
  });
}

async function unschedule(context: CliContext, flags: PruneFlags, print: Print): Promise<void> {
  const { taskQueue = DEFAULT_TASK_QUEUE } = flags;
  assertName('taskQueue', taskQueue);
  const scheduleId = resolveScheduleId(flags.scheduleId, taskQueue);
  const deleted = await withTemporal(temporalSettings(context.env, flags), (client) =>
    deletePruneSchedule(client, scheduleId),
  );
  print(deleted ? `Deleted schedule "${scheduleId}".\n` : `There is no schedule "${scheduleId}".\n`, {
    scheduleId,
    deleted,
  });
}

function countsOf({ batches, jobs }: PruneResult): string {
  return `${digits(batches)} ${batches === 1 ? 'batch' : 'batches'} with ${counted(jobs, 'job')}`;
}

function describePrunable(outcomes: readonly Prunable[], total: PruneResult): string {
  const day = (time: Date) => time.toISOString().slice(0, 10);
  const rows = [
    ['status', 'batches', 'jobs', 'settled'],
    ...outcomes.map(({ status, batches, jobs, oldest, newest }) => [
      status,
      digits(batches),
      digits(jobs),
      day(oldest) === day(newest) ? day(oldest) : `${day(oldest)} to ${day(newest)}`,
    ]),
    ['total', digits(total.batches), digits(total.jobs), ''],
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map(([status, batches, jobs, settled]) =>
    [status!.padEnd(widths[0]!), batches!.padStart(widths[1]!), jobs!.padStart(widths[2]!), settled!]
      .join('  ')
      .trimEnd(),
  );
  return lines.map((line) => `${line}\n`).join('');
}
