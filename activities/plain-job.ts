import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { describeError } from '../src/jobs/outcome.ts';
import { instruments } from '../src/telemetry/instruments.ts';
import { contextOf, installedTracer } from '../src/telemetry/tracing.ts';
import { acquire } from '../src/worker/slots.ts';
import type { PlainJobInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';
import { endJobSpan, startJobSpan } from './job-span.ts';
import { RunningJobs, type HandlerCall } from './running-jobs.ts';

/** Runs a job that belongs to no batch. Temporal retries it by its policy. */
export async function runPlainJob(dependencies: ActivityDependencies, input: PlainJobInput): Promise<void> {
  const { jid, workerClass, args } = input;
  const job = dependencies.jobs.get(workerClass);
  if (!job) {
    dependencies.unknownNames.meet('job', workerClass);
    throw ApplicationFailure.retryable(
      `This worker has no job named "${workerClass}". Give it to createBatchWorker({ jobs }).`,
      'UnknownJobError',
    );
  }
  const { attempt, startToCloseTimeoutMs: ms } = activityInfo();
  const limit = { ms, option: 'startToCloseTimeout', optionMs: ms } as const;
  const call = {
    job,
    args,
    limit,
    jid,
    batchId: undefined,
    round: 1,
    attempt,
    batches: dependencies.batches,
  };
  await withHeartbeat(async () => {
    const free = acquire(dependencies.slots);
    if (free) await free;
    try {
      await observed(call, input.trace);
    } catch (error) {
      if (error instanceof ApplicationFailure) throw error;
      const { errorClass, errorMessage } = describeError(error);
      throw ApplicationFailure.create({ type: errorClass, message: errorMessage, cause: error as Error });
    } finally {
      dependencies.slots.release();
    }
  });
}

/** Whether another attempt follows is Temporal's to know, so that one that fails is `failed`. */
async function observed(call: HandlerCall, carrier: PlainJobInput['trace']): Promise<void> {
  const { job, jid, attempt } = call;
  const tracer = installedTracer();
  const trace = tracer && startJobSpan(tracer, job.name, { jid, attempt }, contextOf(carrier));
  const startedAt = performance.now();
  const noteEnd = (outcome: 'complete' | 'failed', error?: unknown) => {
    const seconds = (performance.now() - startedAt) / 1_000;
    instruments()?.jobDuration.record(seconds, { outcome, worker_class: job.name });
    if (trace) endJobSpan(trace, outcome, error);
  };
  try {
    await runAlone({ ...call, trace });
  } catch (error) {
    noteEnd('failed', error);
    throw error;
  }
  noteEnd('complete');
}

async function runAlone(call: HandlerCall): Promise<void> {
  const jobs = new RunningJobs(cancellationSignal());
  try {
    await new Promise<void>((resolve, reject) => {
      jobs.start(call, (failure) => (failure ? reject(failure.error) : resolve()));
    });
  } finally {
    jobs.close();
  }
}
