import type { Knex } from 'knex';
import type {
  AlertBatchInput,
  CreateBatchInput,
  DiscardBatchInput,
  FinishBatchInput,
  FinishBatchResult,
  SealBatchInput,
  SteerBatchInput,
  TakeOverBlockInput,
} from '../../activities/contract.ts';
import type { BatchOutcome, BatchSettings, Growth, Sealed } from '../../workflows/batch-state.ts';
import type { SteeredRow } from '../../workflows/steering.ts';
import { describePolicy } from '../../workflows/failure-policy.ts';
import { existingLimits } from '../../workflows/limits.ts';
import { toStorable } from '../json-value.ts';
import type { Database } from './connect.ts';
import { convertStarts } from './starts.ts';
import { BATCH_COLUMNS, JOB_COLUMNS, type BatchRow, type JobRecord } from './rows.ts';

/** What the row says of a batch, or of a round of it, that has just settled. Times as epoch milliseconds. */
export interface Settlement {
  readonly round: number;
  readonly total: number;
  readonly completed: number;
  readonly failed: number;
  /** Jobs that are cancelled, and were not before this round. */
  readonly cancelled: number;
  readonly startedAt: number;
  readonly settledAt: number;
  /** See `BatchSettings`. */
  readonly trace: Readonly<Record<string, string>> | null;
}

/** A block that was opened. */
export interface ClaimedBlock {
  /** Its rows and messages carry it. Begins with the batch's first run. */
  readonly token: string;
  /** A sign of life is due several times in this time. */
  readonly quietTimeMs: number;
}

/** What `markFinished` tells of what it has committed. */
export interface FinishListener {
  /** The batch has settled, by this call and not before. */
  readonly settled?: (settlement: Settlement) => void;
  /** So many jobs were made of workflows that handlers were about to start. */
  readonly enrolled?: (jobs: number) => void;
}

/** With its callbacks. @returns whether the row is this workflow's: false when another batch has the id */
export async function insertBatch(
  { knex, schema }: Database,
  input: Omit<CreateBatchInput, 'startedAt'>,
): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `with created as (insert into :schema:.batches as b
       (id, first_execution_run_id, parent_batch_id, description, context, definition, auto_seal, shared, settings, fail_when_failed,
         deadline_at, limits)
     values (:batchId, :firstExecutionRunId, :parentBatchId, :description, :context::jsonb, :definition::jsonb, :autoSeal,
       not :autoSeal, :settings::jsonb, :failWhenFailed, to_timestamp(:deadlineAt::double precision / 1000),
       :limits::jsonb)
     on conflict (id) do update set updated_at = b.updated_at
       where b.first_execution_run_id = excluded.first_execution_run_id
     returning id
     ), registered as (
       insert into :schema:.batch_callbacks (batch_id, round, event, callback, registration)
       select id, 1, r ->> 'event', r ->> 'callback', r from created cross join jsonb_array_elements(:callbacks::jsonb) r
       on conflict (batch_id, round, event) do nothing
     )
     select id from created`,
    {
      schema,
      ...input,
      callbacks: JSON.stringify(input.callbacks),
      context: JSON.stringify(input.context),
      definition: JSON.stringify(input.definition),
      autoSeal: input.settings.autoSeal,
      ...settingsColumns(input.settings),
    },
  );
  return rowCount > 0;
}

/** The settings, for the rounds to come; and what people want to see of them. */
export function settingsColumns(settings: BatchSettings) {
  const limits = existingLimits(settings);
  return {
    settings: JSON.stringify(settings),
    failWhenFailed: describePolicy(settings.failWhenFailed),
    deadlineAt: settings.deadlineAt,
    limits: limits && JSON.stringify(limits),
  };
}

