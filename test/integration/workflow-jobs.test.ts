import { AsyncResource } from 'node:async_hooks';
import {
  Client,
  WithStartWorkflowOperation,
  type WorkflowClientInterceptor,
  type WorkflowHandleWithFirstExecutionRunId,
} from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  batchClientInterceptors,
  BatchClient,
  BatchPlugin,
  currentBatch,
  currentJob,
  defineJob,
  outsideBlock,
  type Batch,
} from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { askUpdate, finishSignal } from '../support/member-workflows.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: MemberApp;

class SeenBeforeError extends Error {}

/** Adds a workflow to its batch, and fails the first time. */
const startsOne = defineJob(
  'StartsOne',
  async (workflowId: string) => {
    await currentBatch().jobs(async () => {
      const code = await codeOf(start('returns', [], { workflowId }));
      if (code !== undefined && code !== 'WORKFLOW_ENROLLED') throw new Error(code);
    });
    if (currentJob().attempt === 1) throw new Error('Again');
  },
  { retry: { initialInterval: '50ms' } },
);

beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), startsOne] });
  app = await startMemberApp(world);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** Starts a workflow of the app. */
function start(
  workflowType: string,
  args: unknown[] = [],
  options: Partial<Parameters<MemberApp['client']['workflow']['start']>[1]> = {},
): Promise<WorkflowHandleWithFirstExecutionRunId> {
  return app.client.workflow.start(workflowType, {
    workflowId: app.newId(),
    taskQueue: app.taskQueue,
    args,
    ...options,
  });
}

/** What the rows say of a batch's jobs. */
async function jobsOf(batch: Batch): Promise<Record<string, unknown>[]> {
  return world.knex.withSchema(world.schema).from('jobs').where('batch_id', batch.id).orderBy('position');
}

/** Starts of which nobody knows yet how they ended. */
async function startsOf(batch: Batch): Promise<unknown[]> {
  return world.knex.withSchema(world.schema).from('batch_starts').where('batch_id', batch.id);
}

/** How many runs there were of a workflow. */
async function runsOf(workflowId: string): Promise<number> {
  return eventually(async () => {
    const { count } = await world.client.workflow.count(`WorkflowId = "${workflowId}"`);
    expect(count).toBeGreaterThan(0);
    return count;
  });
}

