import { cancellationSignal, log } from '@temporalio/activity';
import { DATABASE_TIMEOUT_MS, withRetry } from '../src/database/retry.ts';

/**
 * Runs an idempotent statement of an activity until the database answers, or the activity is given up.
 *
 * @param warning what the log says before each further try
 * @throws {@link DatabaseUnavailableError}
 */
export function patiently<T>(run: () => Promise<T>, warning: string): Promise<T> {
  return withRetry(run, {
    timeoutMs: DATABASE_TIMEOUT_MS,
    signal: cancellationSignal(),
    onRetry: (error, attempt) => log.warn(`${warning}; trying again`, { attempt, error }),
  });
}