/**
 * Fixes what the block has enrolled, and removes rows that an enqueuer wrote and never announced (it died, or was too
 * late). Where the database numbers jobs, none is removed: their callers know that they are members, so that the total
 * is what the row says. Workflows that a block was about to start are jobs of the batch from then on. All at once: no
 * one sees a sealed batch whose total is still to change.
 *
 * `for update` waits for inserts that hold `for key share` on the batch, and makes later ones find it sealed:
 * without it, an insert that began before could add rows behind the delete.
 *
 * @param onEnrolled told once they are committed how many jobs were made of such workflows, if any
 * @returns what the row says, whoever sealed it; null if somebody deleted the row
 */
export async function markSealed(
  database: Database,
  input: SealBatchInput,
  onEnrolled?: (jobs: number) => void,
): Promise<Sealed | null> {
  return (await markSealedAsAnnounced(database, input)) ?? markSealedAsFound(database, input, onEnrolled);
}

/**
 * What most blocks need: the row has as many jobs as were announced, so that there are no others to remove. Where the
 * lock was waited for, Postgres checks the condition again against the row as it is by then.
 */
async function markSealedAsAnnounced(
  { knex, schema }: Database,
  { batchId, total, error }: SealBatchInput,
): Promise<Sealed | undefined> {
  const { rows } = await knex.raw(
    `with locked as materialized (select id from :schema:.batches where id = :batchId for update)
     update :schema:.batches
     set status = 'running', enrollment_error = :error, sealed_at = now(), updated_at = now()
     where id = (select id from locked) and sealed_at is null and not shared and total = :total
     returning total, queues, enrollment_error as error`,
    { schema, batchId, total, error: error === null ? null : toStorable(error) },
  );
  return rows[0];
}

async function markSealedAsFound(
  { knex, schema }: Database,
  input: SealBatchInput,
  onEnrolled?: (jobs: number) => void,
): Promise<Sealed | null> {
  const { batchId } = input;
  let enrolled = 0;
  const sealed = await knex.transaction(async (trx) => {
    const { rows } = await trx.raw(
      `with locked as materialized (select id from :schema:.batches where id = :batchId for update)
       update :schema:.batches
       set status = 'running', total = case when shared then total else :total end, enrollment_error = :error,
         sealed_at = now(), updated_at = now()
       where id = (select id from locked) and sealed_at is null
       returning total, queues, enrollment_error as error`,
      { schema, batchId, total: input.total, error: input.error === null ? null : toStorable(input.error) },
    );
    // By itself, so that it finds what the lock was waited for. Handlers that add jobs make the batch a shared one in
    // the transaction of their rows, so that none of those is removed when a seal is repeated.
    const { rows: starts } = await trx.raw(
      `with removed as (
         delete from :schema:.batch_jobs
         where batch_id = :batchId and position >
           (select total from :schema:.batches where id = :batchId and sealed_at is not null and not shared)
       )
       select 1 from :schema:.batch_starts where batch_id = :batchId and not by_handler limit 1`,
      { schema, batchId },
    );
    if (starts.length > 0)
      await convertStarts({ knex: trx, schema }, { batchId, ofHandlers: false }, (jobs) => (enrolled = jobs));
    if (starts.length === 0 && rows.length > 0) return rows[0];
    const row = await selectStanding({ knex: trx, schema }, batchId);
    return row ? { total: row.total, queues: row.queues, error: row.error } : null;
  });
  if (enrolled > 0) onEnrolled?.(enrolled);
  return sealed;
}

/**
 * Gives the batch's one block to who asks first: by rows affected, so that one of several gets it. Repeating it changes
 * nothing. The batch's workflow hears of it with the first message that has the token.
 *
 * @param name of this opening
 * @returns undefined: the batch takes no block any more, or it is open-ended, or gone
 */
export async function claimBlock(
  { knex, schema }: Database,
  batchId: string,
  name: string,
): Promise<ClaimedBlock | undefined> {
  const { rows } = await knex.raw(
    `update :schema:.batches
     set enrollment_token = first_execution_run_id || '/' || :name, openings = 1, updated_at = now()
     where id = :batchId and auto_seal and sealed_at is null and stopped_at is null and pruned_at is null
       and (openings = 0 or (openings = 1 and enrollment_token = first_execution_run_id || '/' || :name))
     returning enrollment_token as token, (settings ->> 'enrollmentTimeoutMs')::double precision as "quietTimeMs"`,
    { schema, batchId, name },
  );
  return rows[0];
}

