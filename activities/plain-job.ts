import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { describeError } from '../src/jobs/outcome.ts';
import type { PlainJobInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';
import { RunningJobs, type HandlerCall } from './running-jobs.ts';

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
    const free = dependencies.slots.acquire();
    if (free) await free;
    try {
      await runAlone(call);
    } catch (error) {
      if (error instanceof ApplicationFailure) throw error;
      const { errorClass, errorMessage } = describeError(error);
      throw ApplicationFailure.create({ type: errorClass, message: errorMessage, cause: error as Error });
    } finally {
      dependencies.slots.release();
    }
  });
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
