import type { Knex } from 'knex';
import type {
  CreateBatchInput,
  DiscardBatchInput,
  FinishBatchInput,
  SealBatchInput,
  SteerBatchInput,
} from '../../activities/contract.ts';
import { toStorable } from '../json-value.ts';
import type { Database } from './connect.ts';
import { BATCH_COLUMNS, JOB_COLUMNS, type BatchRow, type JobRecord } from './rows.ts';

/** @returns whether the row is this workflow's: false when another batch has the id */
export async function insertBatch(
  { knex, schema }: Database,
  input: Omit<CreateBatchInput, 'startedAt'>,
): Promise<boolean> {
  const { rowCount } = await knex.raw(
    `insert into :schema:.batches as b
       (id, first_execution_run_id, description, context, fail_when_failed, deadline_at, limits)
     values (:batchId, :firstExecutionRunId, :description, :context::jsonb, :failWhenFailed,
       to_timestamp(:deadlineAt::double precision / 1000), :limits::jsonb)
     on conflict (id) do update set updated_at = b.updated_at
       where b.first_execution_run_id = excluded.first_execution_run_id`,
    {
      schema,
      ...input,
      context: JSON.stringify(input.context),
      limits: input.limits && JSON.stringify(input.limits),
    },
  );
  return rowCount > 0;
}

/**
 * Fixes the total, and removes rows that an enqueuer wrote and never announced (it died, or was too late).
 *
 * `for update` waits for inserts that hold `for key share` on the batch, and makes later ones find it sealed:
 * without it, an insert that began before could add rows behind the delete.
 */
export async function markSealed({ knex, schema }: Database, input: SealBatchInput): Promise<void> {
  await knex.transaction(async (trx) => {
    await trx.raw('select id from :schema:.batches where id = :batchId for update', {
      schema,
      batchId: input.batchId,
    });
    const { rowCount } = await trx.raw(
      `update :schema:.batches
       set status = 'running', total = :total, enrollment_error = :error, sealed_at = now(), updated_at = now()
       where id = :batchId and sealed_at is null`,
      {
        schema,
        batchId: input.batchId,
        total: input.total,
        error: input.error === null ? null : toStorable(input.error),
      },
    );
    if (rowCount === 0) return;
    // Served by the primary key.
    await trx.raw('delete from :schema:.batch_jobs where batch_id = :batchId and position > :total', {
      schema,
      batchId: input.batchId,
      total: input.total,
    });
  });
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

/** Writes what workers must hear of; the newest change wins, in whatever order they arrive. */
export async function markSteered({ knex, schema }: Database, input: SteerBatchInput): Promise<void> {
  await knex.raw(
    `update :schema:.batches
     set steering = :steering,
       paused_at = case when :isPaused then coalesce(paused_at, now()) end,
       stopped_at = case when :isStopped then coalesce(stopped_at, now()) end,
       stop_reason = :reason, stop_grace_ms = :graceMs, fail_when_failed = :failWhenFailed,
       deadline_at = to_timestamp(:deadlineAt::double precision / 1000), limits = :limits::jsonb, updated_at = now()
     where id = :batchId and steering < :steering`,
    {
      schema,
      batchId: input.batchId,
      steering: input.steering,
      isPaused: input.isPaused,
      isStopped: input.stop !== null,
      reason: input.stop && toStorable(input.stop.reason),
      graceMs: input.stop && input.stop.graceMs,
      failWhenFailed: input.failWhenFailed,
      deadlineAt: input.deadlineAt,
      limits: input.limits && JSON.stringify(input.limits),
    },
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
 * Writes the outcome and which callbacks follow from it, in one transaction: a callback sees all of it.
 *
 * @returns the counts of the row; null if somebody deleted it
 */
export async function markFinished(
  { knex, schema }: Database,
  input: FinishBatchInput,
): Promise<{ completed: number; failed: number } | null> {
  const { batchId, outcome, settled } = input;
  return knex.transaction(async (trx) => {
    const { rows } = await trx.raw(
      `update :schema:.batches
       set status = :outcome,
           completed_at = coalesce(completed_at, now()),
           settled_at = case when :settled then coalesce(settled_at, now()) else settled_at end,
           updated_at = now()
       where id = :batchId and sealed_at is not null
       returning completed_count as completed, failed_count as failed`,
      { schema, batchId, outcome, settled },
    );
    const callbacks = () => trx.withSchema(schema).from('batch_callbacks').where('batch_id', batchId);
    await callbacks()
      .whereIn('event', [...input.schedule])
      .where('status', 'registered')
      .update({ status: 'scheduled', scheduled_at: trx.fn.now() });
    await callbacks()
      .whereIn('event', [...input.skip])
      .where('status', 'registered')
      .update({ status: 'skipped' });
    return rows[0] ?? null;
  });
}

export async function selectBatch(
  { knex, schema }: Database,
  batchId: string,
): Promise<BatchRow | undefined> {
  return knex.withSchema(schema).from('batches').where('id', batchId).first<BatchRow>(BATCH_COLUMNS);
}

/** Newest first; served by batches_created_at. */
export function selectBatches({ knex, schema }: Database): Knex.QueryBuilder<object, BatchRow[]> {
  return knex
    .withSchema(schema)
    .from('batches')
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
