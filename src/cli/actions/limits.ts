import type { Command } from 'commander';
import { resolveLimit, toRecord, type LimitOptions, type LimitRecord } from '../../client/limits.ts';
import type { Database } from '../../database/connect.ts';
import {
  deleteLimit,
  lockLimit,
  selectLimitKeys,
  selectLimits,
  upsertLimit,
  type LimitKey,
  type LimitValues,
} from '../../database/limits.ts';
import { digits, oneLine } from '../../doctor/words.ts';
import { UnknownLimitError } from '../../errors.ts';
import { assertName } from '../../options.ts';
import type { LimitsFlags } from '../commands/limits.ts';
import { withDatabase } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { UsageError } from '../exit-code.ts';
import { NONE } from '../flags.ts';
import { painter, type Paint } from '../paint.ts';
import { print } from '../print.ts';
import { formatTable } from '../table.ts';

/** Most keys of a limit that are shown. */
const MAX_KEYS = 20;
/** No name or key is longer, so none is cut. */
const MAX_LENGTH = 200;

/** Lists the limits, or shows, sets or deletes one. */
export async function runLimits(
  context: CliContext,
  name: string | undefined,
  flags: LimitsFlags,
  command: Command,
): Promise<void> {
  const { maxConcurrent, perSecond, maxConcurrentPerKey } = flags;
  const sets = [maxConcurrent, perSecond, maxConcurrentPerKey].some((value) => value !== undefined);
  if (name !== undefined) assertName('name', name, MAX_LENGTH);
  else if (sets || flags.delete)
    throw new UsageError('To set or delete a limit, give its name: batch-jobs limits <name>.');
  await withDatabase(context, flags, command, async (database) => {
    if (name === undefined) return list(context, database, flags);
    if (flags.delete) return remove(context, database, name, flags);
    if (sets) await setLimit(database, name, flags);
    await show(context, database, name, flags);
  });
}

async function list(context: CliContext, database: Database, flags: LimitsFlags): Promise<void> {
  const limits = (await selectLimits(database)).map(toRecord);
  const text = limits.length === 0 ? 'No limit.\n' : describeLimits(limits, painter(context, context.stdout));
  print(context, flags, text, { limits });
}

async function show(
  context: CliContext,
  database: Database,
  name: string,
  flags: LimitsFlags,
): Promise<void> {
  const [row] = await selectLimits(database, name);
  // Names are read from the view: a role that only reads has no right to the table.
  if (!row)
    throw new UnknownLimitError(
      name,
      (await selectLimits(database)).map((limit) => limit.name),
    );
  const limit = toRecord(row);
  const { keys, total } = await selectLimitKeys(database, name, MAX_KEYS);
  const paint = painter(context, context.stdout);
  const text = `${describeLimits([limit], paint)}${describeKeys(keys, total, paint)}`;
  print(context, flags, text, { ...limit, keys, omittedKeys: total - keys.length });
}

async function remove(
  context: CliContext,
  database: Database,
  name: string,
  flags: LimitsFlags,
): Promise<void> {
  const deleted = await deleteLimit(database, name);
  print(context, flags, deleted ? `Deleted limit "${name}".\n` : `There is no limit "${name}".\n`, {
    name,
    deleted,
  });
}

/** Changes the given values and keeps the others. @throws {@link UsageError} if no value would be left */
async function setLimit(database: Database, name: string, flags: LimitsFlags): Promise<void> {
  await database.knex.transaction(async (knex) => {
    const inTransaction = { ...database, knex };
    const limit = merged(await lockLimit(inTransaction, name), flags);
    if (Object.keys(limit).length === 0) {
      throw new UsageError(
        `Limit "${name}" needs at least one of --max-concurrent, --per-second and --max-concurrent-per-key. ` +
          'To remove the limit, use --delete.',
      );
    }
    await upsertLimit(inTransaction, { name, ...resolveLimit(limit) });
  });
}

function merged(before: LimitValues, flags: LimitsFlags): LimitOptions {
  const value = (given: number | typeof NONE | undefined, old: number | null) =>
    given === NONE ? undefined : (given ?? old ?? undefined);
  const maxConcurrent = value(flags.maxConcurrent, before.max_concurrent);
  const perSecond = value(flags.perSecond, before.per_second);
  const ofKey = value(flags.maxConcurrentPerKey, before.key_max_concurrent);
  return {
    ...(maxConcurrent === undefined ? {} : { maxConcurrent }),
    ...(perSecond === undefined ? {} : { perSecond }),
    ...(ofKey === undefined ? {} : { perKey: { maxConcurrent: ofKey } }),
  };
}

function describeLimits(limits: readonly LimitRecord[], paint: Paint): string {
  return formatTable(
    [
      { title: 'name' },
      { title: 'running / max', align: 'right' },
      { title: 'per second', align: 'right' },
      { title: 'per key', align: 'right' },
      { title: 'permits out', align: 'right' },
      { title: 'waiting', align: 'right' },
    ],
    limits.map(({ name, running, maxConcurrent, perSecond, perKey, permitsOut, waiting }) => [
      oneLine(name, MAX_LENGTH),
      `${digits(running)} / ${describeValue(maxConcurrent)}`,
      describeValue(perSecond),
      describeValue(perKey?.maxConcurrent),
      digits(permitsOut),
      digits(waiting),
    ]),
    paint,
  );
}

/** All digits of a rate: one that is rounded to 0 would look shut. */
function describeValue(value: number | undefined): string {
  return value?.toLocaleString('en-US', { maximumFractionDigits: 20 }) ?? NONE;
}

function describeKeys(keys: readonly LimitKey[], total: number, paint: Paint): string {
  if (keys.length === 0) return '';
  const table = formatTable(
    [{ title: 'key' }, { title: 'running', align: 'right' }, { title: 'waiting', align: 'right' }],
    keys.map(({ key, running, waiting }) => [
      key === null ? paint('dim', '(no key)') : oneLine(key, MAX_LENGTH),
      digits(running),
      digits(waiting),
    ]),
    paint,
  );
  const omitted = total - keys.length;
  return `\n${table}${omitted > 0 ? `${paint('dim', `and ${digits(omitted)} more`)}\n` : ''}`;
}
