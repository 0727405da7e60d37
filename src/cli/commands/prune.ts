import type { Client } from '@temporalio/client';
import type { Duration } from '@temporalio/common';
import { Command, Option } from 'commander';
import { openDatabase, type Database } from '../../database/connect.ts';
import { assertMigrated } from '../../database/migrate.ts';
import { selectPrunable, type Prunable, type PruneFilter } from '../../database/prune.ts';
import { counted } from '../../doctor/words.ts';
import { assertName, DEFAULT_TASK_QUEUE } from '../../options.ts';
import {
  OUTCOMES,
  resolvePruneOptions,
  resolvePruneSchedule,
  resolveScheduleId,
  type PruneResult,
  type PruneSelection,
} from '../../prune/options.ts';
import { pruneBatches, totalOf } from '../../prune/prune-batches.ts';
import { deletePruneSchedule, savePruneSchedule } from '../../prune/schedule.ts';
import type { BatchOutcome } from '../../../workflows/batch-state.ts';
import type { CliContext } from '../context.ts';
import { requireDatabaseUrl } from '../database-url.ts';
import { ExitCode } from '../exit-code.ts';
import { withProgressBar } from '../progress-bar.ts';
import { temporalSettings, type TemporalFlags } from '../temporal.ts';

interface PruneFlags extends TemporalFlags {
  /** As it was typed: `resolveAge` says whether it is one. */
  readonly olderThan?: Duration;
  readonly status?: BatchOutcome[];
  readonly limit?: number;
  readonly yes?: true;
  readonly databaseUrl?: string;
  readonly schema?: string;
  readonly schedule?: Duration;
  readonly unschedule?: true;
  readonly scheduleId?: string;
  readonly taskQueue?: string;
  readonly json?: true;
}

/** `batch-jobs prune`: removes batches that settled long ago, now or by a schedule. */
export function pruneCommand(context: CliContext): Command {
  const command: Command = new Command('prune')
    .summary('remove batches that settled long ago')
    .description(
      'Shows which settled batches would go, with their jobs; --yes removes them, in small transactions. What still ' +
        'runs stays, and so does a batch whose callbacks have not all ended. --schedule lets Temporal do it again and ' +
        'again, by the workers of a task queue in their own database.',
    )
    .option('--older-than <duration>', 'batches that settled longer ago, such as 30d')
    .addOption(
      new Option('--status <outcome...>', 'batches of these outcomes (default: all)').choices(OUTCOMES),
    )
    .option('--limit <count>', 'most batches, those first that settled first (default: no limit)', Number)
    .option('--yes', 'remove them')
    .option('--database-url <url>', 'connection string (default: DATABASE_URL)')
    .option('--schema <name>', 'database schema of the tables (default: public)')
    .addOption(
      new Option(
        '--schedule <every>',
        'create or change a Temporal Schedule in place of pruning now',
      ).conflicts(['databaseUrl', 'schema', 'unschedule']),
    )
    .addOption(
      new Option('--unschedule', 'delete that schedule').conflicts([
        'databaseUrl',
        'limit',
        'olderThan',
        'schema',
        'status',
        'yes',
      ]),
    )
    .option('--schedule-id <id>', 'id of the schedule (default: prune: and the task queue)')
    .option('--task-queue <name>', `task queue of the schedule's workers (default: ${DEFAULT_TASK_QUEUE})`)
    .option('--address <host:port>', 'address of Temporal (default: TEMPORAL_ADDRESS, or temporal.toml)')
    .option('--namespace <name>', 'Temporal namespace (default: TEMPORAL_NAMESPACE, or temporal.toml)')
    .option('--json', 'print the result as one line of JSON')
    .addHelpText(
      'after',
      '\nExit code: 0 when it is done, 1 when it failed, 2 for a wrong call. A prune that fails is continued by the next.\n' +
        '\nExample:\n  $ batch-jobs prune --older-than 30d' +
        '\n  $ batch-jobs prune --older-than 30d --status complete cancelled --yes' +
        "\n  $ batch-jobs prune --older-than 30d --schedule '1 day'" +
        '\n  $ batch-jobs prune --unschedule',
    )
    .action((flags: PruneFlags) => runPrune(context, flags, command));
  return command;
}

async function runPrune(context: CliContext, flags: PruneFlags, command: Command): Promise<void> {
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
  const { filter } = resolvePruneOptions(selection);
  const database = openDatabase(requireDatabaseUrl(context, flags, command), {
    poolSize: 1,
    ...(flags.schema === undefined ? {} : { schema: flags.schema }),
  });
  try {
    await assertMigrated(database);
    await (flags.yes ? removeNow(context, database, filter, print) : show(database, filter, print));
  } finally {
    await database.close();
  }
}

type Print = (text: string, json: object) => void;

async function show(database: Database, filter: PruneFilter, print: Print): Promise<void> {
  const outcomes = await selectPrunable(database, filter);
  const total = totalOf(outcomes);
  const text =
    total.batches === 0
      ? 'No batch would be removed.\n'
      : `${describePrunable(outcomes, total)}\nNothing was changed. --yes removes them.\n`;
  print(text, { dryRun: true, ...total, outcomes });
}

async function removeNow(
  context: CliContext,
  database: Database,
  filter: PruneFilter,
  print: Print,
): Promise<void> {
  const { jobs } = context.stderr.isTTY ? totalOf(await selectPrunable(database, filter)) : { jobs: 0 };
  const removed = await withProgressBar(context.stderr, { total: jobs, noun: 'jobs' }, (update) =>
    pruneBatches(database, filter, { onProgress: (soFar) => update(soFar.jobs) }),
  );
  print(`Removed ${countsOf(removed)}.\n`, { dryRun: false, ...removed });
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
  await withClient(context, flags, (client) => savePruneSchedule(client, taskQueue, resolved));
  print(`Schedule "${resolved.scheduleId}" prunes every ${every} on task queue "${taskQueue}".\n`, {
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
  const deleted = await withClient(context, flags, (client) => deletePruneSchedule(client, scheduleId));
  print(deleted ? `Deleted schedule "${scheduleId}".\n` : `There is no schedule "${scheduleId}".\n`, {
    scheduleId,
    deleted,
  });
}

async function withClient<T>(
  context: CliContext,
  flags: TemporalFlags,
  run: (client: Client) => Promise<T>,
): Promise<T> {
  const temporal = await temporalSettings(context.env, flags).connect();
  try {
    return await run(temporal.client);
  } finally {
    await temporal.close();
  }
}

function countsOf({ batches, jobs }: PruneResult): string {
  return `${batches.toLocaleString('en-US')} ${batches === 1 ? 'batch' : 'batches'} with ${counted(jobs, 'job')}`;
}

function describePrunable(outcomes: readonly Prunable[], total: PruneResult): string {
  const digits = (count: number) => count.toLocaleString('en-US');
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
