import { msToNumber, type Duration, type RetryPolicy } from '@temporalio/common';
import type { RetryOptions } from '../workflows/batch-state.ts';
import { InvalidOptionError } from './errors.ts';
import { isStorable } from './json-value.ts';
import { nearestName } from './near-miss.ts';

export { DEFAULT_TASK_QUEUE } from '../workflows/names.ts';

const MAX_TIMER_MS = 2 ** 31 - 1;
const TIMER = { maxMs: MAX_TIMER_MS, expected: 'up to 24 days, such as "30s"' };
/** Postgres and schedules know times that no timer does. */
const AGE = { maxMs: 100 * 365.25 * 86_400_000, expected: 'up to 100 years, such as "30 days"' };

/** Milliseconds of a `Duration`. @throws {@link InvalidOptionError} unless it is positive and under 24 days */
export function resolveDuration(option: string, value: Duration): number {
  return resolveMs(option, value, TIMER);
}

/** Milliseconds of a `Duration` that no timer waits for. @throws {@link InvalidOptionError} unless it is positive and under 100 years */
export function resolveAge(option: string, value: Duration): number {
  return resolveMs(option, value, AGE);
}

function resolveMs(option: string, value: Duration, bound: { maxMs: number; expected: string }): number {
  const expected = `a positive Temporal Duration ${bound.expected}`;
  if (typeof value === 'string') assertClearUnit(option, expected, value);
  let ms: number;
  try {
    ms = msToNumber(value);
  } catch {
    throw new InvalidOptionError(option, expected, value);
  }
  if (!Number.isFinite(ms) || ms <= 0 || ms > bound.maxMs)
    throw new InvalidOptionError(option, expected, value);
  return ms;
}

const NUMBER_AND_UNIT = /^(?<count>\d*\.?\d+) *(?<unit>[a-z]*)$/i;

/**
 * Temporal reads a text without a unit as milliseconds and `M` as minutes. Whoever writes them mostly means something
 * longer, and `prune` would remove what should stay.
 *
 * @throws {@link InvalidOptionError}
 */
function assertClearUnit(option: string, expected: string, text: string): void {
  const { count, unit } = NUMBER_AND_UNIT.exec(text)?.groups ?? {};
  if (unit === '') {
    const hint = `It has no unit: write ${count}ms, ${count}s, ${count}m, ${count}h or ${count}d.`;
    throw new InvalidOptionError(option, expected, text, hint);
  }
  if (unit === 'M' || (unit !== undefined && /^mo(s|nths?)?$/i.test(unit))) {
    const hint =
      unit === 'M'
        ? `M can be minutes or months: write ${count}m for minutes, and months in days.`
        : 'A month has no fixed length: write days.';
    throw new InvalidOptionError(option, expected, text, hint);
  }
}

/** Epoch milliseconds of a Date, or of a `Duration` from now on. @throws {@link InvalidOptionError} unless it is to come */
// oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where @types/ms is missing
export function resolveTime(option: string, value: Duration | Date, mayBeOver = false): number {
  if (!(value instanceof Date)) return Date.now() + resolveDuration(option, value);
  if (!(value.getTime() > (mayBeOver ? -Infinity : Date.now()))) {
    throw new InvalidOptionError(option, 'a Date that is to come, or a Temporal Duration', value);
  }
  return value.getTime();
}

/** @throws {@link InvalidOptionError} unless it is absent or one of these */
export function assertOneOf(option: string, value: string | undefined, values: readonly string[]): void {
  if (value === undefined || values.includes(value)) return;
  throw new InvalidOptionError(option, values.map((one) => `'${one}'`).join(' or '), value);
}

