import { WorkflowFailedError } from '@temporalio/client';
import { ApplicationFailure, CancelledFailure } from '@temporalio/common';
import { temporal } from '@temporalio/proto';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentBatch, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import type { ExecuteBatchOptions, StepJob } from '../../workflows/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { runsOf } from '../support/histories.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { startStepApp, type StepApp } from '../support/steps.ts';
import { lockTable } from '../support/table-lock.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: StepApp;
/** Waits for a batch that is terminated before all tests: the first look at it comes a minute later. */
let terminated: Awaited<ReturnType<typeof terminatedStep>>;
const gates = createGates();
const addsMore = defineJob('AddsMore', async (count: number) => {
  await currentBatch().jobs(async () => {
    for (let i = 0; i < count; i++) void world.fixtures.jobs.noop.set({ key: `more:${i}` }).performAsync(i);
  });
});
const heldCallback = defineCallback('Held', (batchId) => gates.gate(batchId).pass());
beforeAll(async () => {
  world = await createWorld();
  const { jobs, callbacks } = world.fixtures;
  await world.startWorker({
    jobs: [...Object.values(jobs), ...Object.values(gates.jobs), addsMore],
    callbacks: [...Object.values(callbacks), heldCallback],
  });
  app = await startStepApp(world);
  terminated = await terminatedStep('terminated');
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** Of an activity's attempt, by Temporal's number. */
const STARTED = temporal.api.enums.v1.PendingActivityState.PENDING_ACTIVITY_STATE_STARTED;

/** An advisory lock of this file's. */
const HELD = 7_001_001;

let batchesNamed = 0;
const newId = () => `step-${++batchesNamed}`;

function times(count: number, job: (index: number) => StepJob): StepJob[] {
  return Array.from({ length: count }, (_, index) => job(index));
}
const work = (count: number, ms: number) => times(count, (index) => ({ name: 'Work', args: [index, ms] }));
const record = (count: number) => times(count, (index) => ({ name: 'Record', args: [index] }));

/** The batch of a step, once it is there. */
function batchOf(id: string, { batches }: World = world): Promise<Batch> {
  return eventually(() => batches.find(id));
}

/** A workflow that waits for a batch which somebody terminates. */
async function terminatedStep(id: string) {
  const options = app.options({ id, jobs: [{ name: 'Pass', args: [id] }] });
  const handle = await app.start('refusalOf', options);
  await gates.gate(id).arrivals(1);
  await world.client.workflow.getHandle(`batch:${id}`).terminate('by an operator');
  gates.gate(id).open();
  return handle;
}

async function startsOf(id: string, { ledger }: World = world): Promise<string[]> {
  return (await ledger.of(id, 'job')).map(({ jid }) => jid!);
}

const statusOf = async (workflowId: string, { client }: World = world) =>
  (await client.workflow.getHandle(workflowId).describe()).status.name;

describe('a batch that is a step of a workflow', () => {
  test('is awaited with its callbacks, and says how it ended', async () => {
    const [id, jobs] = [newId(), [{ name: 'Pass', args: ['awaited'] }, ...record(2)]];
    const handle = await app.start(
      'importFile',
      app.options({ id, jobs, context: { file: 'a.csv' }, description: 'Import of a.csv' }),
    );
    const batch = await batchOf(id);
    await gates.gate('awaited').arrivals(1);
    await batch.on('settled', world.fixtures.callbacks.failsTwice);
    gates.gate('awaited').open();
    expect(await handle.result()).toEqual({
      batchId: id,
      status: 'complete',
      total: 3,
      complete: 3,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
    expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 3 }]);
    expect(batch).toMatchObject({ description: 'Import of a.csv', context: { file: 'a.csv' } });
    await expectConsistent(world, batch);
    // The batch has said so itself: nobody had to look.
    const [step] = await runsOf(world.client, `batch-step:${id}`);
    expect(JSON.stringify(step!.history)).toContain('batchEnded');
    expect(await statusOf(`batch-step:${id}`)).toBe('COMPLETED');
  });

  test('has an id and a result of its own without one', async () => {
    const { batchId, ...progress } = await app.execute('importFile', app.options({ jobs: record(1) }));
    expect(batchId).toMatch(/^[0-9a-f-]{36}$/);
    expect((await world.batches.find(batchId)).status).toBe(progress.status);
  });

  test('is judged by its policy', async () => {
    const jobs = [...times(2, (index) => ({ name: 'FailForGood', args: [index] })), ...record(8)];
    const counts = { total: 10, complete: 8, failed: 2 };
    const within = app.options({ jobs, failWhenFailed: { moreThan: '20%' } });
    expect(await app.execute('importFile', within)).toMatchObject({ status: 'complete', ...counts });
    const { batchId, ...progress } = await app.execute('importFile', app.options({ jobs }));
    expect(progress).toMatchObject({ status: 'failed', ...counts });
    // It is a batch as any other, and a step that is gone does not hold it up.
    const batch = await world.batches.find(batchId);
    expect(await batch.retryFailed({ failWhenFailed: 'all' })).toEqual({ round: 2, queued: false });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', ...counts });
  });

  test('takes more jobs than a payload carries from a handler', async () => {
    const options = app.options({ jobs: [{ name: 'AddsMore', args: [20_000] }] });
    expect(await app.execute('importFile', options)).toMatchObject({ status: 'complete', total: 20_001 });
  });

  test('is stopped at a deadline that is a Date', async () => {
    // Its jobs are to be enrolled by then.
    const at = Date.now() + Math.round(5_000 * SLOWNESS);
    const options = app.options({ id: newId(), jobs: work(5, 300_000), afterDeadline: 'cancel' });
    const result = await app.execute('withDeadline', options, at);
    expect(result).toMatchObject({ status: 'cancelled', cancelled: 5 });
    expect((await world.batches.find(options.id!)).deadlineAt).toEqual(new Date(at));
  });

  test('runs its jobs with the options of their definitions, and unknown ones with the defaults', async () => {
    const jobs = [
      { name: 'FailTimes', args: ['a', 9] },
      { name: 'NobodyKnows', args: [] },
    ];
    const { batchId } = await app.execute('importFile', app.options({ jobs, unknownJobTimeout: '2s' }));
    const failed = await (await world.batches.find(batchId)).failedJobs();
    expect(failed).toMatchObject([
      { key: 'step:0', attempts: 3, errorClass: 'BrokenError' },
      { key: 'step:1', workerClass: 'NobodyKnows', errorClass: 'UnknownJobError' },
    ]);
  });

  test('of some thousand jobs has each of them once, in their order', async () => {
    const options = app.options({
      id: newId(),
      jobs: times(5_000, (index) => ({ name: 'Noop', args: [index] })),
    });
    expect(await app.execute('importFile', options)).toMatchObject({ status: 'complete', complete: 5_000 });
    const rows = await (await world.batches.find(options.id!)).completedJobs();
    expect(rows.map(({ args }) => args[0])).toEqual(rows.map((_, index) => index));
  });

  test('gives the same batch for the same id, without running anything again', async () => {
    const options = app.options({ id: newId(), jobs: record(3) });
    const first = await app.execute('importFile', options);
    expect(await app.execute('importFile', options)).toEqual(first);
    expect(await startsOf(options.id!)).toHaveLength(3);
  });

  test('is refused with BATCH_RUNNING while another workflow waits for it', async () => {
    const options = app.options({ id: newId(), jobs: [{ name: 'Pass', args: ['twice'] }] });
    const handle = await app.start('importFile', options);
    await gates.gate('twice').arrivals(1);
    expect(await app.execute('refusalOf', options)).toMatchObject({
      type: 'BATCH_RUNNING',
      nonRetryable: false,
    });
    gates.gate('twice').open();
    expect(await handle.result()).toMatchObject({ status: 'complete' });
  });

  test('continues as new while it waits, before its end and after its cancellation', async () => {
    for (const isCancelled of [false, true]) {
      const id = newId();
      const jobs = [isCancelled ? { name: 'EndsWhenAsked', args: [id, 0] } : { name: 'Pass', args: [id] }];
      const options = app.options({ id, jobs, continueAsNewAfterEvents: 20 });
      const handle = await app.start('cancelledInIt', options);
      const step = world.client.workflow.getHandle(`batch-step:${id}`);
      const batch = await batchOf(id);
      await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 1 }));
      if (isCancelled) {
        // It is not over before this callback has ended.
        await batch.on('settled', heldCallback);
        await eventually(async () => expect(await startsOf(id)).toHaveLength(1));
        await handle.cancel();
        await eventually(async () => expect((await batch.reload()).stoppedAt).not.toBeNull());
      }
      const reads = async () => (await step.describe()).historyLength;
      // Each makes it look, and look again: the batch is not over.
      for (let runs = 1; runs === 1; runs = (await runsOf(world.client, step.workflowId)).length) {
        const before = await reads();
        await step.signal('batchEnded', { batchId: id });
        await eventually(async () => expect(Math.abs((await reads()) - before)).toBeGreaterThan(6));
      }
      gates.gate(id).open();
      expect(await handle.result()).toBe(isCancelled ? 'cancelled' : 'was not cancelled');
      expect(await startsOf(id)).toHaveLength(isCancelled ? 1 : 0);
    }
  });
});

