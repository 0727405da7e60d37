import type { Duration } from '@temporalio/common';
import { Command } from 'commander';
import { assertBatchId } from '../../client/batch-options.ts';
import { openDatabase, type Database } from '../../database/connect.ts';
import { assertMigrated } from '../../database/migrate.ts';
import { isTransient } from '../../database/retry.ts';
import { diagnose, serverFindings } from '../../doctor/diagnose.ts';
import type { Finding } from '../../doctor/findings.ts';
import { gather, reasonOf, type Sources } from '../../doctor/gather.ts';
import { selectStill } from '../../doctor/mirror-facts.ts';
import {
  describeDiagnosis,
  describeFindings,
  diagnosisJson,
  findingsJson,
  type Diagnosis,
} from '../../doctor/report.ts';
import { TemporalReader } from '../../doctor/temporal-facts.ts';
import { span } from '../../doctor/words.ts';
import { BatchNotFoundError } from '../../errors.ts';
import { resolveDuration } from '../../options.ts';
import { requireDatabaseUrl } from '../database-url.ts';
import { FoundWantingError } from '../exit-code.ts';
import { temporalSettings, type TemporalFlags, type TemporalSettings } from '../temporal.ts';
import type { CliContext } from '../context.ts';

interface DoctorFlags extends TemporalFlags {
  readonly databaseUrl?: string;
  readonly schema?: string;
  /** As it was typed: `resolveDuration` says whether it is one. */
  readonly idle: Duration;
  readonly json?: true;
}

/** Without an id, so many batches are looked at; the list says how many more there are. */
const MAX_BATCHES = 100;
/** Batches that are asked about at once. */
const CONCURRENCY = 4;

/** `batch-jobs doctor`: what a batch that does not move waits for, and what to do. */
export function doctorCommand(context: CliContext): Command {
  const command: Command = new Command('doctor')
    .summary('explain why batches do not move')
    .description(
      'Explains what a batch waits for, since when, and what to do about it. Without an id: all batches that are not ' +
        'over and have not moved for a while. Reads the rows and asks Temporal; changes nothing.',
    )
    .argument('[id]', 'the batch (default: all that stand still)')
    .option('--database-url <url>', 'connection string (default: DATABASE_URL)')
    .option('--schema <name>', 'database schema of the tables (default: public)')
    .option('--address <host:port>', 'address of Temporal (default: TEMPORAL_ADDRESS, or temporal.toml)')
    .option('--namespace <name>', 'Temporal namespace (default: TEMPORAL_NAMESPACE, or temporal.toml)')
    .option('--idle <duration>', 'a batch whose rows did not change for so long stands still', '1 minute')
    .option('--json', 'print the result as one line of JSON')
    .addHelpText(
      'after',
      '\nExit code: 0 when nothing is wrong, 1 when something needs attention, 2 for a wrong call.\n' +
        'docs/doctor.md explains every finding.\n' +
        '\nExample:\n  $ batch-jobs doctor' +
        '\n  $ batch-jobs doctor import-2026-11-23 --schema batch_jobs' +
        '\n  $ batch-jobs doctor --idle 10m --json --address temporal.internal:7233 --namespace jobs',
    )
    .action((batchId: string | undefined, flags: DoctorFlags) => runDoctor(context, batchId, flags, command));
  return command;
}

async function runDoctor(
  context: CliContext,
  batchId: string | undefined,
  flags: DoctorFlags,
  command: Command,
): Promise<void> {
  const databaseUrl = requireDatabaseUrl(context, flags, command);
  if (batchId !== undefined) assertBatchId(batchId);
  const idleMs = resolveDuration('idle', flags.idle);
  const settings = temporalSettings(context.env, flags);
  const database = openDatabase(databaseUrl, {
    poolSize: CONCURRENCY,
    ...(flags.schema === undefined ? {} : { schema: flags.schema }),
  });
  try {
    await withTemporal(settings, async (temporal) => {
      const sources: Sources = { database, temporal, idleMs };
      const print = (text: string, json: object) =>
        context.stdout.write(flags.json ? `${JSON.stringify(json)}\n` : text);
      if (batchId === undefined) await examineAll(sources, print);
      else await examineOne(sources, batchId, print);
    });
  } finally {
    await database.close();
  }
}

