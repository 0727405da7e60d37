import { isDeepStrictEqual } from 'node:util';
import { msToNumber, type Duration } from '@temporalio/common';
import {
  CONTINUE_AS_NEW_AFTER_EVENTS,
  type BatchPolicy,
  type BatchSettings,
  type CallbackRegistration,
} from '../../workflows/batch-state.ts';
import { isFailurePolicy, type FailurePolicy } from '../../workflows/failure-policy.ts';
import { MIN_PER_SECOND, type Limit } from '../../workflows/limits.ts';
import { isBatchId } from '../../workflows/names.ts';
import type { BatchRow } from '../database/rows.ts';
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
import { resolvePriority, type BatchPriority } from './batch-priority.ts';
import { resolveCallbacks, type CallbacksByEvent } from './registrations.ts';

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
   * Give an alert when no job has ended for so long while some are pending: the callback of the event `idle`, a warning
   * in the worker's log, the metric `batch_idle_alerts`, and `alerts` in the row. The next one follows when something
   * has moved since. Not while the batch is paused. `null`: never.
   * @default null
   */
  // oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where @types/ms is missing
  readonly alertAfterIdle?: Duration | null;
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
   * Whether the end of the batch's one block seals it. If not, the batch is open-ended: `jobs` can be called any number
   * of times, also at once and from several processes, until `seal` is called.
   * @default true
   */
  readonly autoSeal?: boolean;
  /**
   * Callbacks that the batch has from its creation on, by event: whatever becomes of its creator, there is no batch
   * without them, and no round trip for each as with `Batch.on`.
   * @default {}
   */
  readonly callbacks?: CallbacksByEvent;
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
  /**
   * Letters, digits and `_ . : -`, up to 128. The workflow id is `batch:` and this. Creating a batch of an id that
   * exists gives that batch, if its other options are the same.
   * @default a UUID
   */
  readonly id?: string;
  /**
   * A batch whose block is never opened ends `failed` after so long. So does an open-ended one of which nothing was
   * heard for so long, and what was enrolled runs.
   * @default '1 day'
   */
  readonly openTimeout?: Duration;
  /**
   * Which batch goes first where many wait in one task queue, and which share a tenant gets: the batch's workflows,
   * chunks and callbacks have it. A server without support for it ignores it.
   * @default Temporal's
   */
  readonly priority?: BatchPriority;
  /** A job whose name no worker knows fails after so long; until then a worker that knows it may come up. @default '10 minutes' */
  readonly unknownJobTimeout?: Duration;
  /**
   * How long the end of a workflow that is a job may go unnoticed when nobody reports it: because it was terminated,
   * timed out or deleted, or its workers lack `BatchPlugin`. Between 1 second and 1 hour. It is looked at after a tenth
   * of its age, and this at the latest; of more than 3,000 workflows each more rarely, so that all of them cost 100
   * looks a second.
   * @default '30 seconds'
   */
  readonly workflowCheckInterval?: Duration;
}

export interface ResolvedBatchOptions {
  readonly id: string;
  readonly description: string;
  readonly context: unknown;
  /** The other options, in a form in which they can be compared: a deadline that was given as a Duration as that. */
  readonly definition: Readonly<Record<string, unknown>>;
  readonly callbacks: readonly CallbackRegistration[];
  readonly settings: BatchSettings;
}

const LIMIT_KEYS = ['maxConcurrentJobs', 'perSecond'];

export const POLICY_KEYS = [
  'afterDeadline',
  'afterFailure',
  'alertAfterIdle',
  'deadline',
  'failWhen',
  'failWhenFailed',
  'jobLimits',
  ...LIMIT_KEYS,
];

const MIN_CHECK_INTERVAL_MS = 1_000;
const MAX_CHECK_INTERVAL_MS = 60 * 60_000;

/** Each name has lanes of its own, which the batch's workflow goes through with every message. */
const MAX_LIMITED_NAMES = 50;

export const BATCH_KEYS = [
  ...POLICY_KEYS,
  'autoSeal',
  'callbacks',
  'context',
  'continueAsNewAfterEvents',
  'description',
  'enrollmentTimeout',
  'id',
  'openTimeout',
  'priority',
  'unknownJobTimeout',
  'workflowCheckInterval',
];

/** @throws {@link InvalidOptionError} @throws {@link InvalidArgumentsError} for a context that JSON cannot carry */
export function resolveBatchOptions(options: BatchOptions, newId: () => string): ResolvedBatchOptions {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, BATCH_KEYS);
  const {
    autoSeal = true,
    callbacks: given = {},
    context = {},
    continueAsNewAfterEvents = CONTINUE_AS_NEW_AFTER_EVENTS,
    description,
    enrollmentTimeout = '5 minutes',
    id = newId(),
    openTimeout = '1 day',
    priority = {},
    unknownJobTimeout = '10 minutes',
    workflowCheckInterval = '30 seconds',
  } = options;
  assertName('description', description, 500);
  assertBatchId(id);
  assertPlainObject('context', context);
  toExactJson('context', context);
  assertWholeNumber('continueAsNewAfterEvents', continueAsNewAfterEvents, 20);
  if (typeof autoSeal !== 'boolean') throw new InvalidOptionError('autoSeal', 'true or false', autoSeal);
  const settings: BatchSettings = {
    ...DEFAULT_POLICY,
    // A batch that exists may be asked for at any time: see `assertDeadlineAhead`.
    ...resolvePolicy(options, true),
    autoSeal,
    enrollmentTimeoutMs: resolveDuration('enrollmentTimeout', enrollmentTimeout),
    openTimeoutMs: resolveDuration('openTimeout', openTimeout),
    unknownJobTimeoutMs: resolveDuration('unknownJobTimeout', unknownJobTimeout),
    workflowCheckIntervalMs: resolveCheckInterval(workflowCheckInterval),
    maxHistoryEvents: continueAsNewAfterEvents,
    priority: resolvePriority(priority),
  };
  const callbacks = resolveCallbacks(given);
  const definition = { ...definitionOf(settings, options.deadline), ...namesOf(callbacks) };
  return { id, description, context, definition, callbacks, settings };
}

