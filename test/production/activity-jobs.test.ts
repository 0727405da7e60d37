import { randomUUID } from 'node:crypto';
import { Context } from '@temporalio/activity';
import {
  ActivityNotFoundError,
  Client,
  Connection,
  type ActivityClientInterceptor,
  type ActivityHandle,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { ExecutionJob } from '../../activities/workflow-look.ts';
import { lookAt, requestCancel } from '../../activities/executions.ts';
import { BatchPlugin, type Batch, type BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { codeOf } from '../support/codes.ts';
import { doctor } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: MemberApp;
let worker: Worker;
let running: Promise<void>;
/** Activities called `waits` end when the gate of their id is opened. */
const open = new Set<string>();

const activities = {
  returns: async (...args: unknown[]) => args,
  fails: async () => {
    const cause = ApplicationFailure.create({ type: 'CardDeclinedError', message: 'The card was declined' });
    throw ApplicationFailure.create({
      type: 'PaymentError',
      message: 'No payment',
      nonRetryable: true,
      cause,
    });
  },
  failsAtFirst: async (times: number) => {
    if (Context.current().info.attempt <= times) throw new Error('not yet');
  },
  waits: async () => {
    const context = Context.current();
    for (;;) {
      context.heartbeat();
      if (open.has(context.info.activityId)) return;
      await context.sleep(50);
    }
  },
};

beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  app = await startMemberApp(world);
  const taskQueue = taskQueueOf();
  worker = await Worker.create({ connection: world.connection, taskQueue, activities });
  running = worker.run();
});
afterAll(async () => {
  worker.shutdown();
  await running;
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

type StartOptions = Parameters<Client['activity']['start']>[1];

const taskQueueOf = () => `${app.taskQueue}-activities`;
const optionsOf = (changes: Partial<StartOptions> = {}): StartOptions => ({
  id: app.newId(),
  taskQueue: taskQueueOf(),
  startToCloseTimeout: '1 minute',
  heartbeatTimeout: '2s',
  ...changes,
});

interface Started {
  readonly batch: Batch;
  readonly handle: ActivityHandle;
}

/** A batch of one activity. */
async function startJob(
  activityType: string,
  { batch: batchOptions = {}, ...options }: Partial<StartOptions> & { batch?: Partial<BatchOptions> } = {},
): Promise<Started> {
  const batch = await createBatch(world, batchOptions);
  let handle!: ActivityHandle;
  await batch.jobs(async () => {
    handle = await app.client.activity.start(activityType, optionsOf(options));
  });
  return { batch, handle };
}

/** Waits for the end of a batch of one activity. @returns what its row says */
async function endOf({ batch }: Pick<Started, 'batch'>) {
  const progress = await batch.wait({ timeout: '50s' });
  await expectConsistent(world, batch);
  const isComplete = progress.complete === 1;
  const [job] = await (isComplete ? batch.completedJobs() : batch.failedJobs());
  expect(await firedCallbacks(world, batch.id)).toEqual([
    isComplete ? 'OnComplete' : 'OnFailure',
    'OnSettled',
  ]);
  const { status, errorClass, errorMessage, attempts, startedAt, finishedAt } = job!;
  expect(startedAt!.getTime()).toBeLessThanOrEqual(finishedAt!.getTime());
  return { status, errorClass, errorMessage, attempts };
}

const COMPLETE = { status: 'complete', errorClass: null, errorMessage: null, attempts: 1 };
const failed = (errorClass: string, errorMessage: unknown = expect.any(String)) => ({
  status: 'failed',
  errorClass,
  errorMessage,
  attempts: 1,
});

async function rowsOf(batch: Batch): Promise<{ activity_id: string; run_id: string | null }[]> {
  return world.knex
    .withSchema(world.schema)
    .from('batch_jobs')
    .where('batch_id', batch.id)
    .orderBy('position');
}

async function startsOf(batch: Batch): Promise<unknown[]> {
  return world.knex.withSchema(world.schema).from('batch_starts').where('batch_id', batch.id);
}

/** As if the rows were older than a start may take. */
async function age(batch: Batch): Promise<void> {
  await world.knex.raw(
    `update ??.batch_jobs set created_at = created_at - interval '5 minutes' where batch_id = ?`,
    [world.schema, batch.id],
  );
}

const statusOf = async (id: string) => (await world.client.activity.getHandle(id).describe()).status;

describe('an activity that is started inside an enrolment block', () => {
  test('is a job with its type and arguments, beside workflows of the same id and jobs that have handlers', async () => {
    const batch = await createBatch(world);
    const id = app.newId();
    await batch.jobs(async () => {
      await app.client.activity.start('returns', optionsOf({ id, args: [{ order: 1 }, 'x'] }));
      await app.client.workflow.start('returns', { workflowId: id, taskQueue: app.taskQueue });
      await world.fixtures.jobs.record.performAsync(1);
      expect(await app.client.activity.execute('returns', optionsOf({ args: [2] }))).toEqual([2]);
    });
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 4, complete: 4 });
    const jobs = await batch.completedJobs();
    expect(jobs).toMatchObject([
      { workerClass: 'returns', activityId: id, workflowId: null, args: [{ order: 1 }, 'x'], key: null },
      { workerClass: 'returns', activityId: null, workflowId: id },
      { workerClass: 'Record', activityId: null, workflowId: null },
      { workerClass: 'returns', args: [2] },
    ]);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
    const { stdout } = await runCli(['jobs', batch.id, '--schema', world.schema]);
    expect(stdout).toContain(`activity ${id}`);
    expect(stdout).toContain(`workflow ${id}`);
  });

  test('is refused when its id is a job of the batch already, before anything is started', async () => {
    const batch = await createBatch(world);
    const id = app.newId();
    await batch.jobs(async () => {
      const { runId } = await app.client.activity.start('returns', optionsOf({ id }));
      expect(await codeOf(app.client.activity.start('returns', optionsOf({ id })))).toBe('ACTIVITY_ENROLLED');
      expect(await world.client.activity.getHandle(id).describe()).toMatchObject({ activityRunId: runId });
    });
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 1 });
  });

  test('may run already, when the start attaches to it', async () => {
    const id = app.newId();
    await world.client.activity.start('waits', optionsOf({ id }));
    const { batch } = await startJob('waits', { id, idConflictPolicy: 'USE_EXISTING' });
    open.add(id);
    expect(await endOf({ batch })).toEqual(COMPLETE);
  });

  test('is none outside of a block', async () => {
    expect(await app.client.activity.execute('returns', optionsOf({ args: [1] }))).toEqual([1]);
  });
});

