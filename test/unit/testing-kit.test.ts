import { Client, Connection } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, test } from 'vitest';
import { BatchPlugin, currentBatch, currentJob, defineCallback, defineJob } from '../../src/index.ts';
import {
  assertEnrolled,
  createInlineBatches,
  forceOutcome,
  InlineUnsupportedError,
  performJob,
} from '../../src/testing/index.ts';
import { codeOf } from '../support/codes.ts';

const double = defineJob('Double', async (value: number) => value * 2, { storeResult: true });
const fails = defineJob('Fails', async () => {
  throw new RangeError('always');
});

/** A client, closed with the test's end by `await using`. */
const setup = (options: Parameters<typeof createInlineBatches>[0] = {}) =>
  createInlineBatches({ jobs: [double, fails], ...options });

test('keeps limits in memory, and refuses jobs under one that was never set', async () => {
  await using batches = setup();
  expect(await batches.limits.set('stripe', { maxConcurrent: 2 })).toMatchObject({ maxConcurrent: 2 });
  const batch = await batches.create({ description: 'A test' });
  await batch.jobs(async () => {
    await double.set({ limit: { name: 'stripe', key: 'a' } }).performAsync(1);
    expect(await codeOf(double.set({ limit: 'strip' }).performAsync(2))).toBe('UNKNOWN_LIMIT');
  });
  expect(await batch.wait()).toMatchObject({ status: 'complete', total: 1 });
  expect(await batches.limits.list()).toMatchObject([{ name: 'stripe', running: 0 }]);
  expect(await batches.limits.delete('stripe')).toBe(true);
  expect(await batches.limits.get('stripe')).toBeUndefined();
});

describe('performJob', () => {
  test('runs a handler in its context, and returns what it returns', async () => {
    const about = defineJob('About', async (value: unknown) => {
      const { jid, batchId, attempt, round } = currentJob();
      return { value, jid, batchId, attempt, round };
    });
    expect(await performJob(about, [{ a: 1 }], { attempt: 3, batchId: 'b' })).toEqual({
      value: { a: 1 },
      jid: 'b/1',
      batchId: 'b',
      attempt: 3,
      round: 1,
    });
    expect(await performJob(about, [1])).toMatchObject({ jid: 'job-1', batchId: undefined, attempt: 1 });
  });

  test('throws what the handler throws, as it was', async () => {
    await expect(performJob(fails, [])).rejects.toThrow(RangeError);
  });

  test('refuses what a row cannot carry, of arguments and of results', async () => {
    expect(await codeOf(performJob(double, [Number.NaN]))).toBe('INVALID_ARGUMENTS');
    const date = defineJob('Date', async () => new Date(), { storeResult: true });
    await expect(performJob(date, [])).rejects.toThrow('The handler has run, but');
  });

  test('gives the handler copies of its arguments, as a worker would', async () => {
    const given = { list: [1] };
    const changes = defineJob('Changes', async (value: { list: number[] }) => value.list.push(2));
    await performJob(changes, [given]);
    expect(given).toEqual({ list: [1] });
  });

  test('refuses options that it does not know, and a client that was not given', async () => {
    expect(await codeOf(performJob(double, [1], { atempt: 1 } as object))).toBe('INVALID_OPTION');
    const uses = defineJob('Uses', async () => currentJob().batches.taskQueue);
    expect(await codeOf(performJob(uses, []))).toBe('INVALID_OPTION');
    await using batches = setup();
    expect(await performJob(uses, [], { batches })).toBe('batch-jobs');
  });
});

