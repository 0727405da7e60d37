import type { Duration } from '@temporalio/common';
import type { BatchPolicy, BatchSettings } from '../../workflows/batch-state.ts';
import { isFailurePolicy, type FailurePolicy } from '../../workflows/failure-policy.ts';
import { MIN_PER_SECOND, type Limit } from '../../workflows/limits.ts';
import { InvalidOptionError } from '../errors.ts';
import { toExactJson } from '../json-value.ts';
import {
  assertKnownKeys,
  assertName,
  assertOneOf,
  assertPlainObject,
  assertWholeNumber,
  resolveDuration,
  resolveTime,
} from '../options.ts';

/** How many jobs run and start, over all workers. What is `null` has no limit. */
export interface JobLimit {
  /**
   * Jobs that run at once. Of a worker that was killed, its part stays taken until it counts as lost, after 10 s; jobs
   * of one that was frozen and wakes up later run beside those that took their place.
   * @default null
   */
  readonly maxConcurrentJobs?: number | null;
  /** Jobs that start in a second; may be a fraction. Retries count. @default null */
  readonly perSecond?: number | null;
}

/**
 * What makes a batch fail, what ends it early, and how fast it goes: options of `BatchClient.create` and of
 * `Batch.update`.
 */
export interface BatchPolicyOptions extends JobLimit {
  /**
   * What becomes of a batch that its deadline stopped: `failed` or `cancelled`.
   * @default 'fail'
   */
  readonly afterDeadline?: 'fail' | 'cancel';
  /**
   * What becomes of the rest once it is certain that the batch fails: it goes on, or what has not started never does
   * and what runs is asked to stop.
   * @default 'continue'
   */
  readonly afterFailure?: 'continue' | 'cancelRemaining';
  /**
   * When what has not ended is stopped: a Date, or a Duration from now on. `null`: never.
   * @default null
   */
  // oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where @types/ms is missing
  readonly deadline?: Duration | Date | null;
  /**
   * When too many failed jobs decide the batch: once all jobs are terminal, or as soon as it is certain (never before
   * the block is closed).
   * @default 'settled'
   */
  readonly failWhen?: 'settled' | 'immediate';
  /**
   * How many failed jobs make the batch `failed`: `'any'` one, `'all'` of them, or more than a number or a percentage
   * of the sealed total. Percentages are not rounded: `{ moreThan: '5%' }` of 30 jobs is 1.5, so that the second failed
   * job is too many. A batch within its tolerance is `complete`, and its failed jobs stay `failed`.
   * @default 'any'
   */
  readonly failWhenFailed?: FailurePolicy;
  /**
   * Limits of the jobs of one name, beside those of the batch. `update` changes them, and takes away those that are
   * `null`; a name that `create` did not mention cannot be limited later.
   * @default {}
   */
  readonly jobLimits?: Readonly<Record<string, JobLimit>>;
}

/** Options of `BatchClient.create`. */
export interface BatchOptions extends BatchPolicyOptions {
  /**
   * Anything JSON can carry exactly, up to 64 KiB: what callbacks need to know.
   * @default {}
   */
  readonly context?: Record<string, unknown>;
  /**
   * Continue the batch's workflows as new after so many history events at the latest. Lower it in tests only.
   * @default 4000
   */
  readonly continueAsNewAfterEvents?: number;
  /** What the batch is, for people: up to 500 characters. Shown in rows and in the Web UI. */
  readonly description: string;
  /**
   * A block from which nothing was heard for so long is closed by the batch itself, which then ends `failed`. A
   * slow block is not closed: its process sends signs of life.
   * @default '5 minutes'
   */
  readonly enrollmentTimeout?: Duration;
  /** Letters, digits and `_ . : -`, up to 128. The workflow id is `batch:` and this. @default a UUID */
  readonly id?: string;
  /** A batch whose block is never opened ends `failed` after so long. @default '1 day' */
  readonly openTimeout?: Duration;
  /** A job whose name no worker knows fails after so long; until then a worker that knows it may come up. @default '10 minutes' */
  readonly unknownJobTimeout?: Duration;
}

export interface ResolvedBatchOptions {
  readonly id: string;
  readonly description: string;
  readonly context: unknown;
  readonly settings: BatchSettings;
}

const LIMIT_KEYS = ['maxConcurrentJobs', 'perSecond'];

const POLICY_KEYS = [
  'afterDeadline',
  'afterFailure',
  'deadline',
  'failWhen',
  'failWhenFailed',
  'jobLimits',
  ...LIMIT_KEYS,
];

/** Each name has lanes of its own, which the batch's workflow goes through with every message. */
const MAX_LIMITED_NAMES = 50;

const KEYS = [
  ...POLICY_KEYS,
  'context',
  'continueAsNewAfterEvents',
  'description',
  'enrollmentTimeout',
  'id',
  'openTimeout',
  'unknownJobTimeout',
];