type Print = (text: string, json: object) => void;

async function examineOne(sources: Sources, batchId: string, print: Print): Promise<void> {
  await assertMigratedIfReachable(sources.database);
  const diagnosis = await examine(sources, batchId);
  const { mirror, temporal, databaseError } = diagnosis.facts;
  // Neither server knows the batch: a wrong id, not a sick batch.
  const isKnown =
    mirror || databaseError !== undefined || (temporal && temporal.batch.status !== 'not found');
  if (!isKnown) throw new BatchNotFoundError(batchId);
  print(describeDiagnosis(diagnosis, { advice: true }), diagnosisJson(diagnosis));
  if (diagnosis.findings.some(isAttention)) throw new FoundWantingError();
}

async function examineAll(sources: Sources, print: Print): Promise<void> {
  const { database, temporal, idleMs } = sources;
  await assertMigratedIfReachable(database);
  const still = await selectStillOrError(database, idleMs);
  const diagnoses = await mapConcurrently(still.ids, (id) => examine(sources, id));
  const omitted = still.count - diagnoses.length;
  // Said once, not for each batch.
  const servers = serverFindings({
    ...(still.error === undefined ? {} : { databaseError: still.error }),
    ...('error' in temporal ? { temporalError: temporal.error } : {}),
  });
  const batches = diagnoses.map(({ facts, findings }) => ({
    facts,
    findings: findings.filter(({ code }) => !servers.some((server) => server.code === code)),
  }));
  const text = [
    ...(servers.length > 0 ? [describeFindings(servers, { advice: true, now: Date.now() })] : []),
    ...batches.map((diagnosis) => describeDiagnosis(diagnosis, { advice: false })),
    ...(omitted > 0 ? [`... and ${omitted} more.\n`] : []),
    still.error === undefined ? closingLine(batches.length, idleMs) : '',
  ].join('\n');
  print(text, { idleMs, omitted, findings: findingsJson(servers), batches: batches.map(diagnosisJson) });
  if ([...servers, ...batches.flatMap(({ findings }) => findings)].some(isAttention))
    throw new FoundWantingError();
}

async function selectStillOrError(
  database: Database,
  idleMs: number,
): Promise<{ ids: string[]; count: number; error?: string }> {
  try {
    return await selectStill(database, idleMs, MAX_BATCHES);
  } catch (error) {
    if (!isTransient(error)) throw error;
    return { ids: [], count: 0, error: reasonOf(error) };
  }
}

function closingLine(count: number, idleMs: number): string {
  return count === 0
    ? `Nothing stands still: every batch is over, or changed within the last ${span(idleMs)}.\n`
    : '`batch-jobs doctor <batch id>` says what to do.\n';
}

async function examine(sources: Sources, batchId: string): Promise<Diagnosis> {
  const facts = await gather(sources, batchId);
  return { facts, findings: diagnose(facts) };
}

function isAttention({ severity }: Finding): boolean {
  return severity === 'attention';
}

/** A database that is away is a finding of its own. */
async function assertMigratedIfReachable(database: Database): Promise<void> {
  try {
    await assertMigrated(database);
  } catch (error) {
    if (!isTransient(error)) throw error;
  }
}

/** A Temporal that is away is a finding, too, and the rows may say enough. */
async function withTemporal(
  settings: TemporalSettings,
  run: (temporal: Sources['temporal']) => Promise<void>,
): Promise<void> {
  let connection: Awaited<ReturnType<TemporalSettings['connect']>>;
  try {
    connection = await settings.connect();
  } catch (error) {
    return run({ error: `${settings.address}: ${reasonOf(error)}` });
  }
  try {
    await run(new TemporalReader(connection.client, settings.address));
  } finally {
    await connection.close();
  }
}

async function mapConcurrently<T, R>(values: readonly T[], map: (value: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const entries = values.entries();
  // Iterators are shared: each of them takes the next value.
  const work = async () => {
    for (const [index, value] of entries) results[index] = await map(value);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return results;
}
