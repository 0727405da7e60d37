import { describe, expect, test } from 'vitest';
import { resolveBatchChanges, resolveBatchOptions } from '../../src/client/batch-options.ts';
import { BatchClient, defineCallback, defineJob } from '../../src/index.ts';
import {
  assertKnownKeys,
  assertName,
  assertPlainObject,
  assertWholeNumber,
  resolveAge,
  resolveDuration,
  resolveRetry,
  resolveTime,
} from '../../src/options.ts';
import { resolvePruneOptions } from '../../src/prune/options.ts';
import { resolveWorkerOptions } from '../../src/worker/worker-options.ts';

/** Calls as JavaScript can, whatever the types say. */
const untyped = (value: unknown) => value as never;

const refused = (option: string) => expect.objectContaining({ code: 'INVALID_OPTION', option });

describe('a duration', () => {
  test.each([
    [30_000, 30_000],
    ['30s', 30_000],
    ['10 minutes', 600_000],
    ['1 day', 86_400_000],
    ['1m', 60_000],
    ['5 Minutes', 300_000],
    ['250ms', 250],
    [1, 1],
    [2 ** 31 - 1, 2 ** 31 - 1],
  ] as const)('of %j is %i ms', (value, ms) => {
    expect(resolveDuration('timeout', value)).toBe(ms);
  });

  test.each([
    0,
    -1,
    NaN,
    Infinity,
    2 ** 31,
    '25 days',
    '-5s',
    '',
    'soon',
    '30',
    '1.5',
    '30 ',
    '1M',
    '5 M',
    '1 month',
    '2mo',
    null,
    undefined,
    true,
    10n,
    {},
    [],
    [5],
    new Date(0),
    () => 5,
  ])('of %o is refused', (value) => {
    expect(() => resolveDuration('timeout', untyped(value))).toThrow(refused('timeout'));
  });

  test('that is refused shows what was given', () => {
    expect(() => resolveDuration('timeout', untyped('soon'))).toThrow(
      'timeout must be a positive Temporal Duration up to 24 days, such as "30s", but was "soon" (string).',
    );
  });

  test.each([
    ['30', 'It has no unit: write 30ms, 30s, 30m, 30h or 30d.'],
    ['1M', 'M can be minutes or months: write 1m for minutes, and months in days.'],
    ['2 months', 'A month has no fixed length: write days.'],
  ])('of "%s" is refused with what to write', (value, hint) => {
    expect(() => resolveDuration('timeout', untyped(value))).toThrow(hint);
    expect(() => resolveAge('timeout', untyped(value))).toThrow(hint);
    expect(() => resolveTime('timeout', untyped(value))).toThrow(hint);
  });
});

describe('an age', () => {
  test.each([
    ['25 days', 25 * 86_400_000],
    ['2 years', 2 * 365.25 * 86_400_000],
    [1, 1],
  ] as const)('of %j is %i ms', (value, ms) => {
    expect(resolveAge('olderThan', value)).toBe(ms);
  });

  test.each([0, -1, Infinity, '101 years', 'soon', null])('of %o is refused', (value) => {
    expect(() => resolveAge('olderThan', untyped(value))).toThrow(refused('olderThan'));
  });
});

describe('a retry policy', () => {
  test('has the defaults of Temporal', () => {
    expect(resolveRetry('retry')).toEqual({
      initialIntervalMs: 1_000,
      backoffCoefficient: 2,
      maximumIntervalMs: 100_000,
      nonRetryableErrorTypes: [],
    });
  });

  test('takes all that Temporal takes', () => {
    const policy = {
      initialInterval: '2s',
      backoffCoefficient: 1,
      maximumInterval: '1 minute',
      maximumAttempts: 7,
      nonRetryableErrorTypes: ['HopelessError'],
    } as const;
    expect(resolveRetry('retry', { ...policy, nonRetryableErrorTypes: ['HopelessError'] })).toEqual({
      initialIntervalMs: 2_000,
      backoffCoefficient: 1,
      maximumIntervalMs: 60_000,
      maximumAttempts: 7,
      nonRetryableErrorTypes: ['HopelessError'],
    });
  });

  test('keeps the defaults that it does not set', () => {
    const defaults = resolveRetry('retry', {
      initialInterval: '5s',
      backoffCoefficient: 3,
      maximumInterval: '9s',
      maximumAttempts: 4,
      nonRetryableErrorTypes: ['A'],
    });
    expect(resolveRetry('retry', {}, defaults)).toEqual(defaults);
    expect(resolveRetry('retry', { maximumAttempts: 2 }, defaults)).toEqual({
      ...defaults,
      maximumAttempts: 2,
    });
    expect(resolveRetry('retry', { nonRetryableErrorTypes: [] }, defaults)).toEqual({
      ...defaults,
      nonRetryableErrorTypes: [],
    });
  });

  test('grows to 100 times its own initial interval unless it says more', () => {
    const defaults = resolveRetry('retry', { maximumInterval: '2s' });
    expect(resolveRetry('retry', { initialInterval: '5s' }, defaults).maximumIntervalMs).toBe(500_000);
    expect(resolveRetry('retry', { initialInterval: '20 days' }).maximumIntervalMs).toBe(2 ** 31 - 1);
  });

  test('without a limit of attempts has Infinity, also over a default with one', () => {
    const defaults = resolveRetry('retry', { maximumAttempts: 5 });
    expect(resolveRetry('retry', { maximumAttempts: Infinity }, defaults)).not.toHaveProperty(
      'maximumAttempts',
    );
  });

  test.each([
    ['retry.initialInterval', { initialInterval: 0 }],
    ['retry.initialInterval', { initialInterval: 'soon' }],
    ['retry.maximumInterval', { maximumInterval: -1 }],
    ['retry.maximumInterval', { initialInterval: '10s', maximumInterval: '5s' }],
    ['retry.maximumInterval', { maximumInterval: '500ms' }],
    ['retry.backoffCoefficient', { backoffCoefficient: 0.5 }],
    ['retry.backoffCoefficient', { backoffCoefficient: NaN }],
    ['retry.backoffCoefficient', { backoffCoefficient: '2' }],
    // Travels as JSON, which would turn it into null.
    ['retry.backoffCoefficient', { backoffCoefficient: Infinity }],
    ['retry.maximumAttempts', { maximumAttempts: 0 }],
    ['retry.maximumAttempts', { maximumAttempts: -1 }],
    ['retry.maximumAttempts', { maximumAttempts: 1.5 }],
    ['retry.maximumAttempts', { maximumAttempts: NaN }],
    ['retry.maximumAttempts', { maximumAttempts: '5' }],
    ['retry.nonRetryableErrorTypes', { nonRetryableErrorTypes: 'HopelessError' }],
    ['retry.nonRetryableErrorTypes', { nonRetryableErrorTypes: [Error] }],
    ['retry.maxAttempts', { maxAttempts: 5 }],
    ['retry', []],
    ['retry', 5],
    ['retry', null],
  ])('is refused by the name %s for %o', (option, policy) => {
    expect(() => resolveRetry('retry', untyped(policy))).toThrow(refused(option));
  });

  test('is refused with the known names when one is mistyped', () => {
    expect(() => resolveRetry('retry', untyped({ maxAttempts: 5 }))).toThrow(
      /maximumAttempts.*"maxAttempts"/,
    );
  });
});