function resolveCheckInterval(interval: Duration): number {
  const ms = resolveDuration('workflowCheckInterval', interval);
  if (ms < MIN_CHECK_INTERVAL_MS || ms > MAX_CHECK_INTERVAL_MS)
    throw new InvalidOptionError('workflowCheckInterval', 'between 1 second and 1 hour', interval);
  return ms;
}

/**
 * Of a batch that is about to be made. A Duration is always ahead: it may be over by the time that a slow database has
 * answered, and then the batch is made, and stopped.
 *
 * @throws {@link InvalidOptionError}
 */
export function assertDeadlineAhead({
  definition: { deadline },
}: Pick<ResolvedBatchOptions, 'definition'>): void {
  if (typeof deadline === 'number') resolveTime('deadline', new Date(deadline));
}

/** By the names of the options, so that a message can say which differ. */
function definitionOf(
  { deadlineAt, maxHistoryEvents, ...settings }: BatchSettings,
  deadline: BatchOptions['deadline'],
): Record<string, unknown> {
  const named = Object.entries(settings).map(([name, value]) => [name.replace(/Ms$/, ''), value]);
  return {
    ...Object.fromEntries(named),
    continueAsNewAfterEvents: maxHistoryEvents,
    deadline:
      deadlineAt === null || deadline instanceof Date ? deadlineAt : { afterMs: msToNumber(deadline!) },
  };
}

function namesOf(callbacks: readonly CallbackRegistration[]): { readonly callbacks?: object } {
  if (callbacks.length === 0) return {};
  return { callbacks: Object.fromEntries(callbacks.map(({ event, callback }) => [event, callback])) };
}

/** Names of the options that differ from those that the batch of the row was created with. */
export function differencesFrom(
  row: Pick<BatchRow, 'context' | 'definition' | 'description'>,
  { context, definition, description }: ResolvedBatchOptions,
): string[] {
  const given: Record<string, unknown> = { ...definition, context, description };
  const stored: Record<string, unknown> = {
    ...row.definition,
    context: row.context,
    description: row.description,
  };
  const names = new Set([...Object.keys(given), ...Object.keys(stored)]);
  // As JSON carries it: an object of the caller's may have no prototype.
  const isSame = (name: string) =>
    isDeepStrictEqual(stored[name], given[name] && JSON.parse(JSON.stringify(given[name])));
  return [...names].filter((name) => !isSame(name)).toSorted();
}

const DEFAULT_POLICY: BatchPolicy = {
  afterDeadline: 'fail',
  afterFailure: 'continue',
  alertAfterIdleMs: null,
  deadlineAt: null,
  failWhen: 'settled',
  failWhenFailed: 'any',
  jobLimits: {},
  maxConcurrentJobs: null,
  perSecond: null,
};

/** Settings of a batch's next round: those of the last one, with what is given. Its deadline is over. */
export function resolveRoundSettings(settings: BatchSettings, options: BatchPolicyOptions): BatchSettings {
  return { ...settings, deadlineAt: null, ...resolvePolicy(options) };
}

/** What `Batch.update` changes. @throws {@link InvalidOptionError} */
export function resolveBatchChanges(changes: BatchPolicyOptions): Partial<BatchPolicy> {
  assertPlainObject('changes', changes);
  assertKnownKeys('changes', changes, POLICY_KEYS);
  const resolved = resolvePolicy(changes);
  if (Object.keys(resolved).length === 0)
    throw new InvalidOptionError('changes', `at least one of ${POLICY_KEYS.join(', ')}`, changes);
  return resolved;
}

/** The parts that are given. @param mayBeOver whether the deadline may have passed */
function resolvePolicy(options: BatchPolicyOptions, mayBeOver = false): Partial<BatchPolicy> {
  const { afterDeadline, afterFailure, alertAfterIdle, deadline, failWhen, failWhenFailed, jobLimits } =
    options;
  assertOneOf('afterDeadline', afterDeadline, ['fail', 'cancel']);
  assertOneOf('afterFailure', afterFailure, ['continue', 'cancelRemaining']);
  assertOneOf('failWhen', failWhen, ['settled', 'immediate']);
  if (failWhenFailed !== undefined) assertFailurePolicy(failWhenFailed);
  return {
    ...(afterDeadline === undefined ? {} : { afterDeadline }),
    ...(afterFailure === undefined ? {} : { afterFailure }),
    ...(alertAfterIdle === undefined
      ? {}
      : { alertAfterIdleMs: alertAfterIdle && resolveDuration('alertAfterIdle', alertAfterIdle) }),
    ...(deadline === undefined
      ? {}
      : { deadlineAt: deadline && resolveTime('deadline', deadline, mayBeOver) }),
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
  if (!isBatchId(id)) throw new InvalidOptionError('id', '1 to 128 letters, digits or _ . : -', id);
}
