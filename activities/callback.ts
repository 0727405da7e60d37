import { cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import { runAsCallbackOf } from '../src/client/lineage.ts';
import type { Database } from '../src/database/connect.ts';
import {
  giveBackCallbackAttempt,
  markCallbackCompleted,
  markCallbackFailure,
  markCallbackRunning,
  selectCallbackStatus,
} from '../src/database/callbacks.ts';
import { isTransient } from '../src/database/retry.ts';
import { describeError, MAX_MESSAGE_LENGTH } from '../src/jobs/outcome.ts';
import type { Callback, CallbackContext, TransactionCallbackContext } from '../src/jobs/define-callback.ts';
import { waitMs } from '../src/timeouts.ts';
import { observeCallback } from './callback-telemetry.ts';
import type { CallbackInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';
import { patiently } from './patiently.ts';

/** How long a worker that lacks the callback leaves it to others. */

/**
 * Runs a callback and keeps its row up to date. The activity is scheduled once; Temporal repeats it. A repetition that
 * finds the row completed does nothing: the one before died between its mark and its answer.
 *
 * Attempts are counted in the row, when they start: a worker that lacks the callback, or a database that is away, does
 * not use them up.
 */
export async function runCallback(dependencies: ActivityDependencies, input: CallbackInput): Promise<void> {
  await withHeartbeat(() => attemptCallback(dependencies, input));
}

async function attemptCallback(dependencies: ActivityDependencies, input: CallbackInput): Promise<void> {
  const { database, callbacks } = dependencies;
  const callback = callbacks.get(input.callback);
  if (!callback) {
    if ((await selectCallbackStatus(database, input)) === 'completed') return;
    const unknown = unknownCallback(input.callback);
    await markCallbackFailure(database, input, { ...describeError(unknown), final: false });
    throw unknown;
  }
  const attempt = await beginAttempt(database, input);
  if (attempt === undefined) return;
  try {
    await observeCallback(database, input, attempt, () =>
      runOutsideEnrollment(() =>
        runAsCallbackOf(input.batchId, () => call(dependencies, callback, input, attempt)),
      ),
    );
  } catch (error) {
    const described = describeError(error);
    const isDatabaseAway = error instanceof TransactionBrokenError;
    await patiently(async () => {
      await markCallbackFailure(database, input, { ...described, final: false });
      // Nothing of it was committed, and the handler did not fail.
      if (isDatabaseAway) await giveBackCallbackAttempt(database, input, attempt);
    }, 'The error of a callback could not be written');
    throw failureOf(error, described, !isDatabaseAway && attempt >= (input.maximumAttempts ?? Infinity));
  }
}

/** @returns which attempt it is; undefined if the callback completed before @throws when there is none left */
async function beginAttempt(database: Database, input: CallbackInput): Promise<number | undefined> {
  const attempt = await markCallbackRunning(database, input);
  if (attempt !== undefined) return attempt;
  const status = await selectCallbackStatus(database, input);
  if (status === 'completed') return undefined;
  // Without its row, which somebody deleted, a callback runs all the same.
  if (status === undefined) return 1;
  throw attemptsLost(input);
}

/** The database went away in a callback's transaction, and not because of its handler. */
class TransactionBrokenError extends Error {
  override readonly name = 'TransactionBrokenError';
}

async function call(
  dependencies: ActivityDependencies,
  callback: Callback,
  input: CallbackInput,
  attempt: number,
): Promise<void> {
  const { database, batches } = dependencies;
  const context: CallbackContext = { batches, signal: cancellationSignal(), attempt };
  if (!callback.options.transaction) {
    // Only a callback with `transaction` reads `trx`: its overload of defineCallback says so.
    await callback.handler(input.batchId, context as TransactionCallbackContext);
    // It did its work: a database that is away must not make it do that again.
    await patiently(
      () => markCallbackCompleted(database, input),
      'The end of a callback could not be written',
    );
    return;
  }
  let handlerError: unknown;
  try {
    // The app's own: its settings, and its errors as they are.
    await database.app.transaction(async (trx) => {
      // The mark comes first: it locks the row, so that of two attempts at once the second waits, and then finds it.
      const isFirst = await markCallbackCompleted(database, input, trx);
      if (!isFirst) return;
      try {
        await callback.handler(input.batchId, { ...context, trx });
      } catch (error) {
        handlerError = error ?? new Error('The callback threw nothing');
        throw error;
      }
    });
  } catch (error) {
    const broken = handlerError ?? error;
    if (!isTransient(broken)) throw broken;
    throw new TransactionBrokenError(describeError(broken).errorMessage, { cause: broken });
  }
}

/**
 * What Temporal gets for what the handler threw; `isLast` ends the repetitions. Not the error itself: with a message, a
 * cause or details of megabytes the answer would not arrive, and the attempt would end by its heartbeat.
 */
function failureOf(
  error: unknown,
  { errorClass, errorMessage }: { errorClass: string; errorMessage: string },
  isLast: boolean,
): ApplicationFailure {
  const { nonRetryable, nextRetryDelay }: Partial<ApplicationFailure> =
    error instanceof ApplicationFailure ? error : {};
  const failure = ApplicationFailure.create({
    type: errorClass,
    message: errorMessage,
    nonRetryable: isLast || nonRetryable === true,
    ...(nextRetryDelay ? { nextRetryDelay } : {}),
  });
  if (error instanceof Error && typeof error.stack === 'string') {
    failure.stack = error.stack.slice(0, MAX_MESSAGE_LENGTH);
  }
  return failure;
}

function attemptsLost({ maximumAttempts }: CallbackInput): ApplicationFailure {
  return ApplicationFailure.nonRetryable(
    `Its worker died or hung in attempt ${maximumAttempts} of ${maximumAttempts}.`,
    'WorkerLostError',
  );
}

function unknownCallback(name: string): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'UnknownCallbackError',
    message: `This worker has no callback named "${name}". Give it to createBatchWorker({ callbacks }).`,
    nextRetryDelay: waitMs('unknownCallback'),
  });
}
