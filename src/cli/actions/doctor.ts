import type { Command } from 'commander';
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
import type { DoctorFlags } from '../commands/doctor.ts';
import type { CliContext } from '../context.ts';
import { requireDatabaseUrl } from '../database-url.ts';
import { FoundWantingError } from '../exit-code.ts';
import { temporalSettings, type TemporalSettings } from '../temporal.ts';

/** Without an id, so many batches are looked at; the list says how many more there are. */
const MAX_BATCHES = 100;
/** Batches that are asked about at once. */
const CONCURRENCY = 4;

/** Prints what was found, and throws when that needs attention. */
export async function runDoctor(
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
    ? `Nothing stands still: every batch is over, with its callbacks, or changed within the last ${span(idleMs)}.\n`
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