/**
 * Whether an open-ended batch takes blocks: its row says so, and nobody has to be asked. Rows of a block are refused by
 * themselves when it has closed meanwhile.
 *
 * @param token the batch's first run, which all its blocks have as their token
 * @returns undefined: it takes none any more, or it is not open-ended, or gone
 */
export async function selectOpenEnded(
  { knex, schema }: Database,
  batchId: string,
  token: string,
): Promise<ClaimedBlock | undefined> {
  const { rows } = await knex.raw(
    `select first_execution_run_id as token, (settings ->> 'openTimeoutMs')::double precision as "quietTimeMs"
     from :schema:.batches
     where id = :batchId and first_execution_run_id = :token and not auto_seal and sealed_at is null
       and stopped_at is null and pruned_at is null`,
    { schema, batchId, token },
  );
  return rows[0];
}

/**
 * Whose block it is. By a lock, so that no replica answers: the batch closes a block that nobody has.
 *
 * @returns the token of the process that has it; null: nobody has it
 */
export async function selectBlock({ knex, schema }: Database, batchId: string): Promise<string | null> {
  const row = await knex
    .withSchema(schema)
    .from('batches')
    .where('id', batchId)
    .forKeyShare()
    .first<{ token: string | null }>('enrollment_token as token');
  return row?.token ?? null;
}

/**
 * Gives the block to another process: the inserts of the one that had it are refused from then on. `for update` waits
 * for those that are under way, so that the total that is returned has their rows. The newest opening wins, in whatever
 * order they arrive. Workflows that the one that had it was about to start are jobs from then on.
 *
 * @param onEnrolled told once they are committed how many jobs were made of such workflows, if any
 * @returns the total by now; null if somebody deleted the row
 */
export async function markTakenOver(
  { knex, schema }: Database,
  input: TakeOverBlockInput,
  onEnrolled?: (jobs: number) => void,
): Promise<Growth | null> {
  const { batchId } = input;
  await knex.transaction(async (trx) => {
    await trx.raw('select from :schema:.batches where id = :batchId for update', { schema, batchId });
    // The task queues of rows that were never announced. Served by the primary key.
    await trx.raw(
      `update :schema:.batches
       set enrollment_token = :token, openings = :opening, shared = true, updated_at = now(),
         queues = array(
           select unnest(queues) union
           select task_queue from :schema:.batch_jobs
           where batch_id = :batchId and position > :announced and task_queue is not null)
       where id = :batchId and openings < :opening and sealed_at is null`,
      { schema, ...input },
    );
  });
  await convertStarts({ knex, schema }, { batchId, ofHandlers: false }, onEnrolled);
  const row = await selectStanding({ knex, schema }, batchId);
  return row ? { total: row.total, queues: row.queues } : null;
}

/** How a batch stands by its row, whoever wrote it. By a lock, so that no replica says that the row is gone. */
interface Standing extends Sealed {
  readonly round: number;
  readonly outcome: BatchOutcome | null;
}

async function selectStanding(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  batchId: string,
): Promise<Standing | undefined> {
  const { rows } = await knex.raw(
    `select total, queues, enrollment_error as error, round, case when completed_at is not null then status end as outcome
     from :schema:.batches where id = :batchId for key share`,
    { schema, batchId },
  );
  return rows[0];
}

/** Task queues of jobs that have not ended, other than the batch's own. Reads all rows of the batch. */
export async function selectQueues({ knex, schema }: Database, batchId: string): Promise<string[]> {
  return knex
    .withSchema(schema)
    .from('batch_jobs')
    .where({ batch_id: batchId, status: 'pending' })
    .whereNotNull('task_queue')
    .distinct()
    .pluck('task_queue');
}

