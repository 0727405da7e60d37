import type { Command } from 'commander';
import { describeLimits } from '../../../workflows/limits.ts';
import { assertBatchId } from '../../client/batch-options.ts';
import type { Database } from '../../database/connect.ts';
import { selectOverview, type BatchOverview } from '../../database/overview.ts';
import { BatchNotFoundError } from '../../errors.ts';
import { digits } from '../../doctor/words.ts';
import type { StatusFlags } from '../commands/status.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import {
  describeCallback,
  describeCounts,
  describeOutcome,
  named,
  nextStep,
  perSecond,
  seconds,
  since,
  statusWord,
  timestamp,
} from '../describe.ts';
import { FoundWantingError } from '../exit-code.ts';
import { followBatch } from '../follow.ts';
import { painter, statusStyle, type Paint } from '../paint.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';
import { openJsonLines, openWatchView } from '../watch-view.ts';

/** Prints where a batch stands, or follows it to its end. */
export async function runStatus(
  context: CliContext,
  id: string,
  flags: StatusFlags,
  command: Command,
): Promise<void> {
  assertBatchId(id);
  await withDatabase(context, flags, command, (database) =>
    flags.watch ? watch(context, database, id, flags) : show(context, database, id, flags),
  );
}

async function show(context: CliContext, database: Database, id: string, flags: StatusFlags): Promise<void> {
  const overview = await selectOverview(database, id);
  if (!overview) throw new BatchNotFoundError(id);
  print(context, flags, describe(overview, painter(context, context.stdout)), overviewJson(overview));
}

async function watch(context: CliContext, database: Database, id: string, flags: StatusFlags): Promise<void> {
  const { stdout } = context;
  const paint = painter(context, stdout);
  const view = flags.json ? openJsonLines(stdout, overviewJson) : openWatchView(stdout, paint);
  let last: BatchOverview | undefined;
  try {
    for await (const overview of followBatch(database, id)) {
      if (!last && !flags.json) stdout.write(`${paint('bold', named(overview))}\n`);
      view.update(overview);
      last = overview;
    }
  } finally {
    view.close();
  }
  reportOutcome(context, flags, last!);
}

/** @throws {@link FoundWantingError} unless the batch is complete */
export function reportOutcome(
  context: CliContext,
  flags: { readonly json?: true },
  overview: BatchOverview,
): void {
  const { stdout } = context;
  if (!flags.json) {
    stdout.write(`${painter(context, stdout)(statusStyle(overview.status), describeOutcome(overview))}\n`);
    const hint = nextStep(overview);
    if (hint !== undefined) stdout.write(`${hint}\n`);
  }
  if (overview.status !== 'complete') throw new FoundWantingError();
}

/** Without the time of reading, which only tells ages. */
export function overviewJson({ now: _now, ...overview }: BatchOverview): object {
  return overview;
}

function describe(overview: BatchOverview, paint: Paint): string {
  const { status, percent, total, settledAt, now, limits, enrollmentError, failureReason } = overview;
  const word = statusWord(overview);
  const rows: (readonly [string, string | undefined])[] = [
    ['status', paint(statusStyle(word), word)],
    ['jobs', total === 0 ? 'none yet' : `${describeCounts(overview)}, ${digits(percent ?? 0)} %`],
    ['speed', describeSpeed(overview)],
    ['moved', overview.idleSeconds === null ? undefined : `${seconds(overview.idleSeconds)} ago`],
    ['round', overview.round === 1 ? undefined : digits(overview.round)],
    ['paused', overview.pausedAt === null ? undefined : since(overview.pausedAt, now)],
    ['stopped', describeStop(overview)],
    ['deadline', overview.deadlineAt === null ? undefined : timestamp(overview.deadlineAt)],
    ['limits', limits === null ? undefined : describeLimits({ jobLimits: {}, ...limits })],
    ['fails', `when ${describeFailurePolicy(overview.failWhenFailed)}`],
    ['block', enrollmentError === null ? undefined : paint('red', `broke: ${enrollmentError}`)],
    ['reason', failureReason === null ? undefined : paint('red', failureReason)],
    ['parent', overview.parentId ?? undefined],
    ...Object.entries(overview.callbacks ?? {}).map(
      ([event, callback]) => ['callback', describeCallback(event, callback)] as const,
    ),
    ['created', `${timestamp(overview.createdAt)}, ${since(overview.createdAt, now)}`],
    ['settled', settledAt === null ? undefined : `${timestamp(settledAt)}, ${since(settledAt, now)}`],
  ];
  const shown = rows.filter((row): row is readonly [string, string] => row[1] !== undefined);
  const table = formatTable(
    [{}, {}],
    shown.map(([name, value]) => [paint('dim', name), value]),
    paint,
  );
  const hint = status === 'cancelled' ? undefined : nextStep(overview);
  return `${paint('bold', named(overview))}\n\n${table}${hint === undefined ? '' : `\n${hint}\n`}`;
}

function describeSpeed({ jobsPerSecond, etaSeconds, settledAt }: BatchOverview): string | undefined {
  if (jobsPerSecond === 0) return undefined;
  if (settledAt !== null) return perSecond(jobsPerSecond);
  return `${perSecond(jobsPerSecond)}${etaSeconds === null ? '' : `, ${seconds(etaSeconds)} left`}`;
}

function describeStop({ stoppedAt, stopReason, now }: BatchOverview): string | undefined {
  return stoppedAt === null ? undefined : `${since(stoppedAt, now)}: ${stopReason ?? ''}`;
}

function describeFailurePolicy(policy: string): string {
  if (policy === 'any' || policy === 'all') return policy === 'any' ? 'any job fails' : 'all jobs fail';
  return `${policy} ${policy.endsWith('%') ? 'of its jobs' : 'jobs'} fail`;
}
