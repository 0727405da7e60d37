import type { Duration, RetryPolicy } from '@temporalio/common';
import type { Knex } from 'knex';
import type { RetryOptions } from '../../workflows/batch-state.ts';
import type { BatchClient } from '../client/batch-client.ts';
import { InvalidOptionError } from '../errors.ts';
import { assertKnownKeys, assertName, assertPlainObject, resolveDuration, resolveRetry } from '../options.ts';

/** What a callback gets beside the batch id. */
export interface CallbackContext {
  /** To look at the batch, and to open the next one. */
  readonly batches: BatchClient;
  /** Fires when the worker shuts down or the attempt's time is over. */
  readonly signal: AbortSignal;
  /** 1 for the first attempt. */
  readonly attempt: number;
}

/** {@link CallbackContext} of a callback with `transaction: true`. */
export interface TransactionCallbackContext extends CallbackContext {
  /** Commits together with the mark that the callback ran. */
  readonly trx: Knex.Transaction;
}

export interface CallbackOptions {
  /**
   * How failed attempts are repeated.
   * @default { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '5 minutes' }, without a limit
   */
  readonly retry?: RetryPolicy;
  /** Longest time of one attempt. @default '10 minutes' */
  readonly startToCloseTimeout?: Duration;
  /** Task queue of the workers that run this callback. @default the batch's */
  readonly taskQueue?: string;
  /**
   * Hands the handler a Knex transaction as `trx`. What it writes with it commits together with the mark that the
   * callback ran, so those effects happen exactly once, whatever is killed when. It holds a connection while the
   * handler runs: at most half of the worker's pool is held like that, and the others wait for their turn.
   * @default false
   */
  readonly transaction?: boolean;
}

export interface ResolvedCallbackOptions {
  readonly retry: RetryOptions;
  readonly startToCloseTimeoutMs: number;
  readonly taskQueue?: string;
  readonly transaction: boolean;
}

/** A callback. Register it with `batch.on(...)` and give it to the worker that runs it. */
export interface Callback {
  readonly name: string;
  /** @internal */
  readonly handler: (batchId: string, context: TransactionCallbackContext) => unknown;
  /** @internal */
  readonly options: ResolvedCallbackOptions;
}

const RETRY_DEFAULTS: RetryPolicy = { initialInterval: '1s', maximumInterval: '5 minutes' };

/**
 * Defines a callback: a handler that gets the batch id, and nothing else, as its argument. It starts exactly once and
 * is retried until it returns.
 *
 * @throws {@link InvalidOptionError}
 * @example
 * export const rebuildCache = defineCallback('RebuildCache', async (batchId, { batches }) => {
 *   const batch = await batches.find(batchId);
 *   console.log(await batch.progress());
 * });
 */
export function defineCallback(
  name: string,
  handler: (batchId: string, context: TransactionCallbackContext) => unknown,
  options: CallbackOptions & { readonly transaction: true },
): Callback;
export function defineCallback(
  name: string,
  handler: (batchId: string, context: CallbackContext) => unknown,
  options?: CallbackOptions,
): Callback;
export function defineCallback(
  name: string,
  handler: (batchId: string, context: TransactionCallbackContext) => unknown,
  options: CallbackOptions = {},
): Callback {
  assertName('name', name);
  if (typeof handler !== 'function') throw new InvalidOptionError('handler', 'a function', handler);
  return { name, handler, options: resolveCallbackOptions(`defineCallback("${name}")`, options) };
}

function resolveCallbackOptions(option: string, options: CallbackOptions): ResolvedCallbackOptions {
  assertPlainObject(option, options);
  assertKnownKeys(option, options, ['retry', 'startToCloseTimeout', 'taskQueue', 'transaction']);
  const { startToCloseTimeout = '10 minutes', taskQueue, transaction = false } = options;
  if (taskQueue !== undefined) assertName(`${option}.taskQueue`, taskQueue);
  if (typeof transaction !== 'boolean') {
    throw new InvalidOptionError(`${option}.transaction`, 'true or false', transaction);
  }
  return {
    retry: resolveRetry(`${option}.retry`, options.retry, resolveRetry(option, RETRY_DEFAULTS)),
    startToCloseTimeoutMs: resolveDuration(`${option}.startToCloseTimeout`, startToCloseTimeout),
    ...(taskQueue === undefined ? {} : { taskQueue }),
    transaction,
  };
}

/** Whether a value came from {@link defineCallback}. */
export function isCallback(value: unknown): value is Callback {
  const candidate = value as Partial<Callback> | null | undefined;
  return (
    typeof candidate === 'object' &&
    candidate !== null &&
    typeof candidate.name === 'string' &&
    typeof candidate.handler === 'function' &&
    typeof candidate.options?.transaction === 'boolean'
  );
}