describe('a step that cannot be', () => {
  const refused: { title: string; given: object; code: string; hint?: RegExp }[] = [
    { title: 'no jobs', given: { jobs: [] }, code: 'INVALID_OPTION', hint: /at least one/ },
    { title: 'jobs that are none', given: { jobs: 'Record' }, code: 'INVALID_OPTION' },
    { title: 'a job without arguments', given: { jobs: [{ name: 'Record' }] }, code: 'INVALID_OPTION' },
    {
      title: 'a job with an option',
      given: { jobs: [{ name: 'Record', args: [], retries: 3 }] },
      code: 'INVALID_OPTION',
      hint: /jobs\[0\]\.retries/,
    },
    {
      title: 'a mistyped option',
      given: { failWhenFaild: 'all' },
      code: 'INVALID_OPTION',
      hint: /Did you mean "failWhenFailed"/,
    },
    { title: 'an option of other batches', given: { autoSeal: false }, code: 'INVALID_OPTION' },
    { title: 'an internal setting', given: { notify: 'me' }, code: 'INVALID_OPTION' },
    { title: 'a policy that is none', given: { failWhenFailed: 'some' }, code: 'INVALID_OPTION' },
    { title: 'an id that is none', given: { id: 'a/b' }, code: 'INVALID_OPTION', hint: /^id must/ },
    { title: 'a task queue that is none', given: { taskQueue: '' }, code: 'INVALID_OPTION' },
    { title: 'no description', given: { description: null }, code: 'INVALID_OPTION' },
    { title: 'an empty description', given: { description: '' }, code: 'INVALID_OPTION' },
    {
      title: 'what Postgres refuses',
      given: { jobs: [{ name: 'Record', args: ['\0'] }] },
      code: 'INVALID_ARGUMENTS',
      hint: /jobs\[0\]\.args\[0\]/,
    },
    {
      title: 'more than a payload carries',
      given: { jobs: times(34, () => ({ name: 'Record', args: ['x'.repeat(60_000)] })) },
      code: 'INVALID_OPTION',
      hint: /currentBatch\(\)\.jobs/,
    },
  ];

  test.each(refused)('for $title fails with $code, and leaves no batch', async ({ given, code, hint }) => {
    const id = newId();
    const options = { ...app.options({ id, jobs: record(1) }), ...given } as ExecuteBatchOptions;
    const refusal = await app.execute('refusalOf', options);
    expect(refusal).toMatchObject({ type: code, nonRetryable: true });
    if (hint) expect(refusal!.message).toMatch(hint);
    expect(await codeOf(world.batches.find(id))).toBe('BATCH_NOT_FOUND');
  });

  test('for arguments that JSON would change fails with INVALID_ARGUMENTS', async () => {
    const options = app.options({ jobs: record(1) });
    expect(await app.execute('refusalOfWhatJsonLoses', options)).toEqual({
      bigint: 'INVALID_ARGUMENTS',
      date: 'INVALID_ARGUMENTS',
      map: 'INVALID_ARGUMENTS',
      nothing: 'INVALID_ARGUMENTS',
    });
  });

  test('because its id is that of another batch, or of one with other options, fails with BATCH_EXISTS', async () => {
    const id = newId();
    await world.batches.create({ id, description: 'A step' });
    const options = app.options({ id, jobs: record(1) });
    expect(await app.execute('refusalOf', options)).toMatchObject({
      type: 'BATCH_EXISTS',
      nonRetryable: true,
    });
    const own = app.options({ id: newId(), jobs: record(1) });
    await app.execute('importFile', own);
    const changed = await app.execute('refusalOf', { ...own, failWhen: 'immediate' });
    expect(changed).toMatchObject({ type: 'BATCH_EXISTS', message: expect.stringContaining('failWhen') });
  });

  test('fails a workflow that does not catch it with its code', async () => {
    const failed = app.execute('importFile', app.options({ jobs: [] }));
    const error = await failed.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(WorkflowFailedError);
    expect((error as WorkflowFailedError).cause).toBeInstanceOf(ApplicationFailure);
    expect((error as WorkflowFailedError).cause).toMatchObject({ type: 'INVALID_OPTION' });
  });
});

