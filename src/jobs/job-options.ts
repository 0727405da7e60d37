import type { Duration, RetryPolicy } from '@temporalio/common';
import type { RetryOptions } from '../../workflows/batch-state.ts';
import { InvalidOptionError } from '../errors.ts';
import { assertKnownKeys, assertName, assertPlainObject, resolveDuration, resolveRetry } from '../options.ts';

/** A named limit, with the key of the job: see `Limits`. */
export interface NamedLimit {
  /** Up to 200 characters. */
  readonly name: string;
  /** Shares the limit evenly with other keys, for example a tenant's id: up to 200 characters. @default none */
  readonly key?: string;
}

/** Options of `defineJob`. Names and meanings are Temporal's. */
export interface JobOptions {
  /**
   * How failed attempts are retried.
   * @default { initialInterval: '1s', backoffCoefficient: 2, maximumAttempts: 5 }
   */
  readonly retry?: RetryPolicy;
  /** Longest time of one attempt; then its `AbortSignal` fires and the attempt has failed. @default '10 minutes' */
  readonly startToCloseTimeout?: Duration;
  /** Longest time from enrolment to the end, retries included. @default none */
  readonly scheduleToCloseTimeout?: Duration;
  /**
   * Store what the handler returns, for `batch.results()` and `batch.eachResult()`: anything JSON can carry exactly, up
   * to 64 KiB. Of `undefined` nothing is stored. A handler that returns something else has run, and its job fails for
   * good with `InvalidResultError`. A plain job, which belongs to no batch, stores nothing.
   * @default false
   */
  readonly storeResult?: boolean;
  /**
   * The named limit of the job, shared with jobs of other batches: `'stripe'`, or `{ name: 'stripe', key: tenantId }`.
   * Create the limit with `batches.limits.set` first; starting a job under an unknown limit fails with `UNKNOWN_LIMIT`.
   * Plain jobs cannot have one.
   * @default none
   */
  readonly limit?: string | NamedLimit;
  /** Task queue of workers that run this job. @default the batch's */
  readonly taskQueue?: string;
}

/** Options of one call: `job.set(options).performAsync(...)`. */
export interface JobCallOptions extends Omit<JobOptions, 'storeResult'> {
  /**
   * What the job is, in its batch: up to 200 characters. Of jobs with the same key a batch has one, the first that
   * came, with its arguments; starting it again, also in another block or after an interruption, gives its jid. Only
   * inside of a block.
   * @default none
   */
  readonly key?: string;
  /** Start the job this long after it is enrolled. @default none */
  readonly startDelay?: Duration;
}

/** {@link JobCallOptions} with defaults, in milliseconds. */
export interface ResolvedJobOptions {
  readonly key?: string;
  readonly retry: RetryOptions;
  readonly startToCloseTimeoutMs: number;
  readonly scheduleToCloseTimeoutMs?: number;
  readonly limit?: Required<NamedLimit>;
  readonly taskQueue?: string;
  readonly startDelayMs?: number;
}

/** Five attempts over about 15 seconds. Bounded, so that a batch ends. */
const DEFAULT_MAXIMUM_ATTEMPTS = 5;
const DEFAULT_START_TO_CLOSE_TIMEOUT: Duration = '10 minutes';

const JOB_KEYS = ['limit', 'retry', 'startToCloseTimeout', 'scheduleToCloseTimeout', 'taskQueue'];

/** @throws {@link InvalidOptionError} */
export function resolveJobOptions(option: string, options: JobOptions = {}): ResolvedJobOptions {
  assertPlainObject(option, options);
  assertKnownKeys(option, options, [...JOB_KEYS, 'storeResult']);
  if (options.storeResult !== undefined && typeof options.storeResult !== 'boolean') {
    throw new InvalidOptionError(`${option}.storeResult`, 'true or false', options.storeResult);
  }
  return resolve(option, options, {
    retry: resolveRetry(`${option}.retry`, { maximumAttempts: DEFAULT_MAXIMUM_ATTEMPTS }),
    startToCloseTimeoutMs: resolveDuration(`${option}.startToCloseTimeout`, DEFAULT_START_TO_CLOSE_TIMEOUT),
  });
}

/** What a call sets, over what the definition says. @throws {@link InvalidOptionError} */
export function overrideJobOptions(
  option: string,
  definition: ResolvedJobOptions,
  options: JobCallOptions,
): ResolvedJobOptions {
  assertPlainObject(option, options);
  assertKnownKeys(option, options, [...JOB_KEYS, 'key', 'startDelay']);
  return resolve(option, options, definition);
}

function resolve(option: string, options: JobCallOptions, defaults: ResolvedJobOptions): ResolvedJobOptions {
  if (options.taskQueue !== undefined) assertName(`${option}.taskQueue`, options.taskQueue);
  if (options.key !== undefined) assertName(`${option}.key`, options.key);
  const duration = (key: 'startToCloseTimeout' | 'scheduleToCloseTimeout' | 'startDelay') =>
    options[key] === undefined ? {} : { [`${key}Ms`]: resolveDuration(`${option}.${key}`, options[key]) };
  return {
    ...defaults,
    ...(options.retry === undefined
      ? {}
      : { retry: resolveRetry(`${option}.retry`, options.retry, defaults.retry) }),
    ...duration('startToCloseTimeout'),
    ...duration('scheduleToCloseTimeout'),
    ...duration('startDelay'),
    ...(options.limit === undefined ? {} : { limit: resolveLimit(`${option}.limit`, options.limit) }),
    ...(options.taskQueue === undefined ? {} : { taskQueue: options.taskQueue }),
    ...(options.key === undefined ? {} : { key: options.key }),
  };
}

/** An empty key stands for none. */
function resolveLimit(option: string, limit: string | NamedLimit): Required<NamedLimit> {
  if (typeof limit === 'string') {
    assertName(option, limit);
    return { name: limit, key: '' };
  }
  assertPlainObject(option, limit);
  assertKnownKeys(option, limit, ['name', 'key']);
  assertName(`${option}.name`, limit.name);
  if (limit.key !== undefined) assertName(`${option}.key`, limit.key);
  return { name: limit.name, key: limit.key ?? '' };
}
