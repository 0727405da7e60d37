import { cancellationSignal, log } from '@temporalio/activity';
import { withRetry } from '../src/database/retry.ts';
import { CALLS } from '../src/timeouts.ts';

/**
 * Runs an idempotent statement of an activity until the database answers, or the activity is given up.
 *
 * @param warning what the log says before each further try
 * @throws {@link DatabaseUnavailableError}
 */
export function patiently<T>(run: () => Promise<T>, warning: string): Promise<T> {
  return withRetry(run, {
    timeoutMs: CALLS.database,
    signal: cancellationSignal(),
    onRetry: (error, attempt) => log.warn(`${warning}; trying again`, { attempt, error }),
  });
}
