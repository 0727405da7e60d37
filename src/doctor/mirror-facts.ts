import type { Knex } from 'knex';
import { selectBatch } from '../database/batches.ts';
import { selectCallbacks } from '../database/callbacks.ts';
import type { Database } from '../database/connect.ts';
import { toBatchRecord } from '../database/rows.ts';
import { LATE } from '../timeouts.ts';
import {
  OPEN_CALLBACKS,
  type ErrorFacts,
  type MirrorFacts,
  type NamedLimitFacts,
  type PendingFacts,
  type SuspectFacts,
  type WorkflowJobFacts,
} from './facts.ts';

/** Suspects and error classes are examples: a few say as much as all. */
const EXAMPLES = 5;
const MINUTE_MS = 60_000;
/** Workflows whose ends tell whether ends are reported. */
const LAST_ENDS = 20;
/** Ends of workflows that no code of theirs lives to report. */
const UNREPORTABLE = [
  'WorkflowDeletedError',
  'WorkflowNotStartedError',
  'WorkflowTerminatedError',
  'WorkflowTimedOutError',
];

/**
 * Batches that are not over and whose rows did not change for a time, the longest first; behind them those with a
 * callback that has failed for good, served by batch_callbacks_errors. And how many there are.
 */
export async function selectStill(
  { knex, schema }: Database,
  idleMs: number,
  limit: number,
): Promise<{ ids: string[]; count: number }> {
  const { rows } = await knex.raw(
    `select id, count(*) over ()::int as count
     from (
       select id, updated_at, updated_at < now() - :idleMs::double precision * interval '1 ms'
         and (settled_at is null or exists (
           select 1 from :schema:.batch_callbacks c where c.batch_id = b.id and c.status = any(:open::text[])))
         as still
       from :schema:.batches b
       where pruned_at is null
     ) b
     where still or id in (
       select c.batch_id from :schema:.batch_callbacks c join :schema:.batches f on f.id = c.batch_id and f.round = c.round
       where c.status = 'failed' and c.error_class is not null)
     order by still desc, updated_at
     limit :limit`,
    { schema, idleMs, limit, open: `{${OPEN_CALLBACKS.join(',')}}` },
  );
  return { ids: rows.map(({ id }: { id: string }) => id), count: rows[0]?.count ?? 0 };
}

/**
 * What the rows say about a batch, as of one moment. Counting its pending jobs scans its rows: about a second for a
 * million of them.
 */
export async function readMirror(
  database: Database,
  batchId: string,
): Promise<{ now: number; mirror?: MirrorFacts }> {
  return database.knex.transaction(
    async (trx) => {
      const snapshot = { ...database, knex: trx };
      const { rows } = await trx.raw(`select (extract(epoch from now()) * 1000)::double precision as now`);
      const now: number = rows[0].now;
      const row = await selectBatch(snapshot, batchId);
      if (!row) return { now };
      const batch = toBatchRecord(row);
      const callbacks = await selectCallbacks(snapshot, batchId);
      const movedAt = Math.max(
        row.updated_at.getTime(),
        ...callbacks.map(({ started_at }) => started_at?.getTime() ?? 0),
        ...callbacks.map(({ finished_at }) => finished_at?.getTime() ?? 0),
      );
      const hasPending = batch.progress.pending > 0;
      const endedByName = now - movedAt > MINUTE_MS ? {} : await countEnded(snapshot, batchId);
      const mirror: MirrorFacts = {
        batch,
        movedAt,
        endedLately: Object.values(endedByName).reduce((sum, count) => sum + count, 0),
        endedByName,
        limits: await selectLimits(snapshot, batchId),
        namedLimits: hasPending ? await selectNamedLimits(snapshot, batchId) : [],
        callbacks,
        pending: hasPending ? await selectPending(snapshot, batchId) : [],
        errors: hasPending ? await selectErrors(snapshot, batchId) : [],
        suspects: hasPending ? await selectSuspects(snapshot, batchId) : [],
        workflows: await selectWorkflows(snapshot, batchId),
      };
      return { now, mirror };
    },
    { readOnly: true, isolationLevel: 'repeatable read' },
  );
}

interface Snapshot {
  readonly knex: Knex.Transaction;
  readonly schema: string;
}

