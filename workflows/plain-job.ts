import { proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities, PlainJobInput, PlainJobOptions } from '../activities/contract.ts';
import { temporalRetry } from './retry-policy.ts';
import { waitMs } from './timeouts.ts';

/** Runs one job that belongs to no batch: one activity, with Temporal's own retries. */
export async function plainJob(job: PlainJobInput, options: PlainJobOptions): Promise<void> {
  const { runPlainJob } = proxyActivities<HandlerActivities>({
    ...(options.taskQueue ? { taskQueue: options.taskQueue } : {}),
    startToCloseTimeout: options.startToCloseTimeoutMs,
    ...(options.scheduleToCloseTimeoutMs ? { scheduleToCloseTimeout: options.scheduleToCloseTimeoutMs } : {}),
    heartbeatTimeout: waitMs('heartbeat'),
    retry: temporalRetry(options.retry),
    summary: job.workerClass,
  });
  await runPlainJob(job);
}
