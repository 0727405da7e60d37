import { log, proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities } from '../activities/contract.ts';
import type { CallbackRegistration } from './batch-state.ts';
import { callbackSummary } from './details.ts';
import { describeFailure } from './failure.ts';
import { mirror } from './mirror.ts';
import { temporalRetry } from './retry-policy.ts';
import { forSchema } from './schema.ts';
import { waitMs } from './timeouts.ts';

/** A callback of a round of a batch. */
interface CallbackRun {
  readonly batchId: string;
  readonly round: number;
  readonly registration: CallbackRegistration;
}

/** Schedules a callback's activity, once, and waits for its end. Its row says how it ended. */
export async function runCallback(run: CallbackRun): Promise<void> {
  const { batchId, round, registration } = run;
  const { event, callback, taskQueue, startToCloseTimeoutMs, retry } = registration;
  const { maximumAttempts, ...unlimited } = retry;
  const activities = proxyActivities<HandlerActivities>({
    ...(taskQueue ? { taskQueue } : {}),
    startToCloseTimeout: startToCloseTimeoutMs,
    heartbeatTimeout: waitMs('heartbeat'),
    // The activity counts attempts in the callback's row: one that could not begin, because its worker lacks the
    // callback or the database is away, is none.
    retry: temporalRetry(unlimited),
    summary: callbackSummary(registration),
  });
  try {
    await activities.runCallback(
      forSchema({
        batchId,
        round,
        event,
        callback,
        ...(maximumAttempts === undefined ? {} : { maximumAttempts }),
      }),
    );
  } catch (error) {
    await callbackFailed(run, error);
  }
}

/** Records that no further attempt follows. */
export async function callbackFailed(
  { batchId, round, registration }: CallbackRun,
  error: unknown,
): Promise<void> {
  const { event, callback } = registration;
  const { errorClass, message } = describeFailure(error);
  log.error('A callback failed for good', { batchId, event, callback, errorClass, message });
  await mirror.failCallback({ batchId, round, event, callback, errorClass, errorMessage: message });
}