describe('inline batches', () => {
  test('run nothing before they are drained, and then all', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test' });
    expect(await batch.jobs(() => double.performBulk([[1], [2]]))).toEqual({ total: 2 });
    expect(await batch.progress()).toMatchObject({ status: 'running', pending: 2 });
    await assertEnrolled(batch, double, [2]);
    expect(await batches.drain()).toEqual({ jobs: 2, callbacks: 0 });
    expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 2 });
    expect(await batches.drain()).toEqual({ jobs: 0, callbacks: 0 });
    const results = [];
    for await (const { args, result } of batch.eachResult(double)) results.push([args[0], result]);
    expect(results).toEqual([
      [1, 2],
      [2, 4],
    ]);
  });

  test('run what callbacks and handlers start: batches, plain jobs and jobs of their own', async () => {
    const ran: number[] = [];
    const notes = defineJob('Notes', async (value: number) => void ran.push(value));
    const starts = defineJob('Starts', async () => {
      await notes.performAsync(1);
      await currentBatch().jobs(() => notes.performAsync(2));
    });
    const next = defineCallback('Next', async (_id, { batches }) => {
      const batch = await batches.create({ id: 'next', description: 'Next' });
      await batch.jobs(() => notes.performAsync(3));
      await batch.wait();
    });
    await using batches = setup({ jobs: [notes, starts] });
    const batch = await batches.create({ description: 'A test' });
    await batch.on('complete', next);
    await batch.jobs(() => starts.performAsync());
    expect(await batches.drain()).toEqual({ jobs: 3, callbacks: 1 });
    expect(new Set(ran)).toEqual(new Set([1, 2, 3]));
    const [newest] = await batches.list();
    expect(newest).toMatchObject({ id: 'next', status: 'complete', parentId: batch.id });
  });

  test('retry at once, as often as the policy says, or not at all', async () => {
    const attemptsOf = async (retries: 'immediate' | 'none') => {
      await using batches = setup({ retries });
      const batch = await batches.create({ description: 'A test' });
      await batch.jobs(async () => {
        await fails.performAsync();
        await fails.set({ retry: { maximumAttempts: 2 } }).performAsync();
      });
      await batches.drain();
      return (await batch.failedJobs()).map(({ attempts }) => attempts);
    };
    expect(await attemptsOf('immediate')).toEqual([5, 2]);
    expect(await attemptsOf('none')).toEqual([1, 1]);
  });

  test('force the outcomes that a test chooses, attempt by attempt', async () => {
    const forced = forceOutcome(double, ({ args: [value], attempt, jid }) => {
      if (value === 1 && attempt < 3) return { error: new Error(`${jid} again`) };
      if (value === 2) return { error: ApplicationFailure.nonRetryable('never') };
      return value === 3 ? { result: 0 } : undefined;
    });
    await using batches = setup({ jobs: [forced] });
    const batch = await batches.create({ description: 'A test' });
    await batch.jobs(() => double.performBulk([[1], [2], [3], [4]]));
    await batches.drain();
    expect(await batch.failedJobs()).toMatchObject([{ args: [2], attempts: 1, errorMessage: 'never' }]);
    expect(await batch.completedJobs()).toMatchObject([{ attempts: 3 }, { attempts: 1 }, { attempts: 1 }]);
    expect((await batch.results()).map(({ result }) => result)).toEqual([2, 0, 8]);
  });

  test('have the callbacks that create was given', async () => {
    const ended: string[] = [];
    const note = defineCallback('Note', (id) => void ended.push(id));
    await using batches = setup();
    const options = { id: 'given', description: 'A test', callbacks: { complete: note } };
    const batch = await batches.create(options);
    expect(await batch.callbacks()).toMatchObject([
      { event: 'complete', callback: 'Note', status: 'registered' },
    ]);
    await batch.jobs(() => double.performAsync(1));
    await batches.drain();
    expect(ended).toEqual([batch.id]);
    await expect(batches.create({ ...options, callbacks: {} })).rejects.toMatchObject({
      differences: ['callbacks'],
    });
    const traced = defineCallback('Traced', () => {}, { transaction: true });
    const none = { complete: undefined } as object;
    expect(await (await batches.create({ description: 'A test', callbacks: none })).callbacks()).toEqual([]);
    const refused = batches.create({ description: 'A test', callbacks: { settled: traced } });
    await expect(refused).rejects.toThrow('Traced');
  });

  test('warn of a callback that fails for good, and go on', async () => {
    const warnings: unknown[] = [];
    const broken = defineCallback('Broken', () => Promise.reject(new RangeError('no')), {
      retry: { maximumAttempts: 2 },
    });
    await using batches = setup({ logger: { warn: (message, meta) => warnings.push([message, meta]) } });
    const batch = await batches.create({ description: 'A test' });
    await batch.on('complete', broken);
    await batch.jobs(() => double.performAsync(1));
    expect(await batch.wait()).toMatchObject({ status: 'complete' });
    expect(await batch.callbacks()).toMatchObject([{ status: 'failed', attempts: 2, errorMessage: 'no' }]);
    expect(warnings).toEqual([
      ['A callback failed for good', expect.objectContaining({ batchId: batch.id, event: 'complete' })],
    ]);
  });

  test('stop what is left after a failure, where the policy says so', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test', afterFailure: 'cancelRemaining' });
    await batch.jobs(async () => {
      await double.performAsync(1);
      await fails.performAsync();
      await double.performAsync(2);
    });
    expect(await batch.wait()).toMatchObject({ status: 'failed', complete: 1, failed: 1, cancelled: 1 });
    expect(await batch.cancelledJobs()).toMatchObject([{ args: [2] }]);
  });

  test('say why a batch that is waited for does not end', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test', autoSeal: false });
    await batch.jobs(() => double.performAsync(1));
    await expect(batch.wait()).rejects.toMatchObject({
      code: 'WAIT_TIMED_OUT',
      message: expect.stringContaining('not sealed'),
    });
    await batch.pause();
    await batch.seal();
    expect(await batch.wait()).toMatchObject({ status: 'complete' });
  });

  test('name a job that was not given, when it is to run', async () => {
    await using batches = setup({ jobs: [] });
    const batch = await batches.create({ description: 'A test' });
    await batch.jobs(() => double.performAsync(1));
    await expect(batches.drain()).rejects.toThrow('jobs must be given all jobs that are to run: "Double"');
  });

  test('give the same batch for the same id, and refuse it for other options', async () => {
    await using batches = setup();
    const create = (description: string) => batches.create({ id: 'one', description });
    expect((await create('A test')).id).toBe((await create('A test')).id);
    expect(await codeOf(create('Another'))).toBe('BATCH_EXISTS');
    expect(await codeOf(batches.find('two'))).toBe('BATCH_NOT_FOUND');
  });

  test('enrol what a block starts, and nothing that outlives it', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test' });
    let late!: () => Promise<string>;
    await batch.jobs(async () => {
      await double.performAsync(1);
      const { promise, resolve } = deferred();
      const outlives = promise.then(() => double.performAsync(2));
      late = () => {
        resolve();
        return outlives;
      };
    });
    expect(await codeOf(late())).toBe('ENROLLMENT_CLOSED');
  });

  test('refuse what needs servers, and say where to test it', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test' });
    await batch.jobs(() => double.performAsync(1));
    expect(() => batch.pendingJobs().where({ status: 'x' })).toThrow(InlineUnsupportedError);
    for (const call of [() => batch.retryFailed(), () => batch.rounds(), () => batches.prune()])
      await expect(call()).rejects.toThrow('docs/testing.md');
    const transactional = defineCallback('Transactional', async () => {}, { transaction: true });
    await expect(batch.on('complete', transactional)).rejects.toThrow(InlineUnsupportedError);
  });

  test('refuse a workflow that is started in a block, before anything is started', async () => {
    await using batches = setup();
    const batch = await batches.create({ description: 'A test' });
    // Never connected: a request would fail otherwise.
    const connection = Connection.lazy({ address: '127.0.0.1:1' });
    const { workflow } = new Client({ connection, plugins: [new BatchPlugin()] });
    const options = { workflowId: 'order-1', taskQueue: 'orders' };
    await batch.jobs(async () => {
      await double.performAsync(1);
      await expect(workflow.start('order', options)).rejects.toThrow(
        'Workflow "order-1", which is a job, needs Postgres and Temporal',
      );
    });
    expect(await batch.progress()).toMatchObject({ total: 1 });
  });

  test('refuse options that they do not know', () => {
    expect(() => createInlineBatches({ job: [] } as object)).toThrow('jobs');
    expect(() => createInlineBatches({ retries: 'some' as 'none' })).toThrow('retries');
  });
});

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve!: () => void;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
