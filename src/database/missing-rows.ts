import { RESERVED_PREFIX } from '../jobs/member-batch.ts';
import type { RunningBatch } from './chunks.ts';
import type { Database } from './connect.ts';

/** Name, in rows, of a job whose own row was gone: its name and arguments are lost. No worker runs it. */
export const MISSING_JOB = `${RESERVED_PREFIX}MissingRow`;

/** Why such a job fails. */
export const MISSING_ERROR = {
  errorClass: 'JobRowMissingError',
  errorMessage:
    'Its row was gone: somebody deleted it, or the database was restored to an earlier moment. Without its arguments ' +
    'it cannot run.',
} as const;

/** Result of {@link markMissing}. */
export interface MissingRows {
  /** Positions that had no row, and have one now that says so. The others have rows: the read was late. */
  readonly gone: readonly number[];
  /** Whether the batch runs this round; undefined: its own row is gone. */
  readonly isOpen: boolean | undefined;
}

/**
 * Gives a row that says so to each job that has none, and counts it as failed, in one statement. It decides by writing:
 * a replica refuses it, and where the row is there after all the unique key does. So no late or empty read decides.
 * Repeating it changes nothing.
 *
 * The total grows with it: after a restore to an earlier moment, the batch's row may know of fewer jobs than its workflow.
 */
export async function markMissing(
  { knex, schema }: Database,
  { batchId, round }: RunningBatch,
  positions: readonly number[],
): Promise<MissingRows> {
  const { rows } = await knex.raw(
    `with batch as materialized (
       select id, round = :round and settled_at is null as is_open from :schema:.batches where id = :batchId for update
     ), gone as (
       insert into :schema:.batch_jobs
         (batch_id, position, jid, round, worker_class, args, status, error_class, error_message, finished_at)
       select b.id, m.position, b.id || '/' || m.position, :round, :missingJob, '[]', 'failed', :errorClass,
         :errorMessage, now()
       from batch b cross join unnest(:positions::integer[]) m (position)
       where b.is_open
       on conflict (batch_id, position) do nothing
       returning position
     ), counted as (
       update :schema:.batches
       set failed_count = failed_count + (select count(*) from gone),
         total = greatest(total, (select max(position) from gone)),
         missing_count = missing_count + (select count(*) from gone),
         failure_reason = (missing_count + (select count(*) from gone))::text ||
           ' of its jobs had no row: somebody deleted them, or the database was restored to an earlier moment.',
         updated_at = now()
       where id = (select id from batch) and exists (select 1 from gone)
     )
     select (select is_open from batch) as "isOpen", array(select position from gone order by 1) as gone`,
    {
      schema,
      batchId,
      round,
      positions: `{${positions.join(',')}}`,
      missingJob: MISSING_JOB,
      ...MISSING_ERROR,
    },
  );
  const { isOpen, gone } = rows[0];
  return { isOpen: isOpen ?? undefined, gone };
}
