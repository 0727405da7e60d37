import { SpanKind } from '@opentelemetry/api';
import { instruments } from './instruments.ts';
import { inSpan } from './tracing.ts';

/** Observes an enrolment block, from its first job to its seal. @param run returns the batch's total */
export async function observeBlock(batchId: string, run: () => Promise<number>): Promise<number> {
  const startedAt = performance.now();
  let outcome: 'closed' | 'failed' = 'failed';
  try {
    return await inSpan(
      'batch.enrol',
      { kind: SpanKind.PRODUCER, attributes: { 'batch_jobs.batch_id': batchId } },
      async (span) => {
        const total = await run();
        outcome = 'closed';
        span?.setAttribute('batch_jobs.total', total);
        return total;
      },
    );
  } finally {
    instruments()?.blockDuration.record((performance.now() - startedAt) / 1_000, { outcome });
  }
}
