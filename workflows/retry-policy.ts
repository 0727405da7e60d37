import type { RetryPolicy } from '@temporalio/common';
import type { RetryOptions } from './batch-state.ts';

/** Our resolved retry options as Temporal's `RetryPolicy`. */
export function temporalRetry(retry: RetryOptions): RetryPolicy {
  return {
    initialInterval: retry.initialIntervalMs,
    backoffCoefficient: retry.backoffCoefficient,
    maximumInterval: retry.maximumIntervalMs,
    ...(retry.maximumAttempts === undefined ? {} : { maximumAttempts: retry.maximumAttempts }),
    nonRetryableErrorTypes: [...retry.nonRetryableErrorTypes],
  };
}
