import { log } from '@temporalio/activity';
import { context, type Context } from '@opentelemetry/api';
import type { Database } from '../src/database/connect.ts';
import { selectTrace } from '../src/database/trace.ts';
import { contextOf } from '../src/telemetry/tracing.ts';

/**
 * The trace of a batch. Read from its row where a worker has an SDK, a query a chunk or callback: so it is in no
 * message, and costs the history nothing. Without an answer what follows is a trace of its own.
 */
export async function traceOf(database: Database, batchId: string): Promise<Context> {
  try {
    return contextOf(await selectTrace(database, batchId));
  } catch (error) {
    log.debug('The trace of a batch could not be read', { batchId, error: String(error) });
    return context.active();
  }
}
