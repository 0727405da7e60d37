import { SpanKind } from '@opentelemetry/api';
import type { Database } from '../src/database/connect.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import { inSpan, installedTracer } from '../src/telemetry/tracing.ts';
import type { CallbackInput } from './contract.ts';
import { traceOf } from './trace-of.ts';

/** Observes an attempt of a callback. */
export async function observeCallback(
  database: Database,
  { batchId, round, event, callback }: CallbackInput,
  attempt: number,
  run: () => Promise<void>,
): Promise<void> {
  const startedAt = performance.now();
  const noteEnd = (outcome: 'completed' | 'failed') => {
    const seconds = (performance.now() - startedAt) / 1_000;
    instruments()?.callbackDuration.record(seconds, { callback, event, outcome });
  };
  try {
    await inSpan(
      `callback ${callback}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: {
          'batch_jobs.batch_id': batchId,
          'batch_jobs.round': round,
          'batch_jobs.event': event,
          'batch_jobs.callback': callback,
          'batch_jobs.attempt': attempt,
        },
      },
      run,
      installedTracer() && (await traceOf(database, batchId)),
    );
  } catch (error) {
    noteEnd('failed');
    throw error;
  }
  noteEnd('completed');
  instruments()?.callbacksEnded.add(1, { callback, event, outcome: 'completed' });
}