describe('cancelling the workflow', () => {
  test('cancels the batch, and is over when the batch is', async () => {
    const options = app.options({ id: newId(), jobs: work(200, 20_000) });
    const handle = await app.start('importFile', options);
    await eventually(async () => expect((await startsOf(options.id!)).length).toBeGreaterThan(0));
    await handle.cancel();
    const error = await handle.result().catch((reason: unknown) => reason);
    expect((error as WorkflowFailedError).cause).toBeInstanceOf(CancelledFailure);
    const batch = await world.batches.find(options.id!);
    expect(batch).toMatchObject({ status: 'cancelled', settledAt: expect.any(Date) });
    expect(batch.stopReason).toMatch(/workflow that waited for it was cancelled/);
    expect(await statusOf(`batch:${options.id}`)).toBe('COMPLETED');
    expect(await statusOf(`batch-step:${options.id}`)).toBe('CANCELLED');
    await expectConsistent(world, batch);
  });

  test('while the batch is being made leaves no batch that runs', async () => {
    const options = app.options({ id: newId(), jobs: work(200, 20_000) });
    const lock = await lockTable(world, 'batch_jobs');
    const handle = await app.start('importFile', options);
    await eventually(async () => expect(await lock.waiting()).not.toHaveLength(0));
    await handle.cancel();
    await lock.release();
    await expect(handle.result()).rejects.toThrow(WorkflowFailedError);
    expect(await world.batches.find(options.id!)).toMatchObject({ status: 'cancelled' });
    expect(await statusOf(handle.workflowId)).toBe('CANCELLED');
  });

  test('before anything was made makes nothing that runs', async () => {
    const options = app.options({ id: newId(), jobs: work(5, 20_000) });
    const handle = await app.start('importFile', options);
    await handle.cancel();
    await expect(handle.result()).rejects.toThrow(WorkflowFailedError);
    const left = await world.batches.find(options.id!).catch(() => undefined);
    expect(left?.status ?? 'cancelled').toBe('cancelled');
  });

  test('that ends before its step does the same', async () => {
    const options = app.options({ id: newId(), jobs: work(5, 20_000) });
    await app.execute('leavesItsStep', options);
    const batch = await batchOf(options.id!);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });
  });
});

