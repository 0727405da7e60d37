import { Client, type WorkflowHandle } from '@temporalio/client';
import { Worker, type ReplayWorkerOptions } from '@temporalio/worker';
import type { WorkflowInfo } from '@temporalio/workflow';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BatchPlugin, type Batch } from '../../src/index.ts';
import { EndReporter } from '../../src/plugin/reporter.ts';
import { CALLS } from '../../src/timeouts.ts';
import { batchWorkerInterceptors, createBatchWorker } from '../../src/worker/index.ts';
import type { RangeState } from '../../workflows/range-state.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { decoded, runOf, type History } from '../support/histories.ts';
import { bundleOrders, createOrderApp, type OrderApp } from '../support/order-app.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: OrderApp;
const cleanup: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  world = await createWorld();
  app = createOrderApp(world, await bundleOrders());
  const { stop } = await app.startWorker();
  cleanup.push(stop);
  await world.startWorker();
});
afterAll(async () => {
  for (const clean of cleanup.toReversed()) await clean();
  await world[Symbol.asyncDispose]();
});

let standIns = 0;

/** What is told to a batch, whose workflow is a stand-in that no worker runs. */
async function createListener() {
  const batchId = `${world.schema}-${++standIns}`;
  const workflowId = `batch:${batchId}`;
  const taskQueue = `${world.taskQueue}-nobody`;
  const handle = await world.client.workflow.start('batch', { taskQueue, workflowId });
  cleanup.push(() => handle.terminate());
  /** Ids of workflows, one list a signal. */
  const heard = async (): Promise<string[][]> => {
    const { history } = await runOf(world.client, workflowId);
    return history.events!.flatMap(({ workflowExecutionSignaledEventAttributes: signal }) => {
      if (signal?.signalName !== 'workflowsEnded') return [];
      return [(decoded(signal.input?.payloads)[0] as { workflowIds: string[] }).workflowIds];
    });
  };
  /** Starts a workflow that is a job of the batch. */
  const start = (
    name: Parameters<OrderApp['start']>[0],
    options: Parameters<OrderApp['start']>[1] = {},
    of: OrderApp = app,
  ): Promise<WorkflowHandle> => {
    const id = `${batchId}-${name}-${++standIns}`;
    return of.start(name, { workflowId: id, memo: { batchJobs: { batchId, workflowId: id } }, ...options });
  };
  const expectHeard = (ids: readonly string[]) =>
    eventually(async () => expect((await heard()).flat().toSorted()).toEqual(ids.toSorted()));
  /** What was to be told before has been told when this one is. */
  const expectOnly = async (ids: readonly string[]) => {
    const last = await start('returns');
    await expectHeard([...ids, last.workflowId]);
    return last.workflowId;
  };
  return { batchId, heard, start, expectHeard, expectOnly };
}

const statusOf = async (handle: WorkflowHandle) => (await handle.describe()).status.name;

