import type { Knex } from 'knex';
import type { Database } from './connect.ts';
import { jsonBytes } from './json-bytes.ts';

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

/** Results that one query reads hold no more bytes with their arguments, but for a single one. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;

interface PageOptions {
  /** Results behind this position. */
  readonly after: number;
  readonly pageSize: number;
  readonly workerClass?: string | undefined;
}

/** The next results of a batch: so many, or as many as fit. */
export async function selectResultPage(
  database: Database,
  batchId: string,
  { after, pageSize, workerClass }: PageOptions,
): Promise<{ rows: JobResult[]; isLast: boolean }> {
  const { knex } = database;
  const page = selectResults(database, batchId).where('position', '>', after).limit(pageSize);
  if (workerClass !== undefined) void page.where({ worker_class: workerClass });
  const sized = knex
    .from(page.as('page'))
    .select(
      'page.*',
      knex.raw(`sum(${jsonBytes('args')} + ${jsonBytes('result')}) over through as bytes`),
      knex.raw('row_number() over through as number, count(*) over () as count'),
    )
    .joinRaw('window through as (order by position rows unbounded preceding)');
  const rows: (JobResult & { bytes: string; number: string; count: string })[] = await knex
    .from(sized.as('sized'))
    .where('bytes', '<=', MAX_PAGE_BYTES)
    .orWhere('number', 1)
    .orderBy('position');
  const found = Number(rows[0]?.count ?? 0);
  return {
    rows: rows.map(({ bytes: _bytes, number: _number, count: _count, ...result }) => result),
    isLast: found < pageSize && rows.length === found,
  };
}