describe('a workflow that is started inside an enrolment block', () => {
  test('is a job with its type and arguments, and completes the batch when it does', async () => {
    const batch = await createBatch(world);
    const handles: WorkflowHandleWithFirstExecutionRunId[] = [];
    const { total } = await batch.jobs(async () => {
      for (let i = 1; i <= 3; i++) handles.push(await start('returns', [{ order: i }, 'x']));
    });
    expect(total).toBe(3);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 3,
      complete: 3,
    });
    expect(await jobsOf(batch)).toMatchObject(
      handles.map(({ workflowId }, index) => ({
        position: index + 1,
        workflow_id: workflowId,
        worker_class: 'returns',
        args: [{ order: index + 1 }, 'x'],
        status: 'complete',
        attempts: 1,
        key: null,
      })),
    );
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('is waited for, beside jobs that have handlers', async () => {
    const batch = await createBatch(world);
    let handle!: WorkflowHandleWithFirstExecutionRunId;
    await batch.jobs(async () => {
      await world.fixtures.jobs.record.performAsync('first');
      handle = await start('waits');
      await world.fixtures.jobs.record.performAsync('last');
    });
    await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 2, pending: 1 }));
    await handle.signal(finishSignal);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 3 });
    expect((await jobsOf(batch)).map(({ worker_class }) => worker_class)).toEqual([
      'Record',
      'waits',
      'Record',
    ]);
    await expectConsistent(world, batch);
  });

  test('is one by execute, signalWithStart and executeUpdateWithStart, too', async () => {
    const batch = await createBatch(world);
    const { workflow } = app.client;
    const options = () => ({ workflowId: app.newId(), taskQueue: app.taskQueue });
    const [executed, signalled, updated] = [options(), options(), options()];
    await batch.jobs(async () => {
      expect(await workflow.execute('returns', { ...executed, args: [7] })).toBe(7);
      await workflow.signalWithStart('waits', { ...signalled, signal: finishSignal });
      const operation = new WithStartWorkflowOperation('waits', {
        ...updated,
        workflowIdConflictPolicy: 'FAIL',
      });
      const answer = await workflow.executeUpdateWithStart(askUpdate, {
        args: ['there'],
        startWorkflowOperation: operation,
      });
      expect(answer).toBe('there!');
    });
    await workflow.getHandle(updated.workflowId).signal(finishSignal);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 3 });
    expect((await jobsOf(batch)).map(({ workflow_id }) => workflow_id)).toEqual([
      executed.workflowId,
      signalled.workflowId,
      updated.workflowId,
    ]);
  });

  test('may run already, when the start attaches to it', async () => {
    const running = await start('waits');
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const { workflowId } = running;
      await start('waits', [], { workflowId, workflowIdConflictPolicy: 'USE_EXISTING' });
    });
    expect(await batch.progress()).toMatchObject({ pending: 1 });
    await running.signal(finishSignal);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });

  test('may run already, in the middle of its chain, when a signal starts nothing new', async () => {
    const running = await start('continues', [3]);
    await eventually(async () =>
      expect((await running.describe()).runId).not.toBe(running.firstExecutionRunId),
    );
    const batch = await createBatch(world);
    await batch.jobs(() =>
      app.client.workflow.signalWithStart('continues', {
        workflowId: running.workflowId,
        taskQueue: app.taskQueue,
        args: [3],
        signal: 'anything',
      }),
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await running.describe()).toMatchObject({ status: { name: 'COMPLETED' } });
  });

  test('is one of a hundred that are started at once', async () => {
    const batch = await createBatch(world);
    const { total } = await batch.jobs(() =>
      Promise.all(Array.from({ length: 100 }, (_, index) => start('returns', [index]))),
    );
    expect(total).toBe(100);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 100 });
    const args = (await jobsOf(batch)).map((job) => (job['args'] as number[])[0]);
    expect(new Set(args).size).toBe(100);
    await expectConsistent(world, batch);
  });

  test('is awaited by the end of the block, though the block does not await it', async () => {
    const batch = await createBatch(world);
    const { total } = await batch.jobs(() => {
      for (let i = 0; i < 3; i++) void start('returns', [i]);
    });
    expect(total).toBe(3);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 3 });
  });

  test('carries the mark in its memo beside its own, and its children do not', async () => {
    const batch = await createBatch(world);
    let handle!: WorkflowHandleWithFirstExecutionRunId;
    await batch.jobs(async () => void (handle = await start('hasChildren', [2], { memo: { own: 1 } })));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    const { memo } = await handle.describe();
    expect(memo).toEqual({ own: 1, batchJobs: { batchId: batch.id, workflowId: handle.workflowId } });
  });

  test('is none outside of a block, and in work that outlived it it is refused', async () => {
    expect((await (await start('returns')).describe()).memo).toEqual({});
    const batch = await createBatch(world);
    let late!: () => Promise<unknown>;
    await batch.jobs(async () => {
      late = AsyncResource.bind(() => start('returns'));
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await codeOf(late())).toBe('ENROLLMENT_CLOSED');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 1 });
  });

  test('is refused in another namespace than that of its batch', async () => {
    const elsewhere = app.openClient({ namespace: 'elsewhere' });
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const workflowId = app.newId();
      const options = { workflowId, taskQueue: app.taskQueue };
      expect(await codeOf(elsewhere.workflow.start('returns', options))).toBe('INVALID_OPTION');
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 1 });
  });

  test('is refused when its id is a job of the batch already, before anything is started', async () => {
    const batch = await createBatch(world);
    const workflowId = app.newId();
    await batch.jobs(async () => {
      const both = await Promise.allSettled([
        start('returns', [], { workflowId }),
        start('returns', [], { workflowId }),
      ]);
      expect(both.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected']);
      expect(await codeOf(start('returns', [], { workflowId }))).toBe('WORKFLOW_ENROLLED');
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await runsOf(workflowId)).toBe(1);
  });

  test('is started once by a handler that adds it, though the handler runs twice', async () => {
    const batch = await createBatch(world);
    const workflowId = app.newId();
    await batch.jobs(() => startsOne.performAsync(workflowId));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 2,
      complete: 2,
    });
    expect(await runsOf(workflowId)).toBe(1);
    await expectConsistent(world, batch);
  });
});