/** Deletes the row of this workflow; one that another workflow wrote for the same id stays. */
export async function deleteBatch(
  { knex, schema }: Database,
  { batchId, firstExecutionRunId }: DiscardBatchInput,
): Promise<void> {
  await knex
    .withSchema(schema)
    .from('batches')
    .where({ id: batchId, first_execution_run_id: firstExecutionRunId })
    .delete();
}

/**
 * Writes what workers must hear of; the newest change wins, in whatever order they arrive.
 *
 * @returns what the row says where it is no older than this; null: it was written, or somebody deleted the row
 */
export async function markSteered(
  { knex, schema }: Database,
  input: SteerBatchInput,
): Promise<SteeredRow | null> {
  const { batchId, round, steering, isPaused, stop } = input;
  const { rowCount } = await knex.raw(
    `update :schema:.batches
     set steering = :steering,
       paused_at = case when :isPaused then coalesce(paused_at, now()) end,
       stopped_at = case when :isStopped then coalesce(stopped_at, now()) end,
       stop_reason = :reason, stop_outcome = :outcome, stop_grace_ms = :graceMs, settings = :settings::jsonb,
       fail_when_failed = :failWhenFailed,
       deadline_at = to_timestamp(:deadlineAt::double precision / 1000), limits = :limits::jsonb, updated_at = now()
     where id = :batchId and round = :round and steering < :steering`,
    {
      schema,
      batchId,
      round,
      steering,
      isPaused,
      isStopped: stop !== null,
      reason: stop && toStorable(stop.reason),
      outcome: stop && stop.outcome,
      graceMs: stop && stop.graceMs,
      ...settingsColumns(input.settings),
    },
  );
  if (rowCount > 0) return null;
  const { rows } = await knex.raw(
    `select steering, case when stopped_at is not null
       then jsonb_build_object('outcome', stop_outcome, 'reason', stop_reason, 'graceMs', stop_grace_ms) end as stop
     from :schema:.batches where id = :batchId and round = :round for key share`,
    { schema, batchId, round },
  );
  return rows[0] ?? null;
}

/** How many jobs have ended, and how long nothing was recorded. A batch whose row is gone moves no more. */
export async function selectMovement(
  { knex, schema }: Database,
  batchId: string,
): Promise<{ ended: number; idleMs: number }> {
  const { rows } = await knex.raw(
    `select completed_count + failed_count as ended,
       (extract(epoch from now() - updated_at) * 1000)::double precision as "idleMs"
     from :schema:.batches where id = :batchId`,
    { schema, batchId },
  );
  return rows[0] ?? { ended: 0, idleMs: 0 };
}

/** Records an alert. Not `updated_at`, from which people see how long a batch has been idle. */
export async function markAlerted({ knex, schema }: Database, input: AlertBatchInput): Promise<void> {
  const { batchId, round, alerts } = input;
  await knex.raw(
    `update :schema:.batches set alerts = :alerts, alerted_at = now()
     where id = :batchId and round = :round and alerts < :alerts`,
    { schema, batchId, round, alerts },
  );
}

/** What became of these batches, of those that were ever paused, changed or stopped. */
export async function selectSteered(
  { knex, schema }: Database,
  batchIds: readonly string[],
): Promise<{ id: string; steering: number; graceMs: number | null }[]> {
  return knex
    .withSchema(schema)
    .from('batches')
    .whereIn('id', [...batchIds])
    .where('steering', '>', 0)
    .select('id', 'steering', 'stop_grace_ms as graceMs');
}

/**
 * Writes the outcome and which callbacks follow from it, in one statement: a callback sees all of it. Nothing is written
 * when jobs were added of which the workflow does not know: it hears of them instead. `for update` waits for those who
 * add some. Nor is an outcome replaced: the first one stays.
 *
 * @returns the counts of the row, or how the batch has grown, or its other outcome; null if somebody deleted the row
 */