/** A retry policy with our defaults, in milliseconds. @throws {@link InvalidOptionError} */
export function resolveRetry(
  option: string,
  policy: RetryPolicy = {},
  defaults?: RetryOptions,
): RetryOptions {
  assertPlainObject(option, policy);
  assertKnownKeys(option, policy, RETRY_KEYS);
  const initialIntervalMs =
    policy.initialInterval === undefined
      ? (defaults?.initialIntervalMs ?? 1_000)
      : resolveDuration(`${option}.initialInterval`, policy.initialInterval);
  const backoffCoefficient = policy.backoffCoefficient ?? defaults?.backoffCoefficient ?? 2;
  if (!Number.isFinite(backoffCoefficient) || backoffCoefficient < 1) {
    throw new InvalidOptionError(
      `${option}.backoffCoefficient`,
      'a number of at least 1',
      backoffCoefficient,
    );
  }
  // Without an interval of its own, Temporal's rule: 100 times the initial one.
  const maximumIntervalMs =
    policy.maximumInterval === undefined
      ? policy.initialInterval === undefined && defaults
        ? defaults.maximumIntervalMs
        : Math.min(MAX_TIMER_MS, 100 * initialIntervalMs)
      : resolveDuration(`${option}.maximumInterval`, policy.maximumInterval);
  if (maximumIntervalMs < initialIntervalMs) {
    throw new InvalidOptionError(
      `${option}.maximumInterval`,
      `at least initialInterval (${initialIntervalMs} ms)`,
      policy.maximumInterval,
    );
  }
  const maximumAttempts = policy.maximumAttempts ?? defaults?.maximumAttempts;
  if (
    maximumAttempts !== undefined &&
    maximumAttempts !== Infinity &&
    !(Number.isInteger(maximumAttempts) && maximumAttempts >= 1)
  ) {
    throw new InvalidOptionError(
      `${option}.maximumAttempts`,
      'a whole number of at least 1, or Infinity',
      maximumAttempts,
    );
  }
  const nonRetryableErrorTypes = policy.nonRetryableErrorTypes ?? defaults?.nonRetryableErrorTypes ?? [];
  if (
    !Array.isArray(nonRetryableErrorTypes) ||
    nonRetryableErrorTypes.some((type) => typeof type !== 'string')
  ) {
    throw new InvalidOptionError(
      `${option}.nonRetryableErrorTypes`,
      'an array of error class names',
      nonRetryableErrorTypes,
    );
  }
  return {
    initialIntervalMs,
    backoffCoefficient,
    maximumIntervalMs,
    ...(maximumAttempts === undefined || maximumAttempts === Infinity ? {} : { maximumAttempts }),
    nonRetryableErrorTypes,
  };
}

const RETRY_KEYS = [
  'initialInterval',
  'backoffCoefficient',
  'maximumInterval',
  'maximumAttempts',
  'nonRetryableErrorTypes',
] as const;

/** @throws {@link InvalidOptionError} unless it is a non-empty string of at most `maxLength` characters that Postgres can store */
export function assertName(option: string, value: unknown, maxLength = 200): asserts value is string {
  if (typeof value !== 'string' || value.trim() === '' || value.length > maxLength || !isStorable(value)) {
    throw new InvalidOptionError(option, `a non-empty string of at most ${maxLength} characters`, value);
  }
}

/** @throws {@link InvalidOptionError} unless it is a whole number of at least `min` */
export function assertWholeNumber(option: string, value: unknown, min: number): asserts value is number {
  if (!Number.isSafeInteger(value) || (value as number) < min) {
    throw new InvalidOptionError(option, `a whole number of at least ${min}`, value);
  }
}

export function assertPlainObject(option: string, value: unknown): asserts value is object {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InvalidOptionError(option, 'an object', value);
  }
}

/** A mistyped option would otherwise be ignored in silence. @throws {@link InvalidOptionError} */
export function assertKnownKeys(option: string, value: object, known: readonly string[]): void {
  for (const key of Object.keys(value)) {
    if (known.includes(key)) continue;
    const nearest = nearestName(key, known);
    throw new InvalidOptionError(
      `${option}.${key}`,
      `one of the known options (${known.join(', ')})`,
      key,
      nearest && `Did you mean "${nearest}"?`,
    );
  }
}