describe('a start of an activity that is refused', () => {
  test('leaves no job, and reaches the caller as it was', async () => {
    const id = app.newId();
    await world.client.activity.start('waits', optionsOf({ id }));
    const batch = await createBatch(world);
    const { activity } = app.client;
    await batch.jobs(async () => {
      await expect(activity.start('waits', optionsOf({ id }))).rejects.toMatchObject({
        name: 'ActivityExecutionAlreadyStartedError',
      });
      await expect(activity.start('waits', { id: app.newId(), taskQueue: taskQueueOf() })).rejects.toThrow(
        'startToCloseTimeout',
      );
      await expect(activity.start('returns', optionsOf({ args: ['x'.repeat(3_000_000)] }))).rejects.toThrow(
        /./,
      );
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 1 });
    expect(await startsOf(batch)).toEqual([]);
    open.add(id);
  });

  test('may be tried again under the same id', async () => {
    const id = app.newId();
    let isFirst = true;
    const veto: ActivityClientInterceptor = {
      start: async (input, next) => {
        if (!isFirst) return next(input);
        isFirst = false;
        throw new Error('seen before');
      },
    };
    const client = app.openClient({ interceptors: { activity: [veto] } });
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      await expect(client.activity.start('returns', optionsOf({ id }))).rejects.toThrow('seen before');
      await client.activity.start('returns', optionsOf({ id }));
    });
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 1 });
  });
});

/** As gRPC says it. */
const UNAVAILABLE = { code: 14, details: 'away', metadata: {} };

