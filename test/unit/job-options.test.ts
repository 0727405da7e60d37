import { describe, expect, test } from 'vitest';
import { overrideJobOptions, resolveJobOptions } from '../../src/jobs/job-options.ts';

const untyped = (value: unknown) => value as never;
const refused = (option: string) => expect.objectContaining({ code: 'INVALID_OPTION', option });

describe('the options of a job', () => {
  test('are five attempts of ten minutes by default', () => {
    expect(resolveJobOptions('job')).toEqual({
      retry: {
        initialIntervalMs: 1_000,
        backoffCoefficient: 2,
        maximumIntervalMs: 100_000,
        maximumAttempts: 5,
        nonRetryableErrorTypes: [],
      },
      startToCloseTimeoutMs: 600_000,
    });
  });

  test('keep five attempts when only intervals are set', () => {
    expect(resolveJobOptions('job', { retry: { initialInterval: '1 minute' } }).retry).toMatchObject({
      initialIntervalMs: 60_000,
      maximumAttempts: 5,
    });
  });

  test('are in milliseconds', () => {
    const options = {
      startToCloseTimeout: '5s',
      scheduleToCloseTimeout: '1 hour',
      taskQueue: 'gpu',
    } as const;
    expect(resolveJobOptions('job', options)).toMatchObject({
      startToCloseTimeoutMs: 5_000,
      scheduleToCloseTimeoutMs: 3_600_000,
      taskQueue: 'gpu',
    });
  });

  test('leave out what is undefined', () => {
    const options = {
      startToCloseTimeout: undefined,
      scheduleToCloseTimeout: undefined,
      taskQueue: undefined,
    };
    const resolved = resolveJobOptions('job', untyped({ ...options, retry: undefined }));
    expect(resolved).toStrictEqual(resolveJobOptions('job'));
  });

  test.each([
    ['job', null],
    ['job', 'fast'],
    ['job.timeout', { timeout: '5s' }],
    ['job.startDelay', { startDelay: '5s' }],
    ['job.startToCloseTimeout', { startToCloseTimeout: 0 }],
    ['job.scheduleToCloseTimeout', { scheduleToCloseTimeout: 'soon' }],
    ['job.taskQueue', { taskQueue: '' }],
    ['job.taskQueue', { taskQueue: 5 }],
    ['job.retry', { retry: 3 }],
    ['job.retry.maximumAttempts', { retry: { maximumAttempts: 0 } }],
  ])('are refused by the name %s for %o', (option, options) => {
    expect(() => resolveJobOptions('job', untyped(options))).toThrow(refused(option));
  });
});

describe('the options of a call', () => {
  const definition = resolveJobOptions('job', {
    retry: {
      initialInterval: '5s',
      maximumInterval: '20s',
      maximumAttempts: 3,
      nonRetryableErrorTypes: ['A'],
    },
    startToCloseTimeout: '1 minute',
    scheduleToCloseTimeout: '1 hour',
    taskQueue: 'gpu',
  });

  test('are those of the definition where it sets none', () => {
    expect(overrideJobOptions('call', definition, {})).toEqual(definition);
  });

  test.each([
    [{ startDelay: '3s' }, { startDelayMs: 3_000 }],
    [{ startToCloseTimeout: '2s' }, { startToCloseTimeoutMs: 2_000 }],
    [{ scheduleToCloseTimeout: '2s' }, { scheduleToCloseTimeoutMs: 2_000 }],
    [{ taskQueue: 'mail' }, { taskQueue: 'mail' }],
  ] as const)('replace with %j no more than it names', (options, changes) => {
    expect(overrideJobOptions('call', definition, options)).toEqual({ ...definition, ...changes });
  });

  test('change single parts of the retry policy', () => {
    const { retry } = overrideJobOptions('call', definition, { retry: { maximumAttempts: 9 } });
    expect(retry).toEqual({ ...definition.retry, maximumAttempts: 9 });
  });

  test('can lift the limit of attempts', () => {
    const { retry } = overrideJobOptions('call', definition, { retry: { maximumAttempts: Infinity } });
    expect(retry).not.toHaveProperty('maximumAttempts');
  });

  test('leave the definition as it was', () => {
    const before = structuredClone(definition);
    overrideJobOptions('call', definition, {
      retry: { maximumAttempts: 9 },
      taskQueue: 'mail',
      startDelay: '3s',
    });
    expect(definition).toEqual(before);
  });

  test.each([
    ['call', null],
    ['call', undefined],
    ['call.delay', { delay: '5s' }],
    ['call.startDelay', { startDelay: -5 }],
    ['call.taskQueue', { taskQueue: ' ' }],
    ['call.retry.backoffCoefficient', { retry: { backoffCoefficient: 0 } }],
  ])('are refused by the name %s for %o', (option, options) => {
    expect(() => overrideJobOptions('call', definition, untyped(options))).toThrow(refused(option));
  });
});
