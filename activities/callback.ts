import { activityInfo, cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import { runAsCallbackOf } from '../src/client/lineage.ts';
import type { Database } from '../src/database/connect.ts';
import {
  excuseCallbackAttempt,
  markCallbackCompleted,
  markCallbackFailure,
  markCallbackRunning,
  selectCallbackStatus,
  type CallbackAttempt,
} from '../src/database/callbacks.ts';
import { passingOf } from '../src/database/database-errors.ts';
import { DatabaseUnavailableError } from '../src/errors.ts';
import { poolMaxOf } from '../src/database/own-knex.ts';
import { pauseAfter } from '../src/database/retry.ts';
import { describeError, MAX_MESSAGE_LENGTH } from '../src/jobs/outcome.ts';
import type { Callback, CallbackContext, TransactionCallbackContext } from '../src/jobs/define-callback.ts';
import { waitMs } from '../src/timeouts.ts';
import { Slots } from '../src/worker/slots.ts';
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
 * Attempts are counted in the row, when they start. Those whose transaction the database broke are counted there, too,
 * and not against `maximumAttempts`: neither a worker that lacks the callback nor a database that is away uses them up.
 */
export async function runCallback(dependencies: ActivityDependencies, input: CallbackInput): Promise<void> {
  await withHeartbeat(() => attemptCallback(dependencies, input));
}

async function attemptCallback(dependencies: ActivityDependencies, input: CallbackInput): Promise<void> {
  const { database, callbacks } = dependencies;
  const callback = callbacks.get(input.callback);
  if (!callback) {
    dependencies.unknownNames.meet('callback', input.callback, input.batchId);
    if ((await selectCallbackStatus(database, input)) === 'completed') return;
    const unknown = unknownCallback(input.callback);
    await markCallbackFailure(database, input, { ...describeError(unknown), final: false });
    throw unknown;
  }
  // Each of its attempts has a connection to itself.
  if (callback.options.transaction) await inPlace(database, () => attempt(dependencies, callback, input));
  else await attempt(dependencies, callback, input);
}

async function attempt(
  dependencies: ActivityDependencies,
  callback: Callback,
  input: CallbackInput,
): Promise<void> {
  const { database } = dependencies;
  const begun = await beginAttempt(database, input);
  if (begun === undefined) return;
  const { attempt: number, charged } = begun;
  try {
    await observeCallback(database, input, number, () =>
      runOutsideEnrollment(() =>
        runAsCallbackOf(input.batchId, () => call(dependencies, callback, input, number)),
      ),
    );
  } catch (error) {
    const described = describeError(error);
    const isBroken = error instanceof TransactionBrokenError;
    await patiently(async () => {
      await markCallbackFailure(database, input, { ...described, final: false });
      // Nothing of it was committed, and the handler did not fail.
      if (isBroken) await excuseCallbackAttempt(database, input, begun);
    }, 'The error of a callback could not be written');
    throw failureOf(error, described, !isBroken && charged >= (input.maximumAttempts ?? Infinity));
  }
}

/** @returns which attempt it is; undefined if the callback completed before @throws when there is none left */
async function beginAttempt(database: Database, input: CallbackInput): Promise<CallbackAttempt | undefined> {
  const begun = await markCallbackRunning(database, input);
  if (begun !== undefined) return begun;
  const status = await selectCallbackStatus(database, input);
  if (status === 'completed') return undefined;
  // Without its row, which somebody deleted, a callback runs all the same.
  if (status === undefined) return { attempt: 1, charged: 1 };
  throw attemptsLost(input);
}

/** Places of transactional callbacks, of each pool: several workers of a process may share one. */
const PLACES = new WeakMap<object, Slots>();

/**
 * Half of the pool: as many connections are left for what handlers ask of `batches` while their transactions hold the
 * others, and for what else the worker writes.
 */
function placesOf({ app }: Database): Slots {
  const pool = (app.client as { pool: object }).pool;
  let places = PLACES.get(pool);
  if (!places) {
    places = new Slots(Math.max(1, Math.floor((poolMaxOf(app) ?? Infinity) / 2)));
    PLACES.set(pool, places);
  }
  return places;
}

async function inPlace(database: Database, run: () => Promise<void>): Promise<void> {
  const places = placesOf(database);
  await placeIn(places);
  try {
    await run();
  } finally {
    places.release();
  }
}

/** Waits for a place, for half of the time that the attempt may take at most: the handler is to have the rest. */
async function placeIn(places: Slots): Promise<void> {
  const signal = cancellationSignal();
  await new Promise<void>((resolve, reject) => {
    const settle = (end: () => void) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', giveUp);
      end();
    };
    const start = () => settle(resolve);
    const giveUp = () => {
      if (places.withdraw(start)) settle(() => reject(noPlace()));
    };
    const timer = setTimeout(giveUp, activityInfo().startToCloseTimeoutMs / 2);
    signal.addEventListener('abort', giveUp);
    if (places.take(start)) start();
    else if (signal.aborted) giveUp();
  });
}

/** Another worker may have a place, or this one later. The callback has not begun: no attempt is charged. */
function noPlace(): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'NoConnectionError',
    message:
      'Other transactional callbacks of this worker hold their half of its connections. Raise poolSize, or add workers.',
    nextRetryDelay: pauseAfter('retry', Infinity),
  });
}

/** The database broke a callback's transaction, and its handler did not fail. */
class TransactionBrokenError extends Error {
  override readonly name = 'TransactionBrokenError';
  readonly passing: 'wait' | 'retry';

  constructor(cause: unknown, passing: 'wait' | 'retry') {
    super(describeError(cause).errorMessage, { cause });
    this.passing = passing;
  }
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
  let statementError: unknown;
  try {
    // The app's own: its settings, and its errors as they are.
    await database.app.transaction(async (trx) => {
      // The mark comes first: it locks the row, so that of two attempts at once the second waits, and then finds it.
      const isFirst = await markCallbackCompleted(database, input, trx);
      if (!isFirst) return;
      trx.on('query-error', (error) => (statementError = error));
      try {
        await callback.handler(input.batchId, { ...context, trx });
      } catch (error) {
        handlerError = error ?? new Error('The callback threw nothing');
        throw error;
      }
    });
  } catch (error) {
    // What the handler met elsewhere, such as a refused connection to another server, is its own failure.
    const isOurs = !handlerError || statementError || handlerError instanceof DatabaseUnavailableError;
    const passing = isOurs ? passingOf(handlerError ?? error) : undefined;
    if (passing === undefined) throw handlerError ?? error;
    throw new TransactionBrokenError(handlerError ?? error, passing);
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
  const isBroken = error instanceof TransactionBrokenError;
  const { nonRetryable, nextRetryDelay }: Partial<ApplicationFailure> =
    error instanceof ApplicationFailure ? error : {};
  const failure = ApplicationFailure.create({
    type: errorClass,
    message: errorMessage,
    nonRetryable: !isBroken && (isLast || nonRetryable === true),
    ...(isBroken ? { nextRetryDelay: pauseAfter(error.passing, activityInfo().attempt) } : {}),
    ...(!isBroken && nextRetryDelay ? { nextRetryDelay } : {}),
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