describe('a batch that somebody terminates', () => {
  test('is found out by a look, and ends its step with BATCH_TERMINATED', async () => {
    expect(await terminated.result()).toMatchObject({ type: 'BATCH_TERMINATED', nonRetryable: true });
  });

  test('does not keep its workflow from being cancelled', async () => {
    const handle = await terminatedStep(newId());
    await handle.cancel();
    await expect(handle.result()).rejects.toThrow(WorkflowFailedError);
    expect(await statusOf(handle.workflowId)).toBe('CANCELLED');
  });
});

/** Rows of the world up to a position can be written, others wait. @returns lets them be written */
async function holdRowsAfter({ knex, schema }: World, position: number): Promise<() => Promise<unknown>> {
  await knex.raw(
    `create function :schema:.hold() returns trigger language plpgsql as $$ begin
       if new.position > ${position} then perform pg_advisory_xact_lock(${HELD}); end if;
       return new;
     end $$`,
    { schema },
  );
  await knex.raw(
    'create trigger hold before insert on ??.batch_jobs for each row execute function ??.hold()',
    [schema, schema],
  );
  const holder = await knex.transaction();
  await holder.raw(`select pg_advisory_xact_lock(${HELD})`);
  return () => holder.rollback();
}

/** Each job of a batch of `record` is there, in order, and has run. */
async function expectOnce(owner: World, batch: Batch, count: number): Promise<void> {
  const rows = await batch.completedJobs();
  expect(rows.map(({ args }) => args[0])).toEqual(Array.from({ length: count }, (_, index) => index));
  expect(new Set(await startsOf(batch.id, owner)).size).toBe(count);
  await expectConsistent(owner, batch);
}