describe('a start of an activity whose answer is lost', () => {
  test('is a job, and looking finds that it was done', async () => {
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    const connection = await Connection.connect({ address: proxy.address });
    const client = new Client({ connection, plugins: [new BatchPlugin()] });
    const batch = await createBatch(world);
    const id = app.newId();
    await batch.jobs(async () => {
      proxy.holdAnswers();
      const start = client.withDeadline(Date.now() + 1_500, () =>
        client.activity.start('waits', optionsOf({ id })),
      );
      await expect(start).rejects.toThrow('Failed to start activity');
    });
    await connection.close();
    expect(await rowsOf(batch)).toMatchObject([{ activity_id: id }]);
    expect(await startsOf(batch)).toEqual([]);
    // Found by its mark.
    await eventually(async () => expect((await rowsOf(batch))[0]!.run_id).not.toBeNull());
    expect(await batch.progress()).toMatchObject({ pending: 1 });
    open.add(id);
    expect(await endOf({ batch })).toEqual(COMPLETE);
  });

  test('is a job that fails when it was not done, also where another batch has one of its id', async () => {
    const { batch: other, handle } = await startJob('waits');
    const id = handle.activityId;
    const away: ActivityClientInterceptor = {
      start: () => Promise.reject(Object.assign(new Error('away'), UNAVAILABLE)),
    };
    const client = app.openClient({ interceptors: { activity: [away] } });
    const batch = await createBatch(world);
    await batch.jobs(() => expect(client.activity.start('waits', optionsOf({ id }))).rejects.toThrow('away'));
    await age(batch);
    expect(await endOf({ batch })).toEqual(failed('ActivityNotStartedError'));
    open.add(id);
    expect(await endOf({ batch: other })).toEqual(COMPLETE);
  });
});

describe('an activity that is a job', () => {
  test('fails with its innermost application failure', async () => {
    expect(await endOf(await startJob('fails'))).toEqual(
      failed('CardDeclinedError', 'The card was declined'),
    );
  });

  test('goes on when its retry policy runs it again', async () => {
    const retry = { initialInterval: '300ms', maximumAttempts: 3 } as const;
    expect(await endOf(await startJob('failsAtFirst', { args: [2], retry }))).toEqual(COMPLETE);
  });

  test('fails when its retry policy gives it up', async () => {
    const retry = { initialInterval: '100ms', maximumAttempts: 2 } as const;
    expect(await endOf(await startJob('failsAtFirst', { args: [2], retry }))).toEqual(
      failed('Error', 'not yet'),
    );
  });

  test('fails when it was cancelled', async () => {
    const started = await startJob('waits');
    await started.handle.cancel('no need');
    expect(await endOf(started)).toEqual(failed('ActivityCancelledError'));
  });

  test('fails when it was terminated, and says why', async () => {
    const started = await startJob('waits');
    await started.handle.terminate('by an operator');
    expect(await endOf(started)).toEqual(
      failed('ActivityTerminatedError', expect.stringContaining('by an operator')),
    );
  });

  test('fails when its time is over, also without a worker', async () => {
    const options = { taskQueue: `${app.taskQueue}-nobody`, scheduleToCloseTimeout: '2s' } as const;
    expect(await endOf(await startJob('waits', options))).toEqual(failed('ActivityTimedOutError'));
  });

  test('fails when it was deleted', async () => {
    const started = await startJob('waits');
    await started.batch.pause();
    const { activityId } = started.handle;
    await world.client.workflowService.deleteActivityExecution({ namespace: 'default', activityId });
    await eventually(() => expect(started.handle.describe()).rejects.toBeInstanceOf(ActivityNotFoundError));
    await started.batch.resume();
    expect(await endOf(started)).toEqual(failed('ActivityDeletedError'));
  });

  test('has ended though another activity has its id by now', async () => {
    const started = await startJob('waits');
    await started.batch.pause();
    const { activityId: id } = started.handle;
    open.add(id);
    await started.handle.result();
    open.delete(id);
    await world.client.activity.start('waits', optionsOf({ id }));
    await started.batch.resume();
    expect(await endOf(started)).toEqual(COMPLETE);
    open.add(id);
  });

  test('is what the doctor says that its batch waits for', async () => {
    const { batch, handle } = await startJob('waits');
    const { stdout } = await doctor(world, batch.id);
    expect(stdout).toContain('1 activity of your own has not ended');
    open.add(handle.activityId);
    await batch.wait({ timeout: '30s' });
  });
});

