import type { Knex } from 'knex';
import type { BatchOutcome } from '../../workflows/batch-state.ts';
import { MEMBER_BATCH } from '../jobs/member-batch.ts';
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

/** @param isLocking so that no replica answers */
export async function selectMembers(
  { knex, schema }: Database,
  batchIds: readonly string[],
  { isLocking = false }: { readonly isLocking?: boolean } = {},
): Promise<Map<string, MemberBatch>> {
  const { rows } = await knex.raw(
    `select id, case when settled_at is not null then status end as outcome, failed_count as failed, total,
       enrollment_error as "enrollmentError", stop_reason as "stopReason",
       (extract(epoch from created_at) * 1000)::double precision as "startedAt",
       (extract(epoch from settled_at) * 1000)::double precision as "settledAt"
     from :schema:.batches where id = any(:batchIds::text[]) and pruned_at is null${isLocking ? ' for key share' : ''}`,
    { schema, batchIds },
  );
  return new Map(rows.map((row: MemberBatch) => [row.id, row]));
}

/**
 * Which of these batches wait for another one, because it is a job of theirs, or of a job of theirs, and so on: the ids
 * from that one over the batch and back to it. Whether jobs have ended plays no part: a round may run them again.
 *
 * Served by batch_jobs_members. Each batch is visited once, however many ways lead to it.
 */
export async function selectCycles(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  batchId: string,
  memberIds: readonly string[],
): Promise<Map<string, string[]>> {
  const { rows } = await waysQuery({ knex, schema }, batchId, memberIds);
  const owners = new Map<string, string[]>();
  for (const { owner, member } of rows as { owner: string; member: string }[])
    owners.set(member, [...(owners.get(member) ?? []), owner]);
  return cyclesOver(batchId, memberIds, owners);
}

/** All that these batches wait for, if the other one is among it. */
export function waysQuery(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  batchId: string,
  memberIds: readonly string[],
): Knex.Raw {
  return knex.raw(
    `with recursive reached (id) as (
       select unnest(:memberIds::text[])
       union
       select m.id from reached r cross join lateral (
         select j.args ->> 0 as id from :schema:.batch_jobs j
         where j.batch_id = r.id and j.worker_class = '${MEMBER_BATCH.name}' offset 0
       ) m
       where r.id <> :batchId
     )
     select j.batch_id as owner, j.args ->> 0 as member
     from :schema:.batch_jobs j
     where j.batch_id = any(array(select id from reached)) and j.worker_class = '${MEMBER_BATCH.name}'
       and exists (select 1 from reached where id = :batchId)`,
    { schema, batchId, memberIds: [...memberIds] },
  );
}

/**
 * Breadth first, backwards: the shortest way from each batch to `batchId`.
 *
 * @param owners of each batch that is a job: the batches that it is a job of
 */
export function cyclesOver(
  batchId: string,
  memberIds: readonly string[],
  owners: ReadonlyMap<string, readonly string[]>,
): Map<string, string[]> {
  const next = new Map<string, string>();
  const queue = [batchId];
  for (const member of queue) {
    for (const owner of owners.get(member) ?? []) {
      if (owner === batchId || next.has(owner)) continue;
      next.set(owner, member);
      queue.push(owner);
    }
  }
  const cycles = new Map<string, string[]>();
  for (const memberId of memberIds) {
    if (memberId !== batchId && !next.has(memberId)) continue;
    const path = [batchId];
    for (let id = memberId; id !== batchId; id = next.get(id)!) path.push(id);
    cycles.set(memberId, [...path, batchId]);
  }
  return cycles;
}

/**
 * Names the first jobs of a batch that are batches, workflows or activities and have not ended, for people. Reads the
 * rows of the batch's jobs.
 */
export async function selectNested(
  { knex, schema }: Database,
  batchId: string,
  limit: number,
): Promise<string[]> {
  const { rows } = await knex.raw(
    `select case
       when j.workflow_id is not null then 'workflow "' || j.workflow_id || '"'
       when j.activity_id is not null then 'activity "' || j.activity_id || '"'
       else 'batch "' || (j.args ->> 0) || '"' || coalesce(' (' || n.status || ')', '') end as name
     from :schema:.jobs j
     left join :schema:.batches n on j.worker_class = :member and n.id = j.args ->> 0 and n.pruned_at is null
     where j.batch_id = :batchId and j.status = 'pending'
       and (j.worker_class = :member or j.workflow_id is not null or j.activity_id is not null)
     order by j.position limit :limit`,
    { schema, batchId, limit, member: MEMBER_BATCH.name },
  );
  return rows.map(({ name }: { name: string }) => name);
}
