import { randomUUID } from 'node:crypto';
import type { WorkflowHandleWithFirstExecutionRunId } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { rangesQuery, stateQuery, workflowsEndedSignal } from '../../workflows/messages.ts';
import { initialRange } from '../../workflows/range-state.ts';
import type { RunnerInput } from '../../workflows/runner.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { finishSignal } from '../support/member-workflows.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: MemberApp;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  app = await startMemberApp(world);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

type StartOptions = Partial<Parameters<MemberApp['client']['workflow']['start']>[1]>;

interface Started {
  readonly batch: Batch;
  readonly handle: WorkflowHandleWithFirstExecutionRunId;
}

/** A batch of one workflow. */
async function startJob(
  workflowType: string,
  args: unknown[] = [],
  { batch: batchOptions = {}, ...options }: StartOptions & { batch?: Partial<BatchOptions> } = {},
): Promise<Started> {
  const batch = await createBatch(world, batchOptions);
  let handle!: WorkflowHandleWithFirstExecutionRunId;
  await batch.jobs(async () => {
    handle = await app.client.workflow.start(workflowType, {
      workflowId: app.newId(),
      taskQueue: app.taskQueue,
      args,
      ...options,
    });
  });
  return { batch, handle };
}

/** Waits for the end of a batch of one workflow. @returns what its row says */
async function endOf({ batch }: Pick<Started, 'batch'>) {
  const progress = await batch.wait({ timeout: PATIENCE });
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

describe('a workflow that is a job', () => {
  test('fails with its innermost application failure', async () => {
    expect(await endOf(await startJob('fails'))).toEqual(
      failed('CardDeclinedError', 'The card was declined'),
    );
  });

  test('fails when it was cancelled', async () => {
    const started = await startJob('waits');
    await started.handle.cancel();
    expect(await endOf(started)).toEqual(failed('WorkflowCancelledError'));
  });

  test('fails when it was terminated, and says why', async () => {
    const started = await startJob('waits');
    await started.handle.terminate('by an operator');
    expect(await endOf(started)).toEqual(
      failed('WorkflowTerminatedError', 'The workflow was terminated: by an operator'),
    );
  });

  test('fails when its time is over, also without a worker', async () => {
    const options = { taskQueue: `${app.taskQueue}-nobody`, workflowRunTimeout: '2s' } as const;
    expect(await endOf(await startJob('waits', [], options))).toEqual(failed('WorkflowTimedOutError'));
  });

  test('fails when it was deleted', async () => {
    const started = await startJob('waits');
    await pause(started.batch);
    await remove(started.handle);
    await started.batch.resume();
    expect(await endOf(started)).toEqual(failed('WorkflowDeletedError'));
  });

  test('goes on when it continues as new', async () => {
    const started = await startJob('continues', [3]);
    expect(await endOf(started)).toEqual(COMPLETE);
    expect((await started.handle.describe()).runId).not.toBe(started.handle.firstExecutionRunId);
  });

  test('goes on when its retry policy runs it again', async () => {
    const retry = { initialInterval: '300ms', maximumAttempts: 3 } as const;
    expect(await endOf(await startJob('failsAtFirst', [2], { retry }))).toEqual(COMPLETE);
  });

  test('fails when its retry policy gives it up', async () => {
    const retry = { initialInterval: '100ms', maximumAttempts: 2 } as const;
    expect(await endOf(await startJob('failsAtFirst', [2], { retry }))).toEqual(
      failed('ApplicationFailure', 'not yet'),
    );
  });

  test('goes on when it was reset', async () => {
    const started = await startJob('waits');
    await eventually(async () => {
      const { historyLength } = await started.handle.describe();
      expect(historyLength).toBeGreaterThanOrEqual(4);
    });
    await reset(started.handle);
    // Looked at a few times, while its first run is closed.
    await eventually(async () => expect(await looksAt(started)).toBeGreaterThan(2));
    expect(await started.batch.progress()).toMatchObject({ pending: 1 });
    await started.handle.signal(finishSignal);
    expect(await endOf(started)).toEqual(COMPLETE);
  });

  test('has ended though another workflow has its id by now', async () => {
    const started = await startJob('waitsAndContinues');
    await pause(started.batch);
    await started.handle.signal(finishSignal);
    await started.handle.result();
    const { workflowId } = started.handle;
    const other = await app.client.workflow.start('waits', { workflowId, taskQueue: app.taskQueue });
    await started.batch.resume();
    expect(await endOf(started)).toEqual(COMPLETE);
    await other.signal(finishSignal);
  });

  test('is waited for by a worker that takes over from one that was killed', async () => {
    await using own = await createWorld();
    const victim = await own.spawnWorker();
    const batch = await createBatch(own);
    let handle!: WorkflowHandleWithFirstExecutionRunId;
    await batch.jobs(async () => {
      handle = await app.client.workflow.start('waits', {
        workflowId: app.newId(),
        taskQueue: app.taskQueue,
      });
    });
    victim.kill('SIGKILL');
    await victim.exited;
    await handle.signal(finishSignal);
    await own.spawnWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1 });
    expect(await firedCallbacks(own, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });

  test('is waited for across runs of the workflow that looks at it', async () => {
    const batch = { continueAsNewAfterEvents: 20, workflowCheckInterval: '1s' } as const;
    const started = await startJob('waits', [], { batch });
    const runner = world.client.workflow.getHandle(`batch:${started.batch.id}/runner/1`);
    const runOf = async () => (await runner.describe()).runId;
    const first = await eventually(runOf);
    await eventually(async () => expect(await runOf()).not.toBe(first));
    await started.handle.signal(finishSignal);
    expect(await endOf(started)).toEqual(COMPLETE);
  });
});

describe('a batch that was stopped', () => {
  test('asks its workflows to cancel, and is over when they were asked', async () => {
    const { batch, handle } = await startJob('waits');
    await batch.cancel({ reason: 'no need' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    await expect(handle.result()).rejects.toThrow('Workflow execution cancelled');
    expect((await handle.describe()).status.name).toBe('CANCELLED');
  });

  test('leaves another workflow alone that has the id of its own by now', async () => {
    const { batch, handle } = await startJob('waits');
    await pause(batch);
    await handle.terminate();
    const { workflowId } = handle;
    const other = await app.client.workflow.start('waits', { workflowId, taskQueue: app.taskQueue });
    await batch.cancel();
    await batch.wait({ timeout: PATIENCE });
    expect((await other.describe()).status.name).toBe('RUNNING');
    await other.signal(finishSignal);
    await other.result();
  });

  test('asks them also when it stops itself', async () => {
    const batch = await createBatch(world, { afterFailure: 'cancelRemaining' });
    let handle!: WorkflowHandleWithFirstExecutionRunId;
    await batch.jobs(async () => {
      handle = await app.client.workflow.start('waits', {
        workflowId: app.newId(),
        taskQueue: app.taskQueue,
      });
      await world.fixtures.jobs.failForGood.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      cancelled: 1,
      failed: 1,
    });
    await expect(handle.result()).rejects.toThrow('Workflow execution cancelled');
    expect((await handle.describe()).status.name).toBe('CANCELLED');
  });
});

describe('a later round', () => {
  test('looks at the newest workflow of the id, which an operator has started again', async () => {
    const started = await startJob('fails');
    expect((await endOf(started)).status).toBe('failed');
    const { workflowId } = started.handle;
    await app.client.workflow.start('returns', { workflowId, taskQueue: app.taskQueue });
    await started.batch.retryFailed();
    expect(await started.batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      complete: 1,
    });
  });

  test('fails again what nobody has started again', async () => {
    const started = await startJob('fails');
    await endOf(started);
    await started.batch.retryFailed();
    expect(await started.batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    expect(await started.batch.failedJobs()).toMatchObject([{ errorClass: 'CardDeclinedError', round: 2 }]);
  });
});

describe('what is said of workflows that have ended', () => {
  test.each([
    ['in the batch’s own workflow', false, {}],
    // Too short a history for a chunk of its own, and long enough for all that comes: a run that is about to continue as
    // new hears no hints.
    ['in a runner', true, { continueAsNewAfterEvents: 90 }],
  ])('makes the batch look at once: %s', async (_where, hasRunner, options) => {
    const { batch, handle } = await startJob('waits', [], {
      batch: { ...options, workflowCheckInterval: '1 hour' },
    });
    const state = await world.client.workflow.getHandle(`batch:${batch.id}`).query(stateQuery);
    expect(Object.values(state.runners)).toMatchObject([{ inline: !hasRunner }]);
    // So old that it is looked at twice an hour or less.
    await world.knex.raw(
      `update ??.batch_jobs set created_at = created_at - interval '10 hours' where batch_id = ?`,
      [world.schema, batch.id],
    );
    await eventually(async () => expect(await nextLookOf(batch)).toBeGreaterThan(Date.now() + 600_000));
    await handle.signal(finishSignal);
    await handle.result();
    const { workflowId } = handle;
    const hint = { workflowIds: [workflowId, workflowId, 'nobody', 7 as unknown as string] };
    const saidAt = Date.now();
    for (let i = 0; i < 2; i++) {
      await world.client.workflow.getHandle(`batch:${batch.id}`).signal(workflowsEndedSignal, hint);
    }
    expect(await endOf({ batch })).toEqual(COMPLETE);
    expect(Date.now() - saidAt).toBeLessThan(15_000 * SLOWNESS);
  });

  test('wrongly changes nothing', async () => {
    const { batch, handle } = await startJob('waits');
    const batchHandle = world.client.workflow.getHandle(`batch:${batch.id}`);
    const { workflowId } = handle;
    await batchHandle.signal(workflowsEndedSignal, { workflowIds: [workflowId] });
    await batchHandle.signal(workflowsEndedSignal, { workflowIds: 'nonsense' as unknown as string[] });
    await eventually(async () => expect(await looksAt({ batch, handle })).toBeGreaterThan(1));
    expect(await batch.progress()).toMatchObject({ pending: 1 });
    await handle.signal(finishSignal);
    expect(await endOf({ batch })).toEqual(COMPLETE);
  });
});

/** Chunks that a batch of one workflow has run, in its present run. */
async function looksAt({ batch }: Started): Promise<number> {
  const { events } = await world.client.workflow.getHandle(`batch:${batch.id}`).fetchHistory();
  return (events ?? []).filter((event) => event.activityTaskCompletedEventAttributes).length;
}

/** Resolves once nothing looks at the workflows of a batch any more. */
async function pause(batch: Batch): Promise<void> {
  await batch.pause();
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  await eventually(async () => expect((await handle.describe()).raw.pendingActivities ?? []).toEqual([]));
}

/** When the only job of a batch is looked at next; undefined: it is not known now. */
async function nextLookOf(batch: Batch): Promise<number | undefined> {
  const batchId = `batch:${batch.id}`;
  const { runners } = await world.client.workflow.getHandle(batchId).query(stateQuery);
  const ids = [batchId, ...Object.keys(runners).map((runner) => `${batchId}/runner/${runner}`)];
  const answers = await Promise.allSettled(
    ids.map((id) => world.client.workflow.getHandle(id).query(rangesQuery)),
  );
  const ranges = answers.flatMap((answer) =>
    answer.status === 'fulfilled' ? Object.values(answer.value) : [],
  );
  return ranges.flatMap(({ delayed }) => delayed)[0]?.dueAt;
}

async function reset({ workflowId }: WorkflowHandleWithFirstExecutionRunId): Promise<void> {
  await world.client.workflowService.resetWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId },
    reason: 'a test',
    requestId: randomUUID(),
    workflowTaskFinishEventId: 4 as never,
  });
}

