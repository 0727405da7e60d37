import type { Knex } from 'knex';
import { questionsAbout } from './queries.ts';

/** What SQL says about a batch that is over. */
export interface BatchFacts {
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly pending: number;
  /** The same, counted from the rows of the jobs. */
  readonly rows: {
    readonly total: number;
    readonly complete: number;
    readonly failed: number;
    readonly pending: number;
  };
  /** Jobs that succeeded after an attempt that failed. */
  readonly retried: number;
  readonly scores: number;
  readonly leaderboardRows: number;
  /** Runs of callbacks, as they logged them themselves. */
  readonly callbackRuns: readonly { readonly event: string; readonly callback: string }[];
}

export interface FailureGroup {
  readonly error_class: string;
  readonly jobs: number;
  readonly example: string;
}

export interface LeaderboardEntry {
  readonly name: string;
  readonly country: string;
  readonly population: number;
  readonly score: number;
}

export async function readFacts(knex: Knex, batchId: string): Promise<BatchFacts> {
  const { rows } = await knex.raw<{ rows: BatchFacts[] }>(
    `
select status, total, complete, failed, pending,
  (select json_build_object(
     'total', count(*),
     'complete', count(*) filter (where status = 'complete'),
     'failed', count(*) filter (where status = 'failed'),
     'pending', count(*) filter (where status = 'pending'))
   from batch_jobs where batch_id = p.id) as rows,
  (select count(*)::int from batch_jobs
   where batch_id = p.id and status = 'complete' and attempts > 1) as retried,
  (select count(*)::int from city_scores where batch_id = p.id) as scores,
  (select count(*)::int from leaderboard where batch_id = p.id) as "leaderboardRows",
  (select coalesce(json_agg(json_build_object('event', event, 'callback', callback) order by ran_at), '[]')
   from callback_log where batch_id = p.id) as "callbackRuns"
from batch_progress p
where id = ?`,
    [batchId],
  );
  if (!rows[0]) throw new Error(`There is no batch "${batchId}".`);
  return rows[0];
}

export async function readFailures(knex: Knex, schema: string, batchId: string): Promise<FailureGroup[]> {
  const { rows } = await knex.raw<{ rows: FailureGroup[] }>(questionsAbout(schema, batchId).failures);
  return rows;
}

export async function readLeaderboard(
  knex: Knex,
  schema: string,
  batchId: string,
): Promise<LeaderboardEntry[]> {
  const { rows } = await knex.raw<{ rows: LeaderboardEntry[] }>(questionsAbout(schema, batchId).leaderboard);
  return rows;
}
