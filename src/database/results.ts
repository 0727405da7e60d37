import type { Knex } from 'knex';
import type { Database } from './connect.ts';

/** A job and what its handler returned, as `results()` and `eachResult()` give it. */
export interface JobResult<Result = unknown, Args extends readonly unknown[] = unknown[]> {
  readonly position: number;
  readonly jid: string;
  readonly workerClass: string;
  readonly args: Args;
  readonly result: Result;
}

/** Selects columns under the names of {@link JobResult}, so that a query builder's rows need no mapping. */
const RESULT_COLUMNS: Readonly<Record<keyof JobResult, string>> = {
  position: 'position',
  jid: 'jid',
  workerClass: 'worker_class',
  args: 'args',
  result: 'result',
};

/**
 * Results of a batch, in order; a Knex query builder to chain on. Served by the primary key: an index on results would
 * make the updates that write them slow.
 */
export function selectResults<Result>(
  { knex, schema }: Database,
  batchId: string,
): Knex.QueryBuilder<object, JobResult<Result>[]> {
  return knex
    .withSchema(schema)
    .from('jobs')
    .where({ batch_id: batchId })
    .whereNotNull('result')
    .orderBy('position')
    .select<JobResult<Result>[]>(RESULT_COLUMNS);
}