async function remove(handle: WorkflowHandleWithFirstExecutionRunId): Promise<void> {
  await world.client.workflowService.deleteWorkflowExecution({
    namespace: 'default',
    workflowExecution: { workflowId: handle.workflowId },
  });
  await eventually(() => expect(handle.describe()).rejects.toBeInstanceOf(WorkflowNotFoundError));
}

describe('a runner whose first task comes late', () => {
  const STEERING = {
    number: 0,
    isPaused: false,
    isStopped: false,
    isLimited: false,
    reportIntervalMs: 1_000,
  };

  test.each<[signal: string, message: object]>([
    ['rushed', { spans: '1' }],
    [
      'chunkDrained',
      { runner: '9', chunk: 1, running: 0, left: { delayed: [], remaining: '1', unknown: '' } },
    ],
    ['steered', STEERING],
    ['ping', {}],
  ])('takes what it was told before: %s', async (signal, message) => {
    const batch = await createBatch(world);
    const input: RunnerInput = {
      batchId: batch.id,
      batchWorkflowId: `batch:${batch.id}`,
      round: 1,
      runner: '9',
      lane: '',
      limitedNames: [],
      unknownJobTimeoutMs: 1_000,
      noticeFailures: false,
      maxHistoryEvents: 1_000,
      steering: STEERING,
      range: initialRange([]),
      returns: 0,
    };
    const handle = await world.client.workflow.signalWithStart('batchRunner', {
      workflowId: `batch:${batch.id}/runner/9`,
      taskQueue: world.taskQueue,
      args: [input],
      signal,
      signalArgs: [message],
    });
    await eventually(async () => expect((await handle.describe()).status.name).toBe('COMPLETED'));
    await batch.cancel();
    await batch.wait({ timeout: PATIENCE });
  });
});
