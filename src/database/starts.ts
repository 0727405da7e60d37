import type { Database } from './connect.ts';
import { lockBatch, refuse, type Adder, type NotNumbered } from './enroll-numbered.ts';
import { executionKey, idColumns, type Execution } from './executions.ts';

/** An execution that is about to be started as a job. */
export interface ExecutionStart extends Execution {
  readonly type: string;
  /** JSON text of the arguments array. */
  readonly argsJson: string;
  /** The start may find that it runs already: that one is the job then, whoever started it. */
  readonly mayAttach: boolean;
}

/** A start with what tells it from another one of the same execution. */
export interface TokenedStart {
  readonly start: ExecutionStart;
  readonly token: string;
}

/** Options that rows of executions have. */
export interface ExecutionOverrides {
  readonly mayAttach?: boolean;
}

/** JSON text of {@link ExecutionOverrides}, or null. */
export function overridesOf({ mayAttach }: ExecutionStart): string | null {
  return mayAttach ? JSON.stringify({ mayAttach } satisfies ExecutionOverrides) : null;
}

/**
 * Records starts that are about to be requested: a batch that is closed from now on has their executions as jobs, unless
 * they are taken back. The batch's row is locked first, so that of several starts of one execution one gets through, and
 * none that is a job already. From then on the database numbers the batch's jobs. Repeating it gives the same answer.
 *
 * @returns the tokens of those that may go; or why the batch takes none
 */
export async function insertStarts(
  { knex, schema }: Database,
  input: {
    readonly batchId: string;
    readonly adder: Adder;
    readonly starts: readonly TokenedStart[];
    /** Task queues of the jobs that a block has numbered itself: from now on they are jobs, announced or not. */
    readonly queues: readonly string[];
  },
): Promise<ReadonlySet<string> | NotNumbered> {
  const { batchId, queues, starts } = input;
  return knex.transaction(async (trx) => {
    const batch = await lockBatch(trx, schema, batchId);
    const refusal = batch ? await refuse(trx, schema, batch, input) : 'closed';
    if (refusal !== undefined) return refusal;
    if (!batch!.shared) {
      const known = [...new Set([...batch!.queues, ...queues])];
      await trx
        .withSchema(schema)
        .from('batches')
        .where('id', batchId)
        .update({ shared: true, queues: known });
    }
    // Jobs are looked up one by one in batch_jobs_keys: see `insertNumbered`. The last part finds what an earlier try has written.
    const { rows } = await trx.raw(
      `with inserted as (
         insert into :schema:.batch_starts
           (batch_id, key, workflow_id, activity_id, token, by_handler, worker_class, args, options)
         select :batchId, s ->> 0, s ->> 1, s ->> 2, s ->> 3, :byHandler, s ->> 4, s -> 5, nullif(s -> 6, 'null')
         from jsonb_array_elements(:json::jsonb) s
         where not exists (
           select 1 from :schema:.batch_jobs
           where batch_id = :batchId and key = s ->> 0 and key is not null offset 0)
         on conflict (batch_id, key) do nothing
         returning token
       )
       select token from inserted
       union all
       select w.token from jsonb_array_elements(:json::jsonb) s
       join :schema:.batch_starts w on w.batch_id = :batchId and w.key = s ->> 0 and w.token = s ->> 3`,
      { schema, batchId, byHandler: 'job' in input.adder, json: toJson(starts) },
    );
    return new Set<string>(rows.map(({ token }: { token: string }) => token));
  });
}

function toJson(starts: readonly TokenedStart[]): string {
  const rows = starts.map(
    ({ start, token }) =>
      `[${JSON.stringify(executionKey(start))},${idColumns(start)},${JSON.stringify(token)},` +
      `${JSON.stringify(start.type)},${start.argsJson},${overridesOf(start) ?? 'null'}]`,
  );
  return `[${rows.join(',')}]`;
}

/** Takes a start back that was refused. */
export async function deleteStart({ knex, schema }: Database, batchId: string, token: string): Promise<void> {
  await knex.withSchema(schema).from('batch_starts').where({ batch_id: batchId, token }).delete();
}

/**
 * Makes jobs of the starts whose answers nobody waits for any more: their process died, or the batch was closed
 * meanwhile. What became of them is found out by looking. To be called once no more of them can come.
 *
 * @param ofHandlers those of handlers, too: a batch that goes on leaves them alone
 * @param onEnrolled told once they are committed how many jobs were made of them, if any
 * @returns whether there were any
 */
export async function convertStarts(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  { batchId, ofHandlers }: { readonly batchId: string; readonly ofHandlers: boolean },
  onEnrolled?: (jobs: number) => void,
): Promise<boolean> {
  const { starts, jobs }: { starts: number; jobs: number } = await knex.transaction(async (trx) => {
    await lockBatch(trx, schema, batchId);
    const { rows } = await trx.raw(
      `with start as (
         delete from :schema:.batch_starts where batch_id = :batchId and (:ofHandlers or not by_handler) returning *
       ), fresh as (
         select s.*, b.round, (b.total + row_number() over (order by s.created_at, s.key))::integer as position
         from start s join :schema:.batches b on b.id = s.batch_id
         where not exists (
           select 1 from :schema:.batch_jobs
           where batch_id = :batchId and key = s.key and key is not null offset 0)
       ), inserted as (
         insert into :schema:.batch_jobs
           (batch_id, position, jid, key, round, worker_class, args, options, workflow_id, activity_id)
         select batch_id, position, batch_id || '/' || position, key, round, worker_class, args, options, workflow_id,
           activity_id
         from fresh
         returning 1
       ), counted as (
         update :schema:.batches set total = total + (select count(*) from inserted), updated_at = now()
         where id = :batchId and exists (select 1 from inserted)
       )
       select (select count(*) from start)::int as starts, (select count(*) from inserted)::int as jobs`,
      { schema, batchId, ofHandlers },
    );
    return rows[0];
  });
  if (jobs > 0) onEnrolled?.(jobs);
  return starts > 0;
}
