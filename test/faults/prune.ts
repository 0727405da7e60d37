import type { Client } from '@temporalio/client';
import type { Knex } from 'knex';
import { BatchClient } from '../../src/index.ts';
import type { PruneEvidence } from './evidence.ts';

const OWED = ['registered', 'scheduled', 'running'];
const TABLES = {
  batches: 'id',
  batch_jobs: 'batch_id',
  batch_starts: 'batch_id',
  batch_callbacks: 'batch_id',
  batch_past_rounds: 'batch_id',
  batch_job_past_rounds: 'batch_id',
};

/** Removes all that has settled, and looks at what is left. */
export async function pruneAll(options: {
  readonly knex: Knex;
  readonly schema: string;
  readonly client: Client;
  readonly databaseUrl: string;
}): Promise<PruneEvidence> {
  const { knex, schema, client, databaseUrl } = options;
  const from = (table: string) => knex.withSchema(schema).from(table);
  const owed = new Set(await from('batch_callbacks').whereIn('status', OWED).pluck('batch_id'));
  const rows = await from('batches').select('id', 'settled_at');
  const counts = await from('batch_jobs').groupBy('batch_id').select('batch_id').count({ jobs: '*' });
  const jobs = new Map(counts.map(({ batch_id, jobs }) => [batch_id, Number(jobs)]));
  const before = rows.map(({ id, settled_at }) => ({
    id,
    isPrunable: settled_at !== null && !owed.has(id),
    jobs: jobs.get(id) ?? 0,
  }));
  const batches = new BatchClient({ client, database: databaseUrl, schema });
  try {
    const result = await batches.prune({ olderThan: '1ms' });
    const left: Record<string, string[]> = {};
    for (const [table, column] of Object.entries(TABLES))
      left[table] = await from(table).distinct().pluck(column);
    return { before, result, left };
  } finally {
    await batches.close();
  }
}
