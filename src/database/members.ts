import type { BatchOutcome } from '../../workflows/batch-state.ts';
import type { Database } from './connect.ts';

/** How a batch stands that is a job of another one. */
export interface MemberBatch {
  readonly id: string;
  /** Null until it has settled. */
  readonly outcome: BatchOutcome | null;
  readonly failed: number;
  readonly total: number;
  readonly enrollmentError: string | null;
  readonly stopReason: string | null;
  /** Epoch milliseconds. */
  readonly startedAt: number;
  readonly settledAt: number | null;
}

export async function selectMembers(
  { knex, schema }: Database,
  batchIds: readonly string[],
): Promise<Map<string, MemberBatch>> {
  const { rows } = await knex.raw(
    `select id, case when settled_at is not null then status end as outcome, failed_count as failed, total,
       enrollment_error as "enrollmentError", stop_reason as "stopReason",
       (extract(epoch from created_at) * 1000)::double precision as "startedAt",
       (extract(epoch from settled_at) * 1000)::double precision as "settledAt"
     from :schema:.batches where id = any(:batchIds::text[]) and pruned_at is null`,
    { schema, batchIds },
  );
  return new Map(rows.map((row: MemberBatch) => [row.id, row]));
}