describe('a name', () => {
  test.each(['x', ' padded ', 'ä', '🎉', 'x'.repeat(200)])('can be %j', (name) => {
    expect(() => assertName('name', name)).not.toThrow();
  });

  test.each([
    '',
    '   ',
    '\n',
    'a\0b',
    'a\uD800b',
    '\uDC00',
    'x'.repeat(201),
    null,
    undefined,
    5,
    ['x'],
    new String('x'),
  ])('cannot be %o', (name) => {
    expect(() => assertName('name', name)).toThrow(refused('name'));
  });

  test('can have another longest length', () => {
    expect(() => assertName('description', 'x'.repeat(500), 500)).not.toThrow();
    expect(() => assertName('description', 'x'.repeat(501), 500)).toThrow(/at most 500 characters/);
  });
});

describe('a whole number', () => {
  test.each([1, 2, Number.MAX_SAFE_INTEGER])('can be %i', (value) => {
    expect(() => assertWholeNumber('limit', value, 1)).not.toThrow();
  });

  test.each([0, -1, 1.5, NaN, Infinity, 2 ** 53, '1', null, undefined, 1n, [1]])('cannot be %o', (value) => {
    expect(() => assertWholeNumber('limit', value, 1)).toThrow(refused('limit'));
  });
});

test.each([null, undefined, 'text', 5, [], () => {}])('refuses %o where options are expected', (value) => {
  expect(() => assertPlainObject('options', value)).toThrow(refused('options'));
});

test('names an option that nobody knows, and those that are known', () => {
  expect(() => assertKnownKeys('options', { limit: 1 }, ['limit', 'offset'])).not.toThrow();
  expect(() => assertKnownKeys('options', { limit: 1, ofset: 1 }, ['limit', 'offset'])).toThrow(
    refused('options.ofset'),
  );
  expect(() => assertKnownKeys('options', { ofset: 1 }, ['limit', 'offset'])).toThrow(/limit, offset/);
});

test.each(['ofset', 'offfset', 'offest', 'Offset', 'off_set', 'offsat'])(
  'says which option was meant by "%s"',
  (given) => {
    expect(() => assertKnownKeys('options', { [given]: 1 }, ['limit', 'offset', 'status'])).toThrow(
      `options.${given} must be one of the known options (limit, offset, status), but was "${given}" (string). ` +
        'Did you mean "offset"?',
    );
  },
);

test.each(['', 'priority', 'state', 'constructor', '__proto__'])('guesses nothing from "%s"', (given) => {
  const options = Object.fromEntries([[given, 1]]);
  expect(() => assertKnownKeys('options', options, ['limit', 'offset', 'taskQueue'])).toThrow(
    /\(string\)\.$/,
  );
});

/** Each public call that takes options, with one that is mistyped. */
test.each([
  { call: () => resolveRetry('retry', untyped({ maximumAttemps: 5 })), meant: 'maximumAttempts' },
  { call: () => resolveBatchOptions(untyped({ desciption: 'A' }), () => 'id'), meant: 'description' },
  { call: () => resolveBatchChanges(untyped({ failwhen: 'settled' })), meant: 'failWhen' },
  { call: () => resolvePruneOptions(untyped({ older_than: '1 day' })), meant: 'olderThan' },
  { call: () => resolveWorkerOptions(untyped({ taskqueue: 'a' })), meant: 'taskQueue' },
  { call: () => defineJob('Job', async () => {}, untyped({ retries: {} })), meant: undefined },
  {
    call: () => defineJob('Job', async () => {}, untyped({ startToCloseTimeOut: '1s' })),
    meant: 'startToCloseTimeout',
  },
  {
    call: () => defineCallback('Callback', async () => {}, untyped({ transactional: true })),
    meant: 'transaction',
  },
  { call: () => new BatchClient(untyped({ databse: 'postgres://unused' })), meant: 'database' },
])('a mistyped option is refused with "$meant" as what was meant', ({ call, meant }) => {
  expect(call).toThrow(meant === undefined ? /\(string\)\.$/ : `Did you mean "${meant}"?`);
});