describe('a batch that is stopped', () => {
  test('asks its activities to cancel', async () => {
    const { batch, handle } = await startJob('waits');
    await eventually(async () => expect((await handle.describe()).attempt).toBe(1));
    await batch.cancel({ reason: 'enough' });
    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    await eventually(async () => expect(await statusOf(handle.activityId)).toBe('CANCELED'));
  });

  test.each(['before', 'after'] as const)(
    'asks one to cancel whose start was under way: %s it was done',
    async (when) => {
      let arrived!: () => void;
      let release!: () => void;
      const arrival = new Promise<void>((resolve) => (arrived = resolve));
      const released = new Promise<void>((resolve) => (release = resolve));
      const holding: ActivityClientInterceptor = {
        start: async (input, next) => {
          const handle = when === 'after' ? await next(input) : undefined;
          arrived();
          await released;
          return handle ?? next(input);
        },
      };
      const client = app.openClient({ interceptors: { activity: [holding] } });
      const batch = await createBatch(world);
      const id = app.newId();
      const block = batch.jobs(() => client.activity.start('waits', optionsOf({ id })));
      await arrival;
      await batch.cancel();
      expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'cancelled', cancelled: 1 });
      release();
      await codeOf(block);
      await eventually(async () => expect(await statusOf(id)).toBe('CANCELED'));
    },
  );
});

describe('a later round', () => {
  test('looks at the newest activity of the id, which an operator has started again', async () => {
    const started = await startJob('fails');
    expect((await endOf(started)).status).toBe('failed');
    const { activityId: id } = started.handle;
    await world.client.activity.execute('returns', optionsOf({ id }));
    await started.batch.retryFailed();
    expect(await started.batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', complete: 1 });
  });

  test('fails again what nobody has started again', async () => {
    const started = await startJob('fails');
    await endOf(started);
    await started.batch.retryFailed();
    expect(await started.batch.wait({ timeout: '30s' })).toMatchObject({ status: 'failed', failed: 1 });
    expect(await started.batch.failedJobs()).toMatchObject([{ errorClass: 'CardDeclinedError', round: 2 }]);
  });
});

describe('a look at an activity', () => {
  const jobOf = (changes: Partial<ExecutionJob> = {}): ExecutionJob => ({
    batchId: 'b-1',
    kind: 'activity',
    id: `nobody-${randomUUID()}`,
    runId: randomUUID(),
    mayAttach: false,
    isRetried: false,
    ...changes,
  });
  /** As a worker asks, and as an app does. */
  const clients = () => [new Client({ connection: world.connection }), world.client];
  const LONG_MS = 3_600_000;

  test('that Temporal does not know finds that it was deleted, or never started', async () => {
    for (const client of clients()) {
      expect(await lookAt(client, jobOf(), LONG_MS)).toMatchObject({
        isOver: true,
        failure: { errorClass: 'ActivityDeletedError' },
      });
      expect(await lookAt(client, jobOf({ runId: null }), LONG_MS)).toMatchObject({
        isOver: true,
        failure: { errorClass: 'ActivityNotStartedError' },
      });
      expect(await lookAt(client, jobOf({ runId: null }), 1_000)).toEqual({ isOver: false });
    }
  });

  test('in a namespace that is not there finds nothing out', async () => {
    for (const { connection } of clients()) {
      const client = new Client({ connection, namespace: 'elsewhere' });
      await expect(lookAt(client, jobOf(), LONG_MS)).rejects.toThrow(/./);
    }
  });

  test('that is asked to cancel twice changes nothing', async () => {
    const { batch, handle } = await startJob('waits', { taskQueue: `${app.taskQueue}-nobody` });
    const job = jobOf({ batchId: batch.id, id: handle.activityId, runId: handle.runId! });
    expect(await requestCancel(world.client, job, 'enough')).toBe(true);
    expect(await requestCancel(world.client, job, 'enough')).toBe(false);
    expect(await endOf({ batch })).toEqual(failed('ActivityCancelledError'));
  });
});
