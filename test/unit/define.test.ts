import { describe, expect, test } from 'vitest';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';
import { isCallback } from '../../src/jobs/define-callback.ts';
import { runInJobContext, type JobContext } from '../../src/jobs/job-context.ts';

const untyped = (value: unknown) => value as never;
const refused = (option: string) => expect.objectContaining({ name: 'InvalidOptionError', option });
const NAMES = ['', '  ', 'a\0b', 'x'.repeat(201), undefined, 5];

describe('defineJob', () => {
  test('keeps the name, the handler, and the options with their defaults', () => {
    const handler = async (_entryId: number) => {};
    const job = defineJob('ScoreEntry', handler, { retry: { maximumAttempts: 2 } });
    expect(job).toMatchObject({
      name: 'ScoreEntry',
      handler,
      options: { retry: { maximumAttempts: 2, initialIntervalMs: 1_000 }, startToCloseTimeoutMs: 600_000 },
    });
  });

  test.each(NAMES)('refuses the name %j', (name) => {
    expect(() => defineJob(untyped(name), async () => {})).toThrow(refused('name'));
  });

  test.each([undefined, null, 'handler', {}])('refuses the handler %o', (handler) => {
    expect(() => defineJob('Job', untyped(handler))).toThrow(refused('handler'));
  });

  test('refuses an unknown option with the name of the job', () => {
    expect(() => defineJob('Job', async () => {}, untyped({ retries: 5 }))).toThrow(
      refused('defineJob("Job").retries'),
    );
  });

  test('refuses wrong options of a call when they are set, before anything starts', () => {
    const job = defineJob('Job', async () => {});
    expect(() => job.set({ startDelay: untyped('soon') })).toThrow(refused('Job.set().startDelay'));
    expect(() => job.set(untyped({ delay: 5 }))).toThrow(refused('Job.set().delay'));
    expect(() => job.set(untyped(undefined))).toThrow(refused('Job.set()'));
  });

  test('refuses arguments that JSON cannot carry, with their path', async () => {
    const job = defineJob('Job', async (_value: unknown, _more?: unknown) => {});
    await expect(job.performAsync(1, { at: new Date(0) })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENTS',
      path: 'args[1].at',
    });
  });

  test('refuses to start a job when this process has no client to start it with', async () => {
    const job = defineJob('ScoreEntry', async (_value: number) => {});
    const refusal = {
      code: 'NO_CLIENT',
      message: expect.stringMatching(/^ScoreEntry\.performAsync.*no open BatchClient/),
    };
    await expect(job.performAsync(1)).rejects.toMatchObject(refusal);
    await expect(job.performBulk([[1], [2]])).rejects.toMatchObject(refusal);
    await expect(job.set({ startDelay: '1s' }).performAsync(1)).rejects.toMatchObject(refusal);
  });

  test('starts nothing for an empty list', async () => {
    expect(await defineJob('Job', async () => {}).performBulk([])).toEqual([]);
  });
});

describe('defineCallback', () => {
  test('keeps the name and the handler, retries without a limit and gives ten minutes by default', () => {
    const handler = async (_batchId: string) => {};
    expect(defineCallback('Notify', handler)).toEqual({
      name: 'Notify',
      handler,
      options: {
        retry: {
          initialIntervalMs: 1_000,
          backoffCoefficient: 2,
          maximumIntervalMs: 300_000,
          nonRetryableErrorTypes: [],
        },
        startToCloseTimeoutMs: 600_000,
        transaction: false,
      },
    });
  });

  test('takes a retry policy, a time, a task queue and a transaction', () => {
    const { options } = defineCallback('Notify', async () => {}, {
      retry: { maximumAttempts: 3 },
      startToCloseTimeout: '5s',
      taskQueue: 'callbacks',
      transaction: true,
    });
    expect(options).toMatchObject({
      retry: { maximumAttempts: 3, maximumIntervalMs: 300_000 },
      startToCloseTimeoutMs: 5_000,
      taskQueue: 'callbacks',
      transaction: true,
    });
  });

  test.each(NAMES)('refuses the name %j', (name) => {
    expect(() => defineCallback(untyped(name), async () => {})).toThrow(refused('name'));
  });

  test.each([undefined, null, 'handler', {}])('refuses the handler %o', (handler) => {
    expect(() => defineCallback('Notify', untyped(handler))).toThrow(refused('handler'));
  });

  test.each([
    ['', null],
    ['.transaction', { transaction: 'yes' }],
    ['.taskQueue', { taskQueue: '' }],
    ['.startToCloseTimeout', { startToCloseTimeout: 0 }],
    ['.retry.maximumAttempts', { retry: { maximumAttempts: 0 } }],
    ['.scheduleToCloseTimeout', { scheduleToCloseTimeout: '5s' }],
  ])('refuses the option "%s" of %o', (option, options) => {
    expect(() => defineCallback('Notify', async () => {}, untyped(options))).toThrow(
      refused(`defineCallback("Notify")${option}`),
    );
  });

  test('is told apart from anything else', () => {
    expect(isCallback(defineCallback('Notify', async () => {}))).toBe(true);
    const others = [
      defineJob('Job', async () => {}),
      async () => {},
      null,
      undefined,
      'Notify',
      {},
      { name: 'Notify' },
    ];
    expect(others.filter(isCallback)).toEqual([]);
  });
});

describe('currentJob', () => {
  test('refuses to answer outside of a job', () => {
    expect(() => currentJob()).toThrow(expect.objectContaining({ code: 'NO_JOB_CONTEXT' }));
  });

  test('answers in a handler and in what it awaits, for several at once', async () => {
    const jidIn = (jid: string) =>
      runInJobContext({ jid } as JobContext, async () => {
        await Promise.resolve();
        return currentJob().jid;
      });
    expect(await Promise.all([jidIn('b/1'), jidIn('b/2')])).toEqual(['b/1', 'b/2']);
  });
});
