import type { Knex } from 'knex';
import type { OpenRoundInput } from '../../activities/contract.ts';
import type { BatchSettings, BatchStatus, CallbackRegistration } from '../../workflows/batch-state.ts';
import type { LostRound, OpenedRound } from '../../workflows/rounds.ts';
import { countOf, formatSpans, type Span } from '../../workflows/spans.ts';
import { settingsColumns } from './batches.ts';
import { IN_SPANS, spanArrays } from './chunks.ts';
import { toStorable } from '../json-value.ts';
import type { Database } from './connect.ts';
import { convertStarts } from './starts.ts';

/** A round's jobs are given to its workflow as so many spans at most: where they are scattered, others lie between. */
const MAX_SPANS = 1_000;

/**
 * Opens the next round of a batch that has settled, or whose workflow was terminated: keeps what its rows say, and makes its failed jobs, or all that did not
 * succeed, pending again. In one transaction that holds the batch's row; repeating it gives the same answer.
 *
 * @returns null when this round was opened by another run, or the batch is gone
 */
export async function markRoundOpened(
  { knex, schema }: Database,
  input: OpenRoundInput,
): Promise<OpenedRound | null> {
  const { batchId, number, firstExecutionRunId } = input;
  return knex.transaction(async (trx) => {
    const { rows } = await trx.raw(
      `select round, settled_at, first_execution_run_id from :schema:.batches
       where id = :batchId and pruned_at is null for update`,
      { schema, batchId },
    );
    const [batch] = rows;
    if (!batch) return null;
    const isOpened = batch.round === number && batch.first_execution_run_id === firstExecutionRunId;
    if (!isOpened) {
      if (batch.round !== number - 1) return null;
      if (batch.settled_at === null) {
        const { lost } = input;
        if (!lost || batch.first_execution_run_id !== lost.firstExecutionRunId) return null;
        await settleLost(trx, schema, input, lost);
      }
      await keepRound(trx, schema, input);
      await startRound(trx, schema, input);
    }
    return readRound(trx, schema, input);
  });
}

/**
 * Settles the row of a round whose workflow was terminated: its unfinished jobs are cancelled, and so is the round unless
 * its outcome was decided before. A block that was open is closed, and has broken. A callback that had not ended never
 * will: the next round has its own.
 */
async function settleLost(
  trx: Knex.Transaction,
  schema: string,
  { batchId, number }: OpenRoundInput,
  { reason }: LostRound,
): Promise<void> {
  // Starts that were under way are jobs from then on: what became of them is found by looking.
  await convertStarts({ knex: trx, schema }, { batchId, ofHandlers: true });
  await trx.raw(
    `update :schema:.batches
     set status = case when completed_at is null then 'cancelled' else status end,
       enrollment_error = coalesce(enrollment_error, case when sealed_at is null then :error end),
       sealed_at = coalesce(sealed_at, now()), completed_at = coalesce(completed_at, now()), settled_at = now(),
       stopped_at = coalesce(stopped_at, now()), stop_reason = coalesce(stop_reason, :reason),
       stop_outcome = coalesce(stop_outcome, 'cancelled'), stop_grace_ms = coalesce(stop_grace_ms, 0)
     where id = :batchId`,
    { schema, batchId, reason: toStorable(reason), error: toStorable(`The block was open: ${reason}`) },
  );
  await trx.raw(
    `update :schema:.batch_callbacks
     set status = case status when 'running' then 'failed' else 'skipped' end, finished_at = now(),
       error_class = case status when 'running' then 'WorkflowTerminatedError' else error_class end,
       error_message = case status when 'running' then :reason else error_message end
     where batch_id = :batchId and round = :before and status in ('registered', 'scheduled', 'running')`,
    { schema, batchId, before: number - 1, reason: toStorable(reason) },
  );
}

/**
 * Served by batch_jobs_errors for the failed jobs; cancelled ones are found by the primary key. Those of a lost round
 * are pending in it; those of earlier ones were cancelled there.
 */
const DID_NOT_SUCCEED = `batch_id = :batchId and
  (status = 'failed' and error_class is not null
    or status = 'pending' and (:cancelled or :isLost and round = :number - 1))`;

async function keepRound(trx: Knex.Transaction, schema: string, input: OpenRoundInput): Promise<void> {
  const { batchId, cancelled, lost, number } = input;
  const isLost = lost !== undefined;
  await trx.raw(
    `insert into :schema:.batch_past_rounds
       (batch_id, round, status, total, completed_count, failed_count, started_at, completed_at, settled_at, stop_reason)
     select id, round, status, total, completed_count, failed_count, coalesce(round_started_at, created_at),
       completed_at, settled_at, stop_reason
     from :schema:.batches where id = :batchId`,
    { schema, batchId },
  );
  await trx.raw(
    `insert into :schema:.batch_job_past_rounds
       (batch_id, position, round, status, attempts, error_class, error_message, started_at, finished_at)
     select batch_id, position, round, case status when 'pending' then 'cancelled' else status end, attempts,
       error_class, error_message, started_at, finished_at
     from :schema:.batch_jobs where ${DID_NOT_SUCCEED}`,
    { schema, batchId, cancelled, isLost, number },
  );
  await trx.raw(
    `insert into :schema:.batch_callbacks (batch_id, round, event, callback, registration)
     select batch_id, round + 1, event, callback, registration
     from :schema:.batch_callbacks where batch_id = :batchId and round = :before`,
    { schema, batchId, before: input.number - 1 },
  );
}

