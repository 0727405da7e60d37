import type { TraceCarrier } from '../telemetry/tracing.ts';
import type { Database } from './connect.ts';

/** The trace that a batch, or its present round, was started in. Served by the primary key. */
export async function selectTrace(
  { knex, schema }: Database,
  batchId: string,
): Promise<TraceCarrier | null | undefined> {
  const row = await knex
    .withSchema(schema)
    .from('batches')
    .where('id', batchId)
    .first<{ trace: TraceCarrier | null } | undefined>(knex.raw("settings -> 'trace' as trace"));
  return row?.trace;
}
