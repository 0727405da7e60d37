import { activityInfo } from '@temporalio/activity';
import {
  context,
  SpanKind,
  trace as traces,
  type Attributes,
  type Context,
  type Tracer,
} from '@opentelemetry/api';
import type { Database } from '../src/database/connect.ts';
import { instruments, type Instruments } from '../src/telemetry/instruments.ts';
import { quietly } from '../src/telemetry/quietly.ts';
import { failSpan, installedTracer } from '../src/telemetry/tracing.ts';
import { parseSpans } from '../workflows/spans.ts';
import type { ChunkInput } from './contract.ts';
import type { ChunkReport } from '../workflows/range-state.ts';
import { endJobSpan, startJobSpan, type AttemptOutcome } from './job-span.ts';
import { traceOf } from './trace-of.ts';

export type { AttemptOutcome } from './job-span.ts';

/**
 * Chunks that begin within these jobs are spans of the batch's own trace, so that of a small batch one trace shows all.
 * What comes behind them are traces of their own, with a link to it: no tool shows a trace of a million spans, and a
 * sampler may pick some of them.
 */
export const JOBS_IN_BATCH_TRACE = 1_000;

/**
 * Observes a chunk and its jobs.
 *
 * @param run gets undefined where the app has installed no SDK: then jobs cost nothing more
 */
export async function observeChunk(
  database: Database,
  input: ChunkInput,
  run: (telemetry: ChunkTelemetry | undefined) => Promise<ChunkReport>,
): Promise<ChunkReport> {
  const meters = instruments();
  const tracer = installedTracer();
  if (!meters && !tracer) return run(undefined);
  const { taskQueue } = activityInfo();
  if (!tracer) return new ChunkTelemetry(meters, taskQueue).observe(run);

  const { batchId, round, runner, spans } = input;
  const ofBatch = await traceOf(database, batchId);
  const isNear = (parseSpans(spans)[0]?.[0] ?? 0) <= JOBS_IN_BATCH_TRACE;
  const link = traces.getSpanContext(ofBatch);
  const span = tracer.startSpan(
    'batch.chunk',
    {
      kind: SpanKind.CONSUMER,
      attributes: {
        'batch_jobs.batch_id': batchId,
        'batch_jobs.round': round,
        'batch_jobs.runner': runner,
        'batch_jobs.positions': spans,
        'batch_jobs.task_queue': taskQueue,
      },
      ...(isNear ? {} : { root: true, links: link ? [{ context: link }] : [] }),
    },
    ofBatch,
  );
  const within = traces.setSpan(ofBatch, span);
  try {
    const report = await context.with(within, () =>
      new ChunkTelemetry(meters, taskQueue, { tracer, context: within }).observe(run),
    );
    const { completed, failed, timing } = report;
    span.setAttributes({
      'batch_jobs.complete': completed,
      'batch_jobs.failed': failed,
      'batch_jobs.ran': timing.ran,
    });
    return report;
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** What a chunk tells of itself and of its jobs. */
export class ChunkTelemetry {
  readonly #meters: Instruments | undefined;
  readonly #taskQueue: string;
  readonly #tracing: { readonly tracer: Tracer; readonly context: Context } | undefined;
  /** Made once for each class and outcome, not once for each job. */
  readonly #attributes = new Map<string, Attributes>();

  constructor(
    meters: Instruments | undefined,
    taskQueue: string,
    tracing?: { readonly tracer: Tracer; readonly context: Context },
  ) {
    this.#meters = meters;
    this.#taskQueue = taskQueue;
    this.#tracing = tracing;
  }

  async observe(run: (telemetry: ChunkTelemetry) => Promise<ChunkReport>): Promise<ChunkReport> {
    const startedAt = performance.now();
    const report = await run(this);
    const attributes = { task_queue: this.#taskQueue };
    this.#meters?.chunkDuration.record((performance.now() - startedAt) / 1_000, attributes);
    this.#meters?.chunkJobs.record(report.timing.ran, attributes);
    this.#meters?.chunkWait.record(report.timing.queueMs / 1_000, attributes);
    return report;
  }

  /** @returns what the handler is to run in; undefined: nothing else than what is active */
  attemptStarted(
    workerClass: string,
    job: { batchId: string; jid: string; attempt: number; round: number },
  ): Context | undefined {
    if (!this.#tracing) return undefined;
    const { tracer, context: ofChunk } = this.#tracing;
    return quietly(() => startJobSpan(tracer, workerClass, job, ofChunk));
  }

  /** @param trace what {@link attemptStarted} returned */
  attemptEnded(
    workerClass: string,
    outcome: AttemptOutcome,
    { ms, error, trace }: { ms: number; error?: unknown; trace: Context | undefined },
  ): void {
    quietly(() => {
      this.#meters?.jobDuration.record(ms / 1_000, this.#attributesOf(workerClass, outcome));
      if (outcome === 'retried') this.#meters?.jobsRetried.add(1, { worker_class: workerClass });
    });
    if (outcome === 'complete' || outcome === 'failed') this.ended(workerClass, outcome);
    if (trace) quietly(() => endJobSpan(trace, outcome, error));
  }

  /** A job has ended for good, also without an attempt. */
  ended(workerClass: string, outcome: 'complete' | 'failed'): void {
    quietly(() => this.#meters?.jobsEnded.add(1, this.#attributesOf(workerClass, outcome)));
  }

  #attributesOf(workerClass: string, outcome: AttemptOutcome): Attributes {
    const key = `${outcome} ${workerClass}`;
    let attributes = this.#attributes.get(key);
    if (!attributes) {
      attributes = { outcome, worker_class: workerClass };
      this.#attributes.set(key, attributes);
    }
    return attributes;
  }
}