describe('in a block with a client that has the plugin', () => {
  test('batches, plain jobs and schedules of the library are no jobs of it', async () => {
    const batches = new BatchClient({
      client: app.client,
      database: world.knex,
      schema: world.schema,
      taskQueue: world.taskQueue,
    });
    const batch = await batches.create({ description: 'Outer' });
    const inner = `${batch.id}-inner`;
    const { total } = await batch.jobs(async () => {
      await world.fixtures.jobs.record.performAsync(1);
      await batches.create({ id: inner, description: 'Inner' });
      const { scheduleId } = await batches.schedulePrune({ olderThan: '1 day', every: '1 day' });
      await batches.unschedulePrune({ scheduleId });
    });
    expect(total).toBe(1);
    await (await batches.find(inner)).cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    await batches.close();
  });

  test('schedules are refused', async () => {
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const created = app.client.schedule.create({
        scheduleId: app.newId(),
        spec: { intervals: [{ every: '1 day' }] },
        action: { type: 'startWorkflow', workflowType: 'returns', taskQueue: app.taskQueue },
      });
      expect(await codeOf(created)).toBe('NOT_ENROLLABLE');
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 1 });
  });

  test('workflows that never end, because they have a cron schedule, are refused: however they are started', async () => {
    const batch = await createBatch(world);
    const started: string[] = [];
    const options = () => {
      const workflowId = app.newId();
      started.push(workflowId);
      return { workflowId, taskQueue: app.taskQueue, cronSchedule: '* * * * *' };
    };
    await batch.jobs(async () => {
      const { workflow } = app.client;
      const updated = () => {
        const startOperation = new WithStartWorkflowOperation('waits', {
          ...options(),
          args: [],
          workflowIdConflictPolicy: 'FAIL',
        });
        return workflow.executeUpdateWithStart('any', { startWorkflowOperation: startOperation });
      };
      const signalled = () =>
        workflow.signalWithStart('waits', { ...options(), signal: 'any', signalArgs: [], args: [] });
      for (const start of [() => workflow.start('returns', options()), signalled, updated])
        expect(await codeOf(start())).toBe('NOT_ENROLLABLE');
      await world.fixtures.jobs.record.performAsync(1);
      // Outside of the block it is started, and no job.
      const workflowId = app.newId();
      const start = { workflowId, taskQueue: app.taskQueue, cronSchedule: '* * * * *' };
      const handle = await outsideBlock(() => workflow.start('returns', start));
      await handle.terminate();
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    for (const workflowId of started)
      await expect(app.client.workflow.getHandle(workflowId).describe()).rejects.toThrow(
        WorkflowNotFoundError,
      );
  });

  test('activities of their own fail where the server has none, as it says, and leave no job', async () => {
    const options = { id: app.newId(), taskQueue: app.taskQueue, startToCloseTimeout: '1s' } as const;
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const started = app.client.activity.start('anything', options);
      // UNIMPLEMENTED
      await expect(started).rejects.toMatchObject({
        message: 'Failed to start activity',
        cause: { code: 12, details: expect.stringContaining('StartActivityExecution') },
      });
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await startsOf(batch)).toEqual([]);
  });

  test('what a worker does that is created there is no job of it', async () => {
    const batch = await createBatch(world);
    const taskQueue = `${world.taskQueue}-inside`;
    let stop!: () => Promise<void>;
    await batch.jobs(async () => {
      const worker = await Worker.create({
        connection: world.connection,
        taskQueue,
        activities: {
          startsAnother: async (workflowId: string) => {
            await start('returns', [], { workflowId });
          },
        },
        workflowBundle: app.workflowBundle,
      });
      const running = worker.run();
      stop = async () => {
        worker.shutdown();
        await running;
      };
      await app.client.workflow.execute('callsActivity', {
        workflowId: app.newId(),
        taskQueue,
        args: ['startsAnother', app.newId()],
      });
    });
    await stop();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  });

  test('installed twice, it acts once', async () => {
    const twice = app.openClient({ plugins: [new BatchPlugin(), new BatchPlugin()] });
    const batch = await createBatch(world);
    await batch.jobs(() =>
      twice.workflow.start('returns', { workflowId: app.newId(), taskQueue: app.taskQueue }),
    );
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  });

  test('put together by hand, an interceptor that refuses a start has the last word', async () => {
    const { workflow, schedule, activity } = batchClientInterceptors();
    const refuses: WorkflowClientInterceptor = {
      startWithDetails: async (input, next) => {
        if (input.workflowType === 'waits') throw new SeenBeforeError('seen before');
        return next(input);
      },
    };
    const client = new Client({
      connection: world.client.connection,
      interceptors: { workflow: [...workflow, refuses], schedule, activity },
    });
    const batch = await createBatch(world);
    const options = () => ({ workflowId: app.newId(), taskQueue: app.taskQueue });
    await batch.jobs(async () => {
      await expect(client.workflow.start('waits', options())).rejects.toBeInstanceOf(SeenBeforeError);
      await client.workflow.start('returns', options());
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await startsOf(batch)).toEqual([]);
  });

  test('interceptors of the older form are kept, too', async () => {
    const seen: string[] = [];
    const client = app.openClient({
      interceptors: {
        workflow: {
          calls: [
            ({ workflowId }) => ({
              start: async (input, next) => {
                seen.push(workflowId);
                return next(input);
              },
            }),
          ],
        },
      },
    });
    const batch = await createBatch(world);
    const workflowId = app.newId();
    await batch.jobs(() => client.workflow.start('returns', { workflowId, taskQueue: app.taskQueue }));
    expect(seen).toContain(workflowId);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  });
});