describe('a workflow that is a job', () => {
  test('is reported once, when it has closed: whether it returns or fails', async () => {
    const { start, expectHeard, expectOnly } = await createListener();
    const [returned, failed] = [await start('returns'), await start('fails', { args: ['no funds'] })];
    const ids = [returned.workflowId, failed.workflowId];
    await expectHeard(ids);
    expect([await statusOf(returned), await statusOf(failed)]).toEqual(['COMPLETED', 'FAILED']);
    await expectOnly(ids);
  });

  test('is reported when its last run has closed, where it continues as new', async () => {
    const { start, expectHeard, expectOnly } = await createListener();
    const handle = await start('continues', { args: [2] });
    await eventually(async () => {
      const { history } = await runOf(world.client, handle.workflowId);
      expect(decoded(history.events![0]!.workflowExecutionStartedEventAttributes!.input!.payloads)).toEqual([
        0,
      ]);
    });
    const other = await expectOnly([]);
    await world.client.workflow.getHandle(handle.workflowId).signal('go');
    await expectHeard([other, handle.workflowId]);
  });

  test('is reported when its last run has closed, where its retry policy repeats it', async () => {
    const { start, expectOnly } = await createListener();
    const retry = { initialInterval: '100ms', backoffCoefficient: 1 } as const;
    const handle = await start('waitsThen', { args: ['is retried'], retry });
    const { workflowId } = handle;
    const { runId } = await runOf(world.client, workflowId);
    await handle.signal('go');
    await eventually(async () => expect((await runOf(world.client, workflowId)).runId).not.toBe(runId));
    const other = await expectOnly([]);
    await world.client.workflow.getHandle(workflowId).signal('go');
    expect(await handle.result()).toBe('told');
    await expectOnly([other, workflowId]);
  });

  test('is reported without its children, though they have its memo', async () => {
    const { start, expectHeard, expectOnly } = await createListener();
    const handle = await start('hasChild');
    const child = world.client.workflow.getHandle(`${handle.workflowId}/child`);
    await eventually(async () => expect(await statusOf(child)).toBe('COMPLETED'));
    expect((await child.describe()).memo).toMatchObject({ batchJobs: { workflowId: handle.workflowId } });
    const other = await expectOnly([]);
    await handle.signal('go');
    await expectHeard([other, handle.workflowId]);
  });

  test('is not reported while its task fails', async () => {
    const { start, expectOnly } = await createListener();
    const handle = await start('hasBug');
    await handle.signal('go');
    await eventually(async () => {
      const { events } = (await runOf(world.client, handle.workflowId)).history;
      expect(events!.some((event) => event.workflowTaskFailedEventAttributes)).toBe(true);
    });
    await expectOnly([]);
    await handle.terminate();
  });

  test('is reported with others in few signals', async () => {
    const { start, heard, expectHeard } = await createListener();
    const handles = await Promise.all(Array.from({ length: 60 }, () => start('waits')));
    await Promise.all(handles.map((handle) => handle.signal('go')));
    await expectHeard(handles.map(({ workflowId }) => workflowId));
    expect((await heard()).length).toBeLessThan(20);
  });
});

test('a workflow that is no job, or copies the memo of one, is not reported', async () => {
  const { batchId, heard, expectOnly } = await createListener();
  await (await app.start('returns')).result();
  const memo = { batchJobs: { batchId, workflowId: 'another one' } };
  await (await app.start('returns', { memo })).result();
  const last = await expectOnly([]);
  expect(await heard()).toEqual([[last]]);
});

describe('a worker that is shut down', () => {
  test('tells of the ends that it knows, before it is stopped', async () => {
    const { start, heard } = await createListener();
    const other = createOrderApp(world, app.bundles);
    const { stop } = await other.startWorker();
    const handles = await Promise.all(Array.from({ length: 5 }, () => start('returns', {}, other)));
    await Promise.all(handles.map((handle) => handle.result()));
    await stop();
    expect((await heard()).flat().toSorted()).toEqual(handles.map((h) => h.workflowId).toSorted());
  });

  test('does not wait for a run that stays open, and lets the process end', async () => {
    const { batchId, start, expectOnly } = await createListener();
    const handle = await start('waits');
    const { runId } = await runOf(world.client, handle.workflowId);
    const reporter = new EndReporter(
      () => {},
      () => new Client({ connection: world.connection }),
    );
    reporter.fn({} as WorkflowInfo, { batchId, workflowId: handle.workflowId, runId });
    const startedAt = performance.now();
    await Promise.all([reporter.close(), reporter.close()]);
    expect(performance.now() - startedAt).toBeLessThan(CALLS.closing / 2);
    await handle.signal('go');
    await handle.result();
    // What comes after that goes nowhere: what is heard comes from the worker of the workflow.
    reporter.fn({} as WorkflowInfo, { batchId, workflowId: handle.workflowId, runId });
    await reporter.close();
    await expectOnly([handle.workflowId]);
  });
});

