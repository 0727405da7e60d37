import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { describeError } from '../src/jobs/outcome.ts';
import type { PlainJobInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';
import { jobLogger } from './job-logger.ts';
import { runHandler } from './run-handler.ts';

/** Runs a job that belongs to no batch. Temporal retries it by its policy. */
export async function runPlainJob(dependencies: ActivityDependencies, input: PlainJobInput): Promise<void> {
  const { jid, workerClass, args } = input;
  const job = dependencies.jobs.get(workerClass);
  if (!job) {
    throw ApplicationFailure.retryable(
      `This worker has no job named "${workerClass}". Give it to createBatchWorker({ jobs }).`,
      'UnknownJobError',
    );
  }
  const { attempt, startToCloseTimeoutMs: ms } = activityInfo();
  const limit = { ms, option: 'startToCloseTimeout', optionMs: ms } as const;
  const context = {
    jid,
    batchId: undefined,
    attempt,
    logger: jobLogger(undefined, jid, workerClass),
    batches: dependencies.batches,
  };
  await withHeartbeat(async () => {
    const free = dependencies.slots.acquire();
    if (free) await free;
    try {
      await runHandler({ job, args, limit, workerSignal: cancellationSignal(), context });
    } catch (error) {
      if (error instanceof ApplicationFailure) throw error;
      const { errorClass, errorMessage } = describeError(error);
      throw ApplicationFailure.create({ type: errorClass, message: errorMessage, cause: error as Error });
    } finally {
      dependencies.slots.release();
    }
  });
}
