import type { Knex } from 'knex';
import type { BatchOutcome } from '../../workflows/batch-state.ts';
import type { Database } from './connect.ts';

/** Which batches a prune removes. */
export interface PruneFilter {
  /** Those that settled before: epoch milliseconds of the database's clock. It stays while a prune runs. */
  readonly settledBeforeMs: number;
  readonly statuses: readonly BatchOutcome[];
  /** Most batches; null: no limit. */
  readonly limit: number | null;
}

/** Batches of one outcome that a prune would remove. */
export interface Prunable {
  readonly status: BatchOutcome;
  readonly batches: number;
  readonly jobs: number;
  /** When the first and the last of them settled. */
  readonly oldest: Date;
  readonly newest: Date;
}

/** What one transaction removed of a batch. */
export interface PrunedSlice {
  readonly jobs: number;
  /** Whether it also removed the batch's row, and so the last of it. */
  readonly isLast: boolean;
  /** The jobs up to this position are gone. */
  readonly upTo: number;
}

/**
 * A batch `b` that nothing needs any more. Callbacks that have not ended are owed: of a batch whose workflow was
 * terminated in them, for ever.
 */
const PRUNABLE = `b.settled_at < to_timestamp(:settledBeforeMs::double precision / 1000)
       and b.pruned_at is null and b.status = any(:statuses::text[])
       and not exists (select 1 from :schema:.batch_callbacks c
         where c.batch_id = b.id and c.status not in ('completed', 'failed', 'skipped'))`;

/** The moment so long ago, by the database's clock, in epoch milliseconds. */
export async function selectMomentAgo({ knex }: Database, ms: number): Promise<number> {
  const { rows } = await knex.raw(
    `select floor(extract(epoch from now() - ?::double precision * interval '1 ms') * 1000)::text as moment`,
    [ms],
  );
  return Number(rows[0].moment);
}

/** What a prune would remove, by outcome; with it what an earlier one that died has claimed. */
export async function selectPrunable({ knex, schema }: Database, filter: PruneFilter): Promise<Prunable[]> {
  const { rows } = await knex.raw(
    `select status, count(*)::int as batches, sum(jobs)::double precision as jobs,
       min(settled_at) as oldest, max(settled_at) as newest
     from (
       select b.status, b.settled_at,
         case when b.pruned_at is null then b.total
           else (select count(*) from :schema:.batch_jobs j where j.batch_id = b.id) end as jobs
       from :schema:.batches b
       where b.pruned_at is not null or (${PRUNABLE})
       order by b.pruned_at is null, b.settled_at
       limit :limit::bigint
     ) prunable
     group by status order by status`,
    { schema, ...bindings(filter) },
  );
  return rows;
}

/**
 * Claims batches, those first that settled first: from then on they are no more, whoever asks, and only prunes touch
 * them. Those that somebody has locked are left alone; who changed one before is seen. Served by batches_settled_at.
 */
export async function claimPrunable({ knex, schema }: Database, filter: PruneFilter): Promise<string[]> {
  const { rows } = await knex.raw(
    `with prunable as materialized (
       select b.id from :schema:.batches b
       where ${PRUNABLE}
       order by b.settled_at
       limit :limit::bigint
       for update of b skip locked
     )
     update :schema:.batches b set pruned_at = now()
     from prunable where b.id = prunable.id
     returning b.id`,
    { schema, ...bindings(filter) },
  );
  return rows.map(({ id }: { id: string }) => id);
}

/** Batches that a prune has claimed and has not removed yet; it may be at work, or dead. Served by batches_pruned. */
export async function selectClaimed({ knex, schema }: Database, limit: number | null): Promise<string[]> {
  const query = knex.withSchema(schema).from('batches').whereNotNull('pruned_at').orderBy('id');
  if (limit !== null) query.limit(limit);
  return query.pluck('id');
}

/**
 * Removes jobs of a claimed batch after a position, at most `size`, and the batch itself when there are no more.
 *
 * The lock on the batch lets one prune at a time work at it, and keeps its id from becoming another batch's meanwhile.
 *
 * @returns undefined where another prune has it, or has removed it
 */
export async function deleteSlice(
  { knex, schema }: Database,
  batchId: string,
  after: number,
  size: number,
): Promise<PrunedSlice | undefined> {
  return knex.transaction(async (trx) => {
    // Without seq scans: the planner takes one where it thinks that most rows of the table are this batch's.
    const claimed = await trx.raw(
      `select set_config('enable_seqscan', 'off', true) from :schema:.batches
       where id = :batchId and pruned_at is not null for update skip locked`,
      { schema, batchId },
    );
    if (claimed.rowCount === 0) return undefined;
    const { jobs, upTo } = await deleteJobs(trx, schema, { batchId, after, size });
    const isLast = jobs < size;
    // The trigger on batches finds no jobs.
    if (isLast) await trx.withSchema(schema).from('batches').where('id', batchId).delete();
    return { jobs, isLast, upTo };
  });
}

/** From a position on, so that no slice walks over what the ones before it left dead in the primary key, which serves it. */
async function deleteJobs(
  trx: Knex.Transaction,
  schema: string,
  { batchId, after, size }: { batchId: string; after: number; size: number },
): Promise<{ jobs: number; upTo: number }> {
  const { rows } = await trx.raw(
    `with slice as materialized (
       select position from :schema:.batch_jobs
       where batch_id = :batchId and position > :after
       order by position limit :size
     ), deleted as (
       delete from :schema:.batch_jobs
       where batch_id = :batchId and position > :after and position <= (select max(position) from slice)
       returning 1
     ), past as (
       delete from :schema:.batch_job_past_rounds
       where batch_id = :batchId and position > :after and position <= (select max(position) from slice)
     )
     select (select count(*) from deleted)::int as jobs,
       coalesce((select max(position) from slice), :after) as "upTo"`,
    { schema, batchId, after, size },
  );
  return rows[0];
}

function bindings({ settledBeforeMs, statuses, limit }: PruneFilter) {
  return { settledBeforeMs, statuses: `{${statuses.join(',')}}`, limit };
}