async function startRound(trx: Knex.Transaction, schema: string, input: OpenRoundInput): Promise<void> {
  const { batchId, number, cancelled, firstExecutionRunId, lost } = input;
  const { rowCount } = await trx.raw(
    `update :schema:.batch_jobs
     set status = 'pending', round = :number, attempts = 0, due_at = null, losses = 0, marked_at = null,
       error_class = null, error_message = null, error_stack = null, started_at = null, finished_at = null, updated_at = now()
     where ${DID_NOT_SUCCEED}`,
    { schema, batchId, number, cancelled, isLost: lost !== undefined },
  );
  await trx.raw(
    `update :schema:.batches
     set round = :number, round_started_at = now(), complete_before_round = completed_count,
       first_execution_run_id = :firstExecutionRunId, status = 'running', failed_count = 0,
       cancelled_count = total - completed_count - :jobs, alerts = 0, alerted_at = null, completed_at = null, settled_at = null, steering = 0,
       paused_at = null, stopped_at = null, stop_reason = null, stop_outcome = null, stop_grace_ms = null, settings = :settings::jsonb,
       fail_when_failed = :failWhenFailed, deadline_at = to_timestamp(:deadlineAt::double precision / 1000),
       limits = :limits::jsonb,
       updated_at = now()
     where id = :batchId`,
    { schema, batchId, number, firstExecutionRunId, jobs: rowCount, ...settingsColumns(input.settings) },
  );
}

async function readRound(
  trx: Knex.Transaction,
  schema: string,
  { batchId, number }: OpenRoundInput,
): Promise<OpenedRound> {
  const batch = await trx
    .withSchema(schema)
    .from('batches')
    .where('id', batchId)
    .first('total', 'completed_count', 'cancelled_count', 'enrollment_error');
  const spans = await selectSpans(trx, schema, { batchId, number });
  const { rows: within } = await trx.raw(
    `select
       count(*) filter (where job.status = 'complete')::int as completed,
       count(*) filter (where job.status = 'pending' and job.round < :number)::int as cancelled
     ${IN_SPANS}`,
    { schema, batchId, number, ...spanArrays(spans) },
  );
  const { rows: queues } = await trx.raw(
    `select distinct task_queue from :schema:.batch_jobs
     where batch_id = :batchId and round = :number and task_queue is not null`,
    { schema, batchId, number },
  );
  const completed = batch.completed_count - within[0].completed;
  const cancelled = batch.cancelled_count - within[0].cancelled;
  return {
    spans: formatSpans(spans),
    total: batch.total,
    // What is neither: rows that somebody deleted.
    others: { completed, cancelled, failed: batch.total - countOf(spans) - completed - cancelled },
    cancelled: batch.cancelled_count,
    queues: queues.map(({ task_queue }: { task_queue: string }) => task_queue),
    enrollmentError: batch.enrollment_error,
  };
}

/** The jobs of the round, as spans that are cut at the widest gaps between them. */
async function selectSpans(
  trx: Knex.Transaction,
  schema: string,
  { batchId, number }: { batchId: string; number: number },
): Promise<Span[]> {
  const { rows } = await trx.raw(
    `with job as (
       select position, position - lag(position) over (order by position) - 1 as gap
       from :schema:.batch_jobs where batch_id = :batchId and round = :number
     ), cut as (
       select position from job where gap > 0 order by gap desc, position limit :cuts
     )
     select min(job.position) as first, max(job.position) as last
     from (
       select job.position, count(cut.position) over (order by job.position) as span
       from job left join cut on cut.position = job.position
     ) job
     group by span order by first`,
    { schema, batchId, number, cuts: MAX_SPANS - 1 },
  );
  return rows.map(({ first, last }: { first: number; last: number }) => [first, last] as const);
}

/** What a next round is made from. */
export interface RoundBasis {
  readonly round: number;
  readonly settings: BatchSettings;
  readonly callbacks: readonly CallbackRegistration[];
}

/** @param isLocking so that no replica answers: the round gets the callbacks that are read here, and no others */
export async function selectRoundBasis(
  { knex, schema }: Database,
  batchId: string,
  { isLocking }: { readonly isLocking: boolean },
): Promise<RoundBasis | undefined> {
  const { rows } = await knex.raw(
    `select b.round, b.settings,
       coalesce((select jsonb_agg(c.registration) from :schema:.batch_callbacks c
         where c.batch_id = b.id and c.round = b.round), '[]') as callbacks
     from :schema:.batches b where b.id = :batchId and b.pruned_at is null${isLocking ? ' for key share' : ''}`,
    { schema, batchId },
  );
  return rows[0];
}

/** A round of a batch as `Batch.rounds` returns it. */
export interface RoundRecord {
  /** From 1. */
  readonly round: number;
  readonly status: BatchStatus;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly startedAt: Date;
  /** When its outcome was decided, or null. */
  readonly completedAt: Date | null;
  /** When all its jobs were terminal, or null. */
  readonly settledAt: Date | null;
  /** Why it was stopped, or null. */
  readonly stopReason: string | null;
}

export async function selectRounds({ knex, schema }: Database, batchId: string): Promise<RoundRecord[]> {
  return knex
    .withSchema(schema)
    .from('batch_rounds')
    .where('batch_id', batchId)
    .orderBy('round')
    .select<RoundRecord[]>({
      round: 'round',
      status: 'status',
      total: 'total',
      complete: 'complete',
      failed: 'failed',
      cancelled: 'cancelled',
      startedAt: 'started_at',
      completedAt: 'completed_at',
      settledAt: 'settled_at',
      stopReason: 'stop_reason',
    });
}
