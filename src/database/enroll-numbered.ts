import type { Knex } from 'knex';
import type { Database } from './connect.ts';
import type { EnrolledJob } from './enroll.ts';
import { idColumns, type Execution } from './executions.ts';
import { selectCycles } from './members.ts';

/** A job with what tells it from the others of its batch: see `batch_jobs_keys` in the migration. */
export interface KeyedJob {
  readonly job: EnrolledJob;
  readonly key: string;
  /** Of a job that is a workflow or an activity, which was started or may have been. */
  readonly execution?: StartedExecution;
  /** Of a batch that is a job: its id. */
  readonly memberId?: string;
}

/** Nothing was added, because these batches wait for this one: how, by the id of each. */
export interface MemberCycles {
  readonly cycles: ReadonlyMap<string, readonly string[]>;
}

export interface StartedExecution extends Execution {
  /** Null where the answer of the start was lost. */
  readonly runId: string | null;
}

/** Who adds jobs: a block, by its token, or a handler, by its own job. */
export type Adder = { readonly token: string } | { readonly job: HandlerJob };

export interface HandlerJob {
  readonly position: number;
  /** Of the batch: the job may be pending again in a later one. */
  readonly round: number;
  readonly attempt: number;
}

export interface NumberedJobs {
  readonly batchId: string;
  readonly adder: Adder;
  readonly jobs: readonly KeyedJob[];
  /** Task queues of the jobs that the adder has added to the batch in another way, and of these. */
  readonly queues: readonly string[];
  /** An earlier try may have been committed, and its answer lost. */
  readonly isRepeated: boolean;
}

export interface Numbered {
  /** Of each job, in order; those that had been there before keep theirs. */
  readonly positions: readonly number[];
  /** How many of them this call added; of a repeated one, which may have added them before, all. */
  readonly added: number;
  /** Jobs of the batch: `1..total` have rows. */
  readonly total: number;
  /** The task queues of all that were added like this so far. */
  readonly queues: readonly string[];
}

/**
 * Why nothing was added: the batch takes no jobs (of this adder) any more; the handler's own job has ended; or its
 * batch's block is open and numbers its jobs itself, so that no other may until it has closed.
 */
export type NotNumbered = 'closed' | 'ended' | 'busy';

export interface LockedBatch {
  readonly total: number;
  readonly queues: string[];
  readonly shared: boolean;
  readonly enrollment_token: string | null;
  readonly isSealed: boolean;
  readonly isOver: boolean;
  readonly round: number;
}

/**
 * Adds jobs at the end of a batch, in one transaction. The batch's row is locked first, so that positions have no
 * holes, whoever else adds: each statement after that sees what the one before in the queue has committed. Of jobs with
 * the same key there is one: the first one that came. Repeating the call changes nothing, because every job has a key.
 */
export async function insertNumbered(
  { knex, schema }: Database,
  input: NumberedJobs,
): Promise<Numbered | NotNumbered | MemberCycles> {
  return knex.transaction(async (trx) => {
    const batch = await lockBatch(trx, schema, input.batchId);
    const refusal = batch ? await refuse(trx, schema, batch, input) : 'closed';
    if (batch && refusal === undefined) {
      const cycles = await cyclesOf(trx, schema, input);
      return cycles.size > 0 ? { cycles } : insert(trx, schema, batch, input);
    }
    // Who closed the batch meanwhile has made jobs of the executions that were being started.
    const areThere = batch?.isOver === false && input.jobs.every(({ execution }) => execution !== undefined);
    const mayBeThere = input.isRepeated || areThere;
    const before = batch && mayBeThere ? await selectPositions(trx, schema, input) : undefined;
    if (!before) return refusal!;
    const added = input.isRepeated ? before.length : 0;
    return { positions: before, added, total: batch!.total, queues: batch!.queues };
  });
}

/** Whether a handler has to wait for the end of its batch's block: see {@link NotNumbered}. Takes no lock. */
export async function selectIsBusy(
  { knex, schema }: Database,
  batchId: string,
  { position, round, attempt }: HandlerJob,
): Promise<boolean> {
  const { rows } = await knex.raw(
    `select 1 from :schema:.batches b join :schema:.batch_jobs j on j.batch_id = b.id and j.position = :position
     where b.id = :batchId and not b.shared and b.sealed_at is null and b.stopped_at is null
       and j.status = 'pending' and j.round = :round and j.attempts < :attempt`,
    { schema, batchId, position, round, attempt },
  );
  return rows.length > 0;
}

export async function lockBatch(
  trx: Knex.Transaction,
  schema: string,
  batchId: string,
): Promise<LockedBatch | undefined> {
  const { rows } = await trx.raw(
    `select total, queues, shared, round, enrollment_token, sealed_at is not null as "isSealed",
       stopped_at is not null or settled_at is not null as "isOver"
     from :schema:.batches where id = :batchId and pruned_at is null for update`,
    { schema, batchId },
  );
  return rows[0];
}