describe('a worker that is lost', () => {
  test('while it makes the batch leaves it to another one: each job is there and runs once', async () => {
    await using own = await createWorld();
    await using ownApp = await startStepApp(own);
    const victim = await own.spawnWorker();
    const options = ownApp.options({ id: newId(), jobs: record(1_500) });
    const release = await holdRowsAfter(own, 1_000);
    const handle = await ownApp.start('importFile', options);
    const batch = await batchOf(options.id!, own);
    await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 1_000 }));
    victim.kill('SIGKILL');
    await victim.exited;
    await release();
    await own.startWorker();
    expect(await handle.result()).toMatchObject({ status: 'complete', total: 1_500, complete: 1_500 });
    await expectOnce(own, batch, 1_500);
  });

  test('but was only paused, and goes on beside the one that took over, doubles nothing', async () => {
    await using own = await createWorld();
    await using ownApp = await startStepApp(own);
    const paused = await own.spawnWorker();
    const options = ownApp.options({ id: newId(), jobs: record(3_500) });
    const release = await holdRowsAfter(own, 1_000);
    const handle = await ownApp.start('importFile', options);
    const batch = await batchOf(options.id!, own);
    await eventually(async () => expect(await batch.progress()).toMatchObject({ total: 1_000 }));
    paused.kill('SIGSTOP');
    await own.startWorker();
    const step = own.client.workflow.getHandle(`batch-step:${options.id}`);
    await eventually(async () => {
      const { raw } = await step.describe();
      expect(raw.pendingActivities).toMatchObject([{ attempt: 2, state: STARTED }]);
    });
    paused.kill('SIGCONT');
    await release();
    expect(await handle.result()).toMatchObject({ status: 'complete', total: 3_500, complete: 3_500 });
    await expectOnce(own, batch, 3_500);
  });

  test('while jobs run delays the step, no more', async () => {
    await using own = await createWorld();
    await using ownApp = await startStepApp(own);
    const victim = await own.spawnWorker();
    const options = ownApp.options({ id: newId(), jobs: work(300, 200) });
    const handle = await ownApp.start('importFile', options);
    await eventually(async () => expect((await startsOf(options.id!, own)).length).toBeGreaterThan(20));
    victim.kill('SIGKILL');
    await victim.exited;
    await own.startWorker();
    expect(await handle.result()).toMatchObject({ status: 'complete', total: 300, complete: 300 });
    expect(new Set(await startsOf(options.id!, own)).size).toBe(300);
  });

  test('at any moment of a small step costs time alone', async () => {
    await using own = await createWorld();
    await using ownApp = await startStepApp(own);
    const handles = await Promise.all(
      times(6, () => ({ name: '', args: [] })).map((_, index) =>
        ownApp.start('importFile', ownApp.options({ id: `killed-${index}`, jobs: record(20) })),
      ),
    );
    for (const ms of [0, 100, 250]) {
      const victim = await own.spawnWorker();
      const killAt = performance.now() + ms;
      await eventually(() => expect(performance.now()).toBeGreaterThan(killAt));
      victim.kill('SIGKILL');
      await victim.exited;
    }
    await own.startWorker();
    for (const [index, handle] of handles.entries()) {
      expect(await handle.result()).toMatchObject({ status: 'complete', total: 20, complete: 20 });
      await expectConsistent(own, await own.batches.find(`killed-${index}`));
    }
  });
});

describe('the history of a workflow with a step', () => {
  test('replays, whatever became of the step', async () => {
    const jobs = record(2);
    const handles = [
      await app.start('importFile', app.options({ jobs })),
      await app.start('severalSteps', app.options({ jobs })),
      await app.start('refusalOf', app.options({ jobs: [] })),
      await app.start('refusalOf', app.options({ jobs, id: 'a/b' })),
      await app.start('cancelledInIt', app.options({ jobs: work(1, 20_000) })),
    ];
    await eventually(async () => expect((await handles[4]!.describe()).historyLength).toBeGreaterThan(7));
    await handles[4]!.cancel();
    await Promise.all(handles.map((handle) => handle.result()));
    for (const handle of handles) {
      const replayed = Worker.runReplayHistory(
        { workflowBundle: { code: app.code } },
        await handle.fetchHistory(),
        handle.workflowId,
      );
      await expect(replayed).resolves.toBeUndefined();
    }
  });
});
