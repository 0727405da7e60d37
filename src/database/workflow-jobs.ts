import type { Database } from './connect.ts';
import { executionKey, type Execution } from './executions.ts';

/** What the pace of looks at a batch's workflows and activities depends on. */
export interface LookPace {
  /** Jobs of the batch that have not ended. */
  readonly pending: number;
  readonly intervalMs: number;
}

const DEFAULT_INTERVAL_MS = 30_000;

export async function selectLookPace({ knex, schema }: Database, batchId: string): Promise<LookPace> {
  const { rows } = await knex.raw(
    `select total - completed_count - failed_count - cancelled_count as pending,
       (settings ->> 'workflowCheckIntervalMs')::double precision as "intervalMs"
     from :schema:.batches where id = :batchId`,
    { schema, batchId },
  );
  return { pending: rows[0]?.pending ?? 0, intervalMs: rows[0]?.intervalMs ?? DEFAULT_INTERVAL_MS };
}

/** Positions of those of these workflows that are jobs of the batch and have not ended. Served by batch_jobs_keys. */
export async function selectPositions(
  { knex, schema }: Database,
  batchId: string,
  workflowIds: readonly string[],
): Promise<number[]> {
  const { rows } = await knex.raw(
    `select job.position
     from jsonb_array_elements_text(:keys::jsonb) key cross join lateral (
       select position from :schema:.batch_jobs
       where batch_id = :batchId and key = key.value and key is not null and status = 'pending' offset 0
     ) job`,
    {
      schema,
      batchId,
      keys: JSON.stringify(workflowIds.map((id) => executionKey({ kind: 'workflow', id }))),
    },
  );
  return rows.map(({ position }: { position: number }) => position);
}

/** Keeps the first runs that were found by looking. */
export async function updateRunIds(
  { knex, schema }: Database,
  batchId: string,
  found: readonly { readonly position: number; readonly runId: string }[],
): Promise<void> {
  await knex.raw(
    `update :schema:.batch_jobs job set run_id = f."runId"
     from jsonb_to_recordset(:found::jsonb) as f ("position" integer, "runId" text)
     where job.batch_id = :batchId and job.position = f."position" and job.status = 'pending'`,
    { schema, batchId, found: JSON.stringify(found) },
  );
}

/** A job that is a workflow or an activity and has not ended. */
export interface PendingExecution extends Execution {
  readonly position: number;
  readonly runId: string | null;
  readonly mayAttach: boolean;
  readonly round: number;
}

/** The next of them in order. Served by batch_jobs_executions. */
export async function selectPendingExecutions(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  batchId: string,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<PendingExecution[]> {
  const { rows } = await knex.raw(
    `select job.position, case when job.activity_id is null then 'workflow' else 'activity' end as kind,
       coalesce(job.workflow_id, job.activity_id) as id, job.run_id as "runId",
       coalesce((job.options ->> 'mayAttach')::boolean, false) as "mayAttach", job.round
     from :schema:.batch_jobs job
     where job.batch_id = :batchId and (job.workflow_id is not null or job.activity_id is not null)
       and job.position > :after and job.status = 'pending'
       and job.round = (select b.round from :schema:.batches b where b.id = :batchId)
     order by job.position limit :limit`,
    { schema, batchId, after, limit },
  );
  return rows;
}
