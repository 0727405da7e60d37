import type { FailedJob } from '../../workflows/failed-sample.ts';
import type { Database } from './connect.ts';

/** Why jobs failed for good, the first ones of these positions. */
export async function selectFailedJobs(
  { knex, schema }: Database,
  batchId: string,
  positions: readonly number[],
): Promise<FailedJob[]> {
  // Messages are cut here already: a row's may have 10,000 characters.
  const { rows } = await knex.raw(
    `select position, worker_class as name, error_class as "errorClass", left(error_message, 400) as message
     from :schema:.batch_jobs
     where batch_id = :batchId and position = any (:positions::integer[]) and status = 'failed'
       and error_class is not null
     order by position`,
    { schema, batchId, positions: [...positions] },
  );
  return rows;
}