async function countEnded({ knex, schema }: Snapshot, batchId: string): Promise<Record<string, number>> {
  const { rows } = await knex.raw(
    `select worker_class as name, count(*)::int as count from :schema:.batch_jobs
     where batch_id = :batchId and status <> 'pending' and updated_at > now() - interval '1 minute'
     group by 1`,
    { schema, batchId },
  );
  return Object.fromEntries(rows.map(({ name, count }: { name: string; count: number }) => [name, count]));
}

async function selectLimits({ knex, schema }: Snapshot, batchId: string): Promise<MirrorFacts['limits']> {
  const { rows } = await knex.raw('select limits from :schema:.batches where id = :batchId', {
    schema,
    batchId,
  });
  return rows[0].limits;
}

/** Reads no jobs if there is no named limit. */
async function selectNamedLimits({ knex, schema }: Snapshot, batchId: string): Promise<NamedLimitFacts[]> {
  const { rows } = await knex.raw(
    `select l.name, j.due, l.max_concurrent as "maxConcurrent", l.per_second as "perSecond",
       l.key_max_concurrent as "keyMaxConcurrent", l.running, l.waiting
     from (
       select options -> 'limit' ->> 'name' as name, count(*)::int as due from :schema:.batch_jobs
       where batch_id = :batchId and status = 'pending' and options -> 'limit' is not null
         and (due_at is null or due_at <= now() or attempts = 0)
         and exists (select 1 from :schema:.named_limits)
       group by 1
     ) j
     join :schema:.limits l using (name)
     order by 1`,
    { schema, batchId },
  );
  return rows;
}

async function selectPending({ knex, schema }: Snapshot, batchId: string): Promise<PendingFacts[]> {
  const { rows } = await knex.raw(
    `select task_queue as "taskQueue", worker_class as "workerClass", count(*)::int as count,
       count(*) filter (where due_at > now() and attempts > 0)::int as retrying,
       (extract(epoch from min(due_at) filter (where due_at > now() and attempts > 0)) * 1000)::double precision
         as "retryAt",
       count(*) filter (where due_at > now() and attempts = 0)::int as delayed,
       (extract(epoch from min(due_at) filter (where due_at > now() and attempts = 0)) * 1000)::double precision
         as "startAt"
     from :schema:.batch_jobs
     where batch_id = :batchId and status = 'pending'
     group by 1, 2 order by 3 desc, 1, 2`,
    { schema, batchId },
  );
  return rows;
}

/** Served by batch_jobs_errors. */
async function selectErrors({ knex, schema }: Snapshot, batchId: string): Promise<ErrorFacts[]> {
  const { rows } = await knex.raw(
    `select error_class as "errorClass", mode() within group (order by left(error_message, 500)) as "errorMessage",
       count(*)::int as count
     from :schema:.batch_jobs
     where batch_id = :batchId and status = 'pending' and error_class is not null
     group by 1 order by 3 desc, 1 limit :limit`,
    { schema, batchId, limit: EXAMPLES },
  );
  return rows;
}

async function selectSuspects({ knex, schema }: Snapshot, batchId: string): Promise<SuspectFacts[]> {
  const { rows } = await knex.raw(
    `select position, worker_class as "workerClass", losses
     from :schema:.batch_jobs
     where batch_id = :batchId and status = 'pending' and losses > 0
     order by losses desc, position limit :limit`,
    { schema, batchId, limit: EXAMPLES },
  );
  return rows;
}

/** Served by batch_jobs_executions. Workers of activities report no ends. */
async function selectWorkflows({ knex, schema }: Snapshot, batchId: string): Promise<WorkflowJobFacts> {
  const { rows } = await knex.raw(
    `select waiting.*, ended.* from
       (select count(*)::int as pending, count(activity_id)::int as activities,
          (extract(epoch from min(created_at)) * 1000)::double precision as "pendingSince"
        from :schema:.batch_jobs
        where batch_id = :batchId and (workflow_id is not null or activity_id is not null)
          and status = 'pending') waiting,
       (select count(*)::int as ended, count(*) filter (where lag > :lateMs)::int as late,
          coalesce(max(lag), 0)::double precision as "lagMs"
        from (select extract(epoch from updated_at - finished_at) * 1000 as lag
              from :schema:.batch_jobs
              where batch_id = :batchId and workflow_id is not null and status <> 'pending'
                and (error_class is null or error_class <> all(:unreportable::text[]))
              order by finished_at desc limit :limit) last) ended`,
    { schema, batchId, lateMs: LATE.report, limit: LAST_ENDS, unreportable: `{${UNREPORTABLE.join(',')}}` },
  );
  return rows[0];
}
