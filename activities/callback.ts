import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import {
  isCallbackCompleted,
  markCallbackCompleted,
  markCallbackFailure,
  markCallbackRunning,
} from '../src/database/callbacks.ts';
import { describeError } from '../src/jobs/outcome.ts';
import type { Callback, CallbackContext, TransactionCallbackContext } from '../src/jobs/define-callback.ts';
import type { CallbackInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';

/**
 * Runs a callback and keeps its row up to date. The activity is scheduled once; Temporal repeats attempts. An attempt
 * that finds the row completed does nothing: the one before died between its mark and its answer.
 */
export async function runCallback(dependencies: ActivityDependencies, input: CallbackInput): Promise<void> {
  const { database, callbacks } = dependencies;
  await withHeartbeat(async () => {
    if (await isCallbackCompleted(database, input)) return;
    await markCallbackRunning(database, input);
    try {
      const callback = callbacks.get(input.callback);
      if (!callback) throw unknownCallback(input.callback);
      await runOutsideEnrollment(() => call(dependencies, callback, input));
    } catch (error) {
      const { errorClass, errorMessage } = describeError(error);
      await markCallbackFailure(database, input, { errorClass, errorMessage, final: false });
      if (error instanceof ApplicationFailure) throw error;
      throw ApplicationFailure.create({ type: errorClass, message: errorMessage, cause: error as Error });
    }
  });
}

async function call(
  dependencies: ActivityDependencies,
  callback: Callback,
  input: CallbackInput,
): Promise<void> {
  const { database, batches } = dependencies;
  const context: CallbackContext = { batches, signal: cancellationSignal(), attempt: activityInfo().attempt };
  if (!callback.options.transaction) {
    // Only a callback with `transaction` reads `trx`: its overload of defineCallback says so.
    await callback.handler(input.batchId, context as TransactionCallbackContext);
    await markCallbackCompleted(database, input);
    return;
  }
  await database.knex.transaction(async (trx) => {
    // The mark comes first: it locks the row, so that of two attempts at once the second waits, and then finds it.
    const isFirst = await markCallbackCompleted(database, input, trx);
    if (isFirst) await callback.handler(input.batchId, { ...context, trx });
  });
}

function unknownCallback(name: string): ApplicationFailure {
  return ApplicationFailure.retryable(
    `This worker has no callback named "${name}". Give it to createBatchWorker({ callbacks }).`,
    'UnknownCallbackError',
  );
}
