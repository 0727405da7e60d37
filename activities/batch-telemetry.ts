import { SpanStatusCode } from '@opentelemetry/api';
import type { BatchOutcome } from '../workflows/batch-state.ts';
import type { Settlement } from '../src/database/batches.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import { quietly } from '../src/telemetry/quietly.ts';
import { contextOf, installedTracer } from '../src/telemetry/tracing.ts';

/** Says that so many workflows became jobs here: who was about to start them has not said what came of it. */
export function noteEnrolled(jobs: number): void {
  quietly(() => instruments()?.jobsEnrolled.add(jobs));
}

/** Says that a batch, or a round of it, has settled. */
export function noteSettled(batchId: string, outcome: BatchOutcome, settlement: Settlement): void {
  const { round, total, completed, failed, cancelled, startedAt, settledAt, trace } = settlement;
  const meters = instruments();
  meters?.batchesEnded.add(1, { outcome });
  meters?.batchDuration.record((settledAt - startedAt) / 1_000, { outcome });
  if (cancelled > 0) meters?.jobsEnded.add(cancelled, { outcome: 'cancelled' });
  const span = installedTracer()?.startSpan(
    'batch.round',
    {
      startTime: startedAt,
      attributes: {
        'batch_jobs.batch_id': batchId,
        'batch_jobs.round': round,
        'batch_jobs.outcome': outcome,
        'batch_jobs.total': total,
        'batch_jobs.complete': completed,
        'batch_jobs.failed': failed,
        'batch_jobs.cancelled': cancelled,
      },
    },
    contextOf(trace),
  );
  if (outcome === 'failed') {
    span?.setStatus({ code: SpanStatusCode.ERROR, message: `${failed} of ${total} jobs failed` });
  }
  span?.end(settledAt);
}