export async function refuse(
  trx: Knex.Transaction,
  schema: string,
  batch: LockedBatch,
  { batchId, adder }: Pick<NumberedJobs, 'batchId' | 'adder'>,
): Promise<NotNumbered | undefined> {
  if (batch.isOver) return 'closed';
  if ('token' in adder) {
    const { enrollment_token: token } = batch;
    return batch.isSealed || (token !== null && token !== adder.token) ? 'closed' : undefined;
  }
  // Served by the primary key. An attempt counts once it has ended: then its handler goes on without anybody.
  const { rows } = await trx.raw(
    `select 1 from :schema:.batch_jobs
     where batch_id = :batchId and position = :position and status = 'pending' and round = :round
       and attempts < :attempt`,
    { schema, batchId, ...adder.job },
  );
  if (rows.length === 0) return 'ended';
  return batch.isSealed || batch.shared ? undefined : 'busy';
}

/**
 * Which of the jobs are batches that wait for this one. Two batches that enroll each other at once lock different rows:
 * so that neither misses what the other is about to commit, all who add members to batches of a schema do so one after
 * the other. Jobs that are no batches take no such lock, and members are few.
 */
async function cyclesOf(
  trx: Knex.Transaction,
  schema: string,
  { batchId, jobs }: NumberedJobs,
): Promise<ReadonlyMap<string, readonly string[]>> {
  const memberIds = jobs.flatMap(({ memberId }) => memberId ?? []);
  if (memberIds.length === 0) return new Map();
  // After the batch's own lock: who holds this one waits for no other.
  await trx.raw(`select pg_advisory_xact_lock(hashtext('temporal-batch-jobs:members'), hashtext(?))`, [
    schema,
  ]);
  return selectCycles({ knex: trx, schema }, batchId, memberIds);
}

async function insert(
  trx: Knex.Transaction,
  schema: string,
  batch: LockedBatch,
  { batchId, jobs, queues, isRepeated }: NumberedJobs,
): Promise<Numbered> {
  const known = [...new Set([...batch.queues, ...queues])];
  // Keys that exist are looked up one by one in batch_jobs_keys: `offset 0` keeps the planner from a join that scans.
  const { rows } = await trx.raw(
    `with incoming as materialized (
       select j.n, j.job, j.job ->> 5 as key
       from jsonb_array_elements(:json::jsonb) with ordinality j (job, n)
     ), firsts as (
       select distinct on (key) n, job, key from incoming order by key, n
     ), existing as (
       select f.key, e.position
       from firsts f cross join lateral (
         select position from :schema:.batch_jobs
         where batch_id = :batchId and key = f.key and key is not null offset 0
       ) e
     ), fresh as (
       select f.job, f.key, (:total + row_number() over (order by f.n))::integer as position
       from firsts f where not exists (select 1 from existing e where e.key = f.key)
     ), inserted as (
       insert into :schema:.batch_jobs
         (batch_id, position, jid, key, round, worker_class, args, options, task_queue, due_at, workflow_id,
           activity_id, run_id)
       select
         :batchId, f.position, :batchId || '/' || f.position, f.key, :round, f.job ->> 0, f.job -> 1,
         nullif(f.job -> 2, 'null'), f.job ->> 3, now() + (f.job ->> 4)::double precision * interval '1 ms',
         f.job ->> 6, f.job ->> 7, f.job ->> 8
       from fresh f
       returning 1
     ), answered as (
       delete from :schema:.batch_starts
       where batch_id = :batchId and key in (select key from incoming where coalesce(job ->> 6, job ->> 7) is not null)
     ), counted as (
       update :schema:.batches
       set total = total + (select count(*) from inserted), shared = true,
         queues = array(select jsonb_array_elements_text(:queues::jsonb)), updated_at = now()
       where id = :batchId
       returning total
     )
     select (select total from counted) as total, (select count(*) from inserted)::int as added, array_agg(coalesce(e.position, f.position) order by i.n) as positions
     from incoming i left join existing e on e.key = i.key left join fresh f on f.key = i.key`,
    {
      schema,
      batchId,
      round: batch.round,
      total: batch.total,
      json: toJson(jobs),
      queues: JSON.stringify(known),
    },
  );
  const { positions, added, total } = rows[0];
  return { positions: positions ?? [], added: isRepeated ? jobs.length : added, total, queues: known };
}

/** Where the jobs are, if all are there. */
async function selectPositions(
  trx: Knex.Transaction,
  schema: string,
  { batchId, jobs }: NumberedJobs,
): Promise<number[] | undefined> {
  const { rows } = await trx.raw(
    `select e.position
     from jsonb_array_elements_text(:keys::jsonb) with ordinality k (key, n) cross join lateral (
       select position from :schema:.batch_jobs
       where batch_id = :batchId and key = k.key and key is not null offset 0
     ) e
     order by k.n`,
    { schema, batchId, keys: JSON.stringify(jobs.map(({ key }) => key)) },
  );
  return rows.length === jobs.length ? rows.map(({ position }: { position: number }) => position) : undefined;
}

function toJson(jobs: readonly KeyedJob[]): string {
  const rows = jobs.map(
    ({ job: [name, args, options, queue, delay], key, execution }) =>
      `[${JSON.stringify(name)},${args},${options ?? 'null'},${JSON.stringify(queue)},${delay ?? 'null'},${JSON.stringify(key)}` +
      (execution ? `,${idColumns(execution)},${JSON.stringify(execution.runId)}]` : ']'),
  );
  return `[${rows.join(',')}]`;
}