/** @throws {@link InvalidOptionError} @throws {@link InvalidArgumentsError} for a context that JSON cannot carry */
export function resolveBatchOptions(options: BatchOptions, newId: () => string): ResolvedBatchOptions {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, KEYS);
  const {
    context = {},
    continueAsNewAfterEvents = 4_000,
    description,
    enrollmentTimeout = '5 minutes',
    id = newId(),
    openTimeout = '1 day',
    unknownJobTimeout = '10 minutes',
  } = options;
  assertName('description', description, 500);
  assertBatchId(id);
  assertPlainObject('context', context);
  toExactJson('context', context);
  assertWholeNumber('continueAsNewAfterEvents', continueAsNewAfterEvents, 20);
  return {
    id,
    description,
    context,
    settings: {
      ...DEFAULT_POLICY,
      ...resolvePolicy(options),
      enrollmentTimeoutMs: resolveDuration('enrollmentTimeout', enrollmentTimeout),
      openTimeoutMs: resolveDuration('openTimeout', openTimeout),
      unknownJobTimeoutMs: resolveDuration('unknownJobTimeout', unknownJobTimeout),
      maxHistoryEvents: continueAsNewAfterEvents,
    },
  };
}

const DEFAULT_POLICY: BatchPolicy = {
  afterDeadline: 'fail',
  afterFailure: 'continue',
  deadlineAt: null,
  failWhen: 'settled',
  failWhenFailed: 'any',
  jobLimits: {},
  maxConcurrentJobs: null,
  perSecond: null,
};

/** What `Batch.update` changes. @throws {@link InvalidOptionError} */
export function resolveBatchChanges(changes: BatchPolicyOptions): Partial<BatchPolicy> {
  assertPlainObject('changes', changes);
  assertKnownKeys('changes', changes, POLICY_KEYS);
  const resolved = resolvePolicy(changes);
  if (Object.keys(resolved).length === 0)
    throw new InvalidOptionError('changes', `at least one of ${POLICY_KEYS.join(', ')}`, changes);
  return resolved;
}

/** The parts that are given. */
function resolvePolicy(options: BatchPolicyOptions): Partial<BatchPolicy> {
  const { afterDeadline, afterFailure, deadline, failWhen, failWhenFailed, jobLimits } = options;
  assertOneOf('afterDeadline', afterDeadline, ['fail', 'cancel']);
  assertOneOf('afterFailure', afterFailure, ['continue', 'cancelRemaining']);
  assertOneOf('failWhen', failWhen, ['settled', 'immediate']);
  if (failWhenFailed !== undefined) assertFailurePolicy(failWhenFailed);
  return {
    ...(afterDeadline === undefined ? {} : { afterDeadline }),
    ...(afterFailure === undefined ? {} : { afterFailure }),
    ...(deadline === undefined ? {} : { deadlineAt: deadline && resolveTime('deadline', deadline) }),
    ...(failWhen === undefined ? {} : { failWhen }),
    ...(failWhenFailed === undefined ? {} : { failWhenFailed }),
    ...(jobLimits === undefined ? {} : { jobLimits: resolveJobLimits(jobLimits) }),
    ...resolveLimit('', options),
  };
}

function resolveJobLimits(jobLimits: Readonly<Record<string, JobLimit>>): Record<string, Limit> {
  assertPlainObject('jobLimits', jobLimits);
  const entries = Object.entries(jobLimits);
  if (entries.length > MAX_LIMITED_NAMES)
    throw new InvalidOptionError('jobLimits', `of at most ${MAX_LIMITED_NAMES} names`, entries.length);
  const resolved = entries.map(([name, limit]) => {
    const option = `jobLimits.${name}`;
    assertName('jobLimits', name);
    assertPlainObject(option, limit);
    assertKnownKeys(option, limit, LIMIT_KEYS);
    return [name, resolveLimit(`${option}.`, limit)] as const;
  });
  return Object.fromEntries(resolved);
}

/** The parts that are given. */
function resolveLimit(path: string, { maxConcurrentJobs, perSecond }: JobLimit): Limit {
  if ((maxConcurrentJobs ?? null) !== null)
    assertWholeNumber(`${path}maxConcurrentJobs`, maxConcurrentJobs, 1);
  if ((perSecond ?? null) !== null && !(Number.isFinite(perSecond) && perSecond! >= MIN_PER_SECOND)) {
    throw new InvalidOptionError(`${path}perSecond`, 'a number of at least 1/86400, or null', perSecond);
  }
  return {
    ...(maxConcurrentJobs === undefined ? {} : { maxConcurrentJobs }),
    ...(perSecond === undefined ? {} : { perSecond }),
  };
}

function assertFailurePolicy(policy: unknown): asserts policy is FailurePolicy {
  if (isFailurePolicy(policy)) return;
  const expected = "'any', 'all', { moreThan: a whole number } or { moreThan: a percentage such as '5%' }";
  throw new InvalidOptionError('failWhenFailed', expected, policy);
}

/** @throws {@link InvalidOptionError} */
export function assertBatchId(id: unknown): asserts id is string {
  if (typeof id !== 'string' || !/^[A-Za-z0-9_.:-]{1,128}$/.test(id)) {
    throw new InvalidOptionError('id', '1 to 128 letters, digits or _ . : -', id);
  }
}
