import { SpanKind, trace, type Context, type Tracer } from '@opentelemetry/api';
import { failSpan } from '../src/telemetry/tracing.ts';

/** How an attempt of a job ended. `stopped`: from outside, and it is not counted. */
export type AttemptOutcome = 'complete' | 'failed' | 'retried' | 'stopped';

interface TracedJob {
  /** Absent: it belongs to no batch. */
  readonly batchId?: string;
  readonly jid: string;
  readonly round?: number;
  readonly attempt: number;
}

/** Starts the span of a job's attempt. @returns what its handler is to run in */
export function startJobSpan(
  tracer: Tracer,
  workerClass: string,
  { batchId, jid, round, attempt }: TracedJob,
  parent: Context,
): Context {
  const attributes = {
    ...(batchId === undefined ? {} : { 'batch_jobs.batch_id': batchId }),
    ...(round === undefined ? {} : { 'batch_jobs.round': round }),
    'batch_jobs.jid': jid,
    'batch_jobs.worker_class': workerClass,
    'batch_jobs.attempt': attempt,
  };
  const span = tracer.startSpan(`job ${workerClass}`, { kind: SpanKind.CONSUMER, attributes }, parent);
  return trace.setSpan(parent, span);
}

/** @param within what {@link startJobSpan} returned */
export function endJobSpan(within: Context, outcome: AttemptOutcome, error: unknown): void {
  const span = trace.getSpan(within);
  if (!span) return;
  span.setAttribute('batch_jobs.outcome', outcome);
  if (outcome === 'failed' || outcome === 'retried') failSpan(span, error);
  span.end();
}
