/** The questions that the demo asks at its end, as it shows them: each works in psql as it stands. */
export interface Questions {
  readonly progress: string;
  readonly failures: string;
  readonly retries: string;
  readonly leaderboard: string;
}

/** @param schema a plain identifier @param batchId of the library's alphabet, so it needs no quoting */
export function questionsAbout(schema: string, batchId: string): Questions {
  return {
    progress: `select id, status, total, complete, failed, pending, percent, jobs_per_second
from ${schema}.batch_progress order by created_at;`,
    failures: `select error_class, count(*)::int as jobs, min(error_message) as example
from ${schema}.failed_jobs where batch_id = '${batchId}' group by error_class order by jobs desc;`,
    retries: `select attempts, status, count(*)::int as jobs
from ${schema}.batch_jobs where batch_id = '${batchId}' group by attempts, status order by attempts, status;`,
    leaderboard: `select name, country, population, round(score::numeric, 2)::float as score
from ${schema}.leaderboard where batch_id = '${batchId}' order by score desc limit 10;`,
  };
}