export async function markFinished(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  input: FinishBatchInput,
  listener: FinishListener = {},
): Promise<FinishBatchResult> {
  const { batchId, round, outcome, settled, total } = input;
  // No job runs any more: handlers that were about to start workflows have ended without an answer.
  const isLast = settled || total !== null;
  const { rows } = await knex.raw(
    `with locked as materialized (select id from :schema:.batches where id = :batchId for update),
     finished as (
       update :schema:.batches
       set status = :outcome,
         completed_at = coalesce(completed_at, now()),
         settled_at = case when :settled then coalesce(settled_at, now()) else settled_at end,
         updated_at = now()
       where id = (select id from locked) and round = :round and sealed_at is not null
         and total <= coalesce(:total::integer, total) and (completed_at is null or status = :outcome)
         and not (:isLast and exists (select 1 from :schema:.batch_starts where batch_id = :batchId))
       returning id, round, completed_count as completed, failed_count as failed, total,
         -- The clock stands still in a statement: another one had another time.
         case when settled_at = now() then jsonb_build_object(
           'round', round, 'total', total, 'completed', completed_count, 'failed', failed_count,
           'cancelled', total - completed_count - failed_count - cancelled_count,
           'startedAt', extract(epoch from coalesce(round_started_at, created_at)) * 1000,
           'settledAt', extract(epoch from settled_at) * 1000, 'trace', settings -> 'trace')
         end as settlement
     ),
     callbacks as (
       update :schema:.batch_callbacks c
       set status = case when c.event = any(:schedule::text[]) then 'scheduled' else 'skipped' end,
         scheduled_at = case when c.event = any(:schedule::text[]) then now() else c.scheduled_at end
       from finished f
       where c.batch_id = f.id and c.round = f.round and c.status = 'registered'
         and (c.event = any(:schedule::text[]) or c.event = any(:skip::text[]))
     )
     select completed, failed, total, settlement from finished`,
    {
      schema,
      batchId,
      round,
      outcome,
      settled,
      total,
      isLast,
      schedule: [...input.schedule],
      skip: [...input.skip],
    },
  );
  if (rows.length > 0) {
    const { settlement, ...counts } = rows[0];
    if (settlement) listener.settled?.(settlement);
    return counts;
  }
  if (isLast && (await convertStarts({ knex, schema }, { batchId, ofHandlers: true }, listener.enrolled)))
    return markFinished({ knex, schema }, input, listener);
  const row = await selectStanding({ knex, schema }, batchId);
  if (!row || row.round !== round) return null;
  if (total !== null && row.total > total) return { growth: { total: row.total, queues: row.queues } };
  if (row.outcome !== null && row.outcome !== outcome) return { decided: row.outcome };
  // Others may have made jobs of such workflows at the same moment: then the next try writes it.
  throw new Error(
    `Batch "${batchId}" could not be ended as ${outcome}: its row is not sealed, or was just changed.`,
  );
}

/** A batch that is being pruned is no more. @param isLocking so that no replica answers */
export async function selectBatch(
  { knex, schema }: Database,
  batchId: string,
  { isLocking = false }: { readonly isLocking?: boolean } = {},
): Promise<BatchRow | undefined> {
  const query = knex.withSchema(schema).from('batches').where('id', batchId).whereNull('pruned_at');
  if (isLocking) query.forKeyShare();
  return query.first<BatchRow>(BATCH_COLUMNS);
}

/** Newest first; served by batches_created_at. */
export function selectBatches({ knex, schema }: Database): Knex.QueryBuilder<object, BatchRow[]> {
  return knex
    .withSchema(schema)
    .from('batches')
    .whereNull('pruned_at')
    .select<BatchRow[]>(BATCH_COLUMNS)
    .orderBy('created_at', 'desc')
    .orderBy('id');
}

/** Jobs of a batch in one status, in order; a Knex query builder to chain on. */
export function selectJobs(
  { knex, schema }: Database,
  batchId: string,
  status: JobRecord['status'],
): Knex.QueryBuilder<object, JobRecord[]> {
  const query = knex.withSchema(schema).from('jobs').where({ batch_id: batchId, status }).orderBy('position');
  // Failed jobs have an error: the clause lets the partial index batch_jobs_errors serve them.
  if (status === 'failed') query.whereNotNull('error_class');
  return query.select<JobRecord[]>(JOB_COLUMNS);
}