test('a run that stays open is asked for about once a second', async () => {
  const { batchId, start } = await createListener();
  const handle = await start('waits');
  const { runId } = await runOf(world.client, handle.workflowId);
  let asked = 0;
  const { workflowService } = world.connection;
  const counting = new Proxy(workflowService, {
    get: (service, name) => {
      if (name === 'getWorkflowExecutionHistory') asked++;
      return Reflect.get(service, name);
    },
  });
  const connection: typeof world.connection = Object.create(world.connection, {
    workflowService: { value: counting },
  });
  const client = new Client({ connection });
  const reporter = new EndReporter(
    () => {},
    () => client,
  );
  const startedAt = performance.now();
  reporter.fn({} as WorkflowInfo, { batchId, workflowId: handle.workflowId, runId });
  await eventually(() => expect(asked).toBeGreaterThanOrEqual(4));
  expect(performance.now() - startedAt).toBeGreaterThan(2_500);
  await handle.signal('go');
  await reporter.close();
});

test('a worker without the plugin, whose bundle has it, runs its workflows all the same', async () => {
  const { start, expectOnly } = await createListener();
  const other = createOrderApp(world, app.bundles);
  const { stop } = await other.startWorker({ plugins: [], workflowBundle: app.bundles.withPlugin });
  const handle = await start('returns', { args: [1] }, other);
  expect(await handle.result()).toBe(1);
  await stop();
  await expectOnly([]);
});

test('a worker whose bundle lacks the plugin is refused', async () => {
  const options = { plugins: [new BatchPlugin()], workflowBundle: app.bundles.plain };
  await expect(createOrderApp(world, app.bundles).startWorker(options)).rejects.toMatchObject({
    code: 'INVALID_OPTION',
    option: 'workflowBundle',
  });
});

test('the plugin may be installed twice, and the parts be wired by hand', async () => {
  const { start, heard, expectOnly } = await createListener();
  const [twice, byHand] = [createOrderApp(world, app.bundles), createOrderApp(world, app.bundles)];
  const first = await twice.startWorker({ plugins: [new BatchPlugin(), new BatchPlugin()] });
  await using parts = batchWorkerInterceptors({ connection: world.connection });
  const second = await byHand.startWorker({
    plugins: [],
    workflowBundle: app.bundles.withPlugin,
    sinks: parts.sinks,
  });
  const handles = [await start('returns', {}, twice), await start('returns', {}, byHand)];
  for (const handle of handles) await handle.result();
  await first.stop();
  await second.stop();
  await expectOnly(handles.map(({ workflowId }) => workflowId));
  expect((await heard()).flat()).toHaveLength(3);
});

describe('the history of a workflow', () => {
  const replay = async (history: History, options: ReplayWorkerOptions) =>
    expect(Worker.runReplayHistory(options, history)).resolves.toBeUndefined();
  const withPlugin = () => ({ workflowBundle: app.bundles.withPlugin, plugins: [new BatchPlugin()] });
  const plain = () => ({ workflowBundle: app.bundles.plain });
  const shapeOf = ({ events }: History) => events!.map(({ eventType }) => eventType);

  /** Runs it once, to its end. */
  async function historyOf(isPlain: boolean, args: unknown[]): Promise<History> {
    const { start } = await createListener();
    const handle = await start('leavesWork', { args }, isPlain ? plainApp : app);
    await handle.result();
    return (await runOf(world.client, handle.workflowId)).history;
  }

  let plainApp: OrderApp;
  beforeAll(async () => {
    plainApp = createOrderApp(world, app.bundles);
    cleanup.push((await plainApp.startWorker({ plugins: [] })).stop);
  });

  test('is the same with and without the plugin, and each replays under the other', async () => {
    const [without, having] = [await historyOf(true, [[3, 4]]), await historyOf(false, [[3, 4]])];
    expect(shapeOf(having)).toEqual(shapeOf(without));
    await replay(without, withPlugin());
    await replay(having, plain());
  });

  test('goes on under the plugin where it began without it, and is reported', async () => {
    const { start, expectHeard } = await createListener();
    const other = createOrderApp(world, app.bundles);
    const before = await other.startWorker({ plugins: [] });
    const handle = await start('waits', {}, other);
    await eventually(async () => {
      const { events } = (await runOf(world.client, handle.workflowId)).history;
      expect(events!.some((event) => event.workflowTaskCompletedEventAttributes)).toBe(true);
    });
    await before.stop();
    const after = await other.startWorker();
    await handle.signal('go');
    expect(await handle.result()).toBe('told');
    await expectHeard([handle.workflowId]);
    await after.stop();
  });
});

describe('a batch of workflows', () => {
  /** When the batch looks at each of its workflows again, in milliseconds from now; those that it looks at now are missing. */
  async function nextLooks({ id }: Batch): Promise<number[]> {
    const ranges = await world.client.workflow
      .getHandle(`batch:${id}`)
      .query<Record<string, RangeState>>('ranges');
    return Object.values(ranges).flatMap(({ delayed }) =>
      delayed.flatMap(({ dueAt, spans }) =>
        spans.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, () => dueAt - Date.now())),
      ),
    );
  }

  /** Makes its workflows so old that they are looked at every `workflowCheckInterval` only, the next time in a while. */
  async function age(batch: Batch, count: number, atLeastMs: number): Promise<void> {
    await world.knex
      .withSchema(world.schema)
      .from('batch_jobs')
      .where('batch_id', batch.id)
      .update({ created_at: world.knex.raw(`now() - interval '1 day'`) });
    await eventually(async () => {
      const looks = await nextLooks(batch);
      expect(looks).toHaveLength(count);
      expect(Math.min(...looks)).toBeGreaterThan(atLeastMs);
    });
  }

  /** In which it hears of an end, on the reference machine: by looking it would find it in an hour. */
  const MOMENT = 15_000;

  /** A batch that looks once an hour, with these workflows. */
  async function enrolled(
    start: () => Promise<WorkflowHandle[]>,
  ): Promise<{ batch: Batch; handles: WorkflowHandle[] }> {
    const batch = await createBatch(world, { workflowCheckInterval: '1 hour' });
    let handles: WorkflowHandle[] = [];
    await batch.jobs(async () => void (handles = await start()));
    await age(batch, handles.length, 60_000);
    return { batch, handles };
  }

  test('hears of each end in a moment: completed, failed, continued as new, retried', async () => {
    const kinds = ['returns', 'fails', 'continues as new', 'is retried'] as const;
    const retry = { initialInterval: '100ms', backoffCoefficient: 1 } as const;
    const { batch, handles } = await enrolled(() =>
      Promise.all(kinds.map((kind) => app.enrol('waitsThen', { args: [kind], retry }))),
    );
    const runs = await Promise.all(handles.map(({ workflowId }) => runOf(world.client, workflowId)));
    for (const handle of handles) await handle.signal('go');
    await eventually(
      async () => expect(await batch.progress()).toMatchObject({ complete: 1, failed: 1, pending: 2 }),
      MOMENT,
    );
    for (const [index, { workflowId }] of [...handles.entries()].slice(2)) {
      await eventually(async () =>
        expect((await runOf(world.client, workflowId)).runId).not.toBe(runs[index]!.runId),
      );
      // Of the newest run, whichever that is.
      await world.client.workflow.getHandle(workflowId).signal('go');
    }
    expect(await batch.wait({ timeout: MOMENT * SLOWNESS })).toMatchObject({
      status: 'failed',
      complete: 3,
      failed: 1,
    });
    expect(await batch.failedJobs()).toMatchObject([
      { workflowId: handles[1]!.workflowId, errorClass: 'CardDeclined', errorMessage: 'no funds' },
    ]);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    await expectConsistent(world, batch);
  });

  test('hears of many that end together, and each counts once', async () => {
    const { batch, handles } = await enrolled(() =>
      Promise.all(Array.from({ length: 40 }, () => app.enrol('waits'))),
    );
    await Promise.all(handles.map((handle) => handle.signal('go')));
    expect(await batch.wait({ timeout: MOMENT * SLOWNESS })).toMatchObject({
      status: 'complete',
      complete: 40,
    });
    await expectConsistent(world, batch);
  });

  test('counts no children of its workflows', async () => {
    const { batch, handles } = await enrolled(async () => [await app.enrol('hasChild')]);
    await handles[0]!.signal('go');
    expect(await batch.wait({ timeout: MOMENT * SLOWNESS })).toMatchObject({
      status: 'complete',
      total: 1,
      complete: 1,
    });
  });

  test.each([
    ['the worker lacks the plugin', () => ({ plugins: [] })],
    [
      'what the worker tells is lost',
      () => ({
        plugins: [],
        workflowBundle: app.bundles.withPlugin,
        sinks: { batchJobs: { ended: { fn: () => {} } } },
      }),
    ],
  ])('ends all the same where %s', async (_title, optionsOf) => {
    const other = createOrderApp(world, app.bundles);
    const { stop } = await other.startWorker(optionsOf());
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      await other.enrol('returns');
      await other.enrol('fails', { args: ['no funds'] });
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 1,
    });
    await expectConsistent(world, batch);
    await stop();
  });

  test('ends all the same where the worker is killed for good', async () => {
    const other = createOrderApp(world, app.bundles);
    const worker = await other.spawnWorker();
    // Its first workflow takes the longest.
    await (await other.start('returns')).result();
    const batch = await createBatch(world);
    let handle!: WorkflowHandle;
    await batch.jobs(async () => {
      handle = await other.enrol('waits', { workflowExecutionTimeout: Math.round(4_000 * SLOWNESS) });
    });
    await eventually(async () => {
      const { events } = (await runOf(world.client, handle.workflowId)).history;
      expect(events!.some((event) => event.workflowTaskCompletedEventAttributes)).toBe(true);
    });
    await worker.kill();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    expect(await batch.failedJobs()).toMatchObject([{ errorClass: 'WorkflowTimedOutError' }]);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });

  test('is told by the doctor that ends are not reported, and not where they are', async () => {
    const plain = createOrderApp(world, app.bundles);
    const { stop } = await plain.startWorker({ plugins: [] });
    const examined = async (of: OrderApp, codes: readonly string[]) => {
      const batch = await createBatch(world, { workflowCheckInterval: '14 seconds' });
      const handles: WorkflowHandle[] = [];
      await batch.jobs(async () => {
        for (let i = 0; i < 2; i++) handles.push(await of.enrol('waits'));
      });
      // So that it ends long enough before that look.
      await age(batch, 2, 11_000);
      await handles[0]!.signal('go');
      await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1, pending: 1 }));
      const report = await eventually(async () => {
        const found = await examine(world, batch.id);
        expect(found.codes).toEqual(codes);
        return found;
      });
      await handles[1]!.signal('go');
      return report;
    };
    const [unreported] = await Promise.all([
      examined(plain, ['WAITING_FOR_WORKFLOWS', 'WORKFLOWS_NOT_REPORTED']),
      examined(app, ['WAITING_FOR_WORKFLOWS']),
    ]);
    expect(unreported).toMatchObject({ exitCode: 0, verdict: 'waiting' });
    expect(unreported.findings[1]).toMatchObject({
      message: expect.stringMatching(
        /^The last workflow that ended was found by looking, up to \d+ s after its end\.$/,
      ),
      details: { ended: 1, late: 1 },
    });
    await stop();
  });
});

test('a worker of batches takes plugins, too', async () => {
  const names: string[] = [];
  const probe = {
    name: 'probe',
    runWorker: async (worker: Worker, next: (worker: Worker) => Promise<void>) => {
      names.push(worker.options.taskQueue);
      await next(worker);
    },
  };
  await using other = await createWorld();
  await createBatchWorker({
    connection: other.connection,
    database: other.knex,
    schema: other.schema,
    taskQueue: other.taskQueue,
    jobs: Object.values(other.fixtures.jobs),
    callbacks: Object.values(other.fixtures.callbacks),
    workerOptions: { plugins: [new BatchPlugin(), probe] },
  }).then((worker) =>
    worker.runUntil(async () => {
      const batch = await createBatch(other);
      await batch.jobs(() => other.fixtures.jobs.noop.performAsync(1));
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    }),
  );
  expect(names).toEqual([other.taskQueue]);
});
