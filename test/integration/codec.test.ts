import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, type WorkflowClientInterceptor } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { temporal } from '@temporalio/proto';
import { bundleWorkflowCode, DefaultLogger, type WorkerPlugin } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BatchClient, BatchPlugin, currentBatch, defineCallback, defineJob } from '../../src/index.ts';
import { failureConverterPath } from '../../src/worker/index.ts';
import { codecOf, dataConverter, ENCODING, payloadsOf, rawTextOf } from '../support/codec.ts';
import { codeOf } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { childrenOf, runsOf } from '../support/histories.ts';
import { createOrderApp } from '../support/order-app.ts';
import { PATIENCE } from '../support/patience.ts';
import { startStepApp } from '../support/steps.ts';
import { bundleWorkflows } from '../support/workflow-bundle.ts';
import { createWorld, type World } from '../support/world.ts';

/** In everything that the app gives to the library. */
const SECRET = 'TOPSECRET';
const IDENTITY = 'worker-of-the-codec-test';

const retry = { initialInterval: '50ms', maximumAttempts: 2 } as const;
let isMended = false;
let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));

const works = defineJob('Works', async (text: string) => `${text} done`, { storeResult: true });
const waits = defineJob('Waits', async (_text: string) => released);
const adds = defineJob('AddsMore', async (text: string) => {
  await currentBatch().jobs(() => works.performAsync(text));
});
const fails = defineJob(
  'Fails',
  async (text: string) => {
    throw new RangeError(`${text} failed`, { cause: new Error(`${text} beneath`) });
  },
  { retry },
);
const failsForGood = defineJob('FailsForGoodIn', async (text: string) => {
  throw ApplicationFailure.create({ message: `${text} cannot be`, details: [text], nonRetryable: true });
});
const failsUntilMended = defineJob(
  'FailsUntilMended',
  async (text: string) => {
    if (!isMended) throw new Error(`${text} is broken`);
  },
  { retry: { maximumAttempts: 1 } },
);
const failsOnce = defineCallback(
  'FailsOnce',
  async (_id, { attempt }) => {
    if (attempt === 1) throw new Error(`${SECRET} in the callback`);
  },
  { retry },
);
const failsAlways = defineCallback(
  'FailsAlways',
  async () => {
    throw ApplicationFailure.create({ message: `${SECRET} in the callback`, details: [SECRET] });
  },
  { retry },
);
const opensNext = defineCallback('OpensNext', async (id, { batches: own }) => {
  const next = await own.create({ id: `${id}-next`, description: SECRET, context: { secret: SECRET } });
  await next.jobs(() => works.performAsync(SECRET));
});

/** What a client of the worker was asked to start. */
const startedByWorker: string[] = [];

let world: World;
let client: Client;
let batches: BatchClient;
let workflowBundle: { codePath: string };
let folder: string;

const definitions = {
  jobs: [works, waits, adds, fails, failsForGood, failsUntilMended],
  callbacks: [failsOnce, failsAlways, opensNext],
};

beforeAll(async () => {
  world = await createWorld();
  // A plain job is started by the one client that is open.
  await world.batches.close();
  folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-codec-'));
  workflowBundle = { codePath: await bundleWorkflows(folder, { failureConverterPath }) };
  client = new Client({ connection: world.client.connection, dataConverter });
  batches = openClient(client, world.taskQueue);
  const noting: WorkflowClientInterceptor = {
    startUpdateWithStart(input, next) {
      startedByWorker.push(input.workflowStartOptions.workflowId);
      return next(input);
    },
  };
  await world.startWorker({
    ...definitions,
    workflowBundle,
    workerOptions: { dataConverter, identity: IDENTITY, interceptors: { client: { workflow: [noting] } } },
  });
});
afterAll(async () => {
  release();
  await batches.close();
  await world[Symbol.asyncDispose]();
  await rm(folder, { recursive: true });
});

function openClient(of: Client, taskQueue: string): BatchClient {
  const { knex: database, schema } = world;
  return new BatchClient({ client: of, database, schema, taskQueue });
}

const secretBatch = (options: Partial<Parameters<BatchClient['create']>[0]> = {}) =>
  batches.create({ description: SECRET, context: { secret: SECRET }, ...options });

/** Every run of a workflow, and of those that it started. */
async function allRunsOf(workflowId: string): Promise<Awaited<ReturnType<typeof runsOf>>> {
  const runs = await runsOf(client, workflowId);
  const children = await Promise.all(childrenOf(runs).map((id) => allRunsOf(id)));
  return [...runs, ...children.flat()];
}

/** Nothing of the app is in clear text in these workflows' histories. @returns the ids of all that were looked at */
async function checkHidden(...workflowIds: string[]): Promise<string[]> {
  const runs = (await Promise.all(workflowIds.map((id) => allRunsOf(id)))).flat();
  for (const { workflowId, history } of runs) {
    const payloads = payloadsOf(history);
    const shown = payloads.filter((payload) => payload.encoding !== ENCODING && !isOfTemporal(payload.path));
    expect({ workflowId, shown }).toEqual({ workflowId, shown: [] });
    expect(payloads.some(({ encoding }) => encoding === ENCODING)).toBe(true);
    expect(rawTextOf(history), workflowId).not.toContain(SECRET);
  }
  return [...new Set(runs.map(({ workflowId }) => workflowId))];
}

/** What Temporal itself notes: of a local activity its name, number and times, and which schedule has started it. */
function isOfTemporal(where: string): boolean {
  return (
    where.startsWith('markerRecordedEventAttributes.details.data.') ||
    where.includes('.searchAttributes.indexedFields.TemporalScheduled')
  );
}

/** Starts workers of an app whose workflows are jobs, with the codec. */
async function startOrders() {
  const bundle = await bundleWorkflowCode({
    workflowsPath: path.join(import.meta.dirname, '../support/order-workflows.ts'),
    logger: new DefaultLogger('ERROR'),
    failureConverterPath,
    plugins: [new BatchPlugin()],
  });
  const app = createOrderApp(world, { plain: bundle, withPlugin: bundle });
  const { stop } = await app.startWorker({ dataConverter: { ...dataConverter, failureConverterPath } });
  const { connection } = client;
  const enrolling = new Client({ connection, dataConverter, plugins: [new BatchPlugin()] });
  const start = (name: string, workflowId: string) =>
    enrolling.workflow.start(name, { taskQueue: app.taskQueue, workflowId, args: [SECRET] });
  return { start, stop };
}

describe('with a payload codec, nothing of the app is in clear text in a history', () => {
  test('of a batch, and its callbacks that fail', async () => {
    const batch = await secretBatch({ callbacks: { failure: failsOnce, settled: failsAlways } });
    await batch.jobs(async () => {
      await works.performAsync(SECRET);
      await adds.performAsync(SECRET);
      await fails.performAsync(SECRET);
      await failsForGood.performAsync(SECRET);
    });
    await batch.wait({ timeout: PATIENCE });
    const failed = await batch.failedJobs();
    expect(failed.map(({ errorMessage }) => errorMessage)).toEqual([
      `${SECRET} failed`,
      `${SECRET} cannot be`,
    ]);
    expect(await batch.callbacks()).toMatchObject([
      { event: 'failure', status: 'completed' },
      { event: 'settled', status: 'failed', errorMessage: `${SECRET} in the callback` },
    ]);
    await checkHidden(`batch:${batch.id}`);
  });

  test('of a batch that a callback creates, by a client with the options of the worker', async () => {
    const batch = await secretBatch({ callbacks: { complete: opensNext } });
    await batch.jobs(() => works.performAsync(SECRET));
    await batch.wait({ timeout: PATIENCE });
    const next = await batches.find(`${batch.id}-next`);
    expect((await next.wait({ timeout: PATIENCE })).status).toBe('complete');
    const [, first] = await Promise.all([
      checkHidden(`batch:${batch.id}`, `batch:${next.id}`),
      client.workflow.getHandle(`batch:${next.id}`).fetchHistory(),
    ]);
    expect(first.events![0]!.workflowExecutionStartedEventAttributes!.identity).toBe(IDENTITY);
    expect(startedByWorker).toContain(`batch:${next.id}`);
  });

  test('of runners, of the workflow of a callback, and of runs that continue as new', async () => {
    const batch = await secretBatch({
      continueAsNewAfterEvents: 20,
      failWhen: 'immediate',
      callbacks: { failure: failsOnce },
    });
    await batch.jobs(async () => {
      await waits.performAsync(SECRET);
      await failsForGood.performAsync(SECRET);
      for (let i = 0; i < 200; i++) await works.performAsync(SECRET);
    });
    await eventually(async () => expect(await batch.callbacks()).toMatchObject([{ status: 'completed' }]));
    release();
    await batch.wait({ timeout: PATIENCE });
    const looked = await checkHidden(`batch:${batch.id}`);
    expect(looked).toContainEqual(expect.stringMatching(/\/runner\//));
    expect(looked).toContainEqual(expect.stringMatching(/\/callback\//));
    expect((await runsOf(client, `batch:${batch.id}`)).length).toBeGreaterThan(1);
  });

  test('of a batch with limits that is changed, paused and cancelled', async () => {
    const batch = await secretBatch({ maxConcurrentJobs: 2, jobLimits: { Works: { perSecond: 5 } } });
    await batch.jobs(async () => {
      for (let i = 0; i < 200; i++) await works.performAsync(SECRET);
    });
    await batch.update({ perSecond: 2 });
    await batch.pause();
    await batch.resume();
    await batch.cancel({ reason: SECRET });
    await batch.wait({ timeout: PATIENCE });
    await checkHidden(`batch:${batch.id}`);
  });

  test('of a later round, and of an open-ended batch', async () => {
    const batch = await secretBatch({ autoSeal: false });
    await batch.jobs(() => failsUntilMended.performAsync(SECRET));
    await batch.jobs(() => works.set({ key: SECRET }).performAsync(SECRET));
    await batch.seal();
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('failed');
    await checkHidden(`batch:${batch.id}`);
    isMended = true;
    await batch.retryFailed();
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('complete');
    await checkHidden(`batch:${batch.id}`);
  });

  test('of plain jobs', async () => {
    const done = `job:${await works.performAsync(SECRET)}`;
    const failed = `job:${await fails.performAsync(SECRET)}`;
    await client.workflow.getHandle(done).result();
    await expect(client.workflow.getHandle(failed).result()).rejects.toMatchObject({
      cause: { cause: { message: `${SECRET} failed` } },
    });
    await checkHidden(done, failed);
  });

  test('of steps, and of those that are refused', async () => {
    await using app = await startStepApp(world, { client, dataConverter });
    const description = SECRET;
    const run = await app.start(
      'importFile',
      app.options({ description, context: { secret: SECRET }, jobs: [{ name: 'Works', args: [SECRET] }] }),
    );
    const { batchId, status } = await run.result();
    expect(status).toBe('complete');
    const refused = await app.start(
      'refusalOf',
      app.options({
        description,
        failWhenFailed: SECRET as never,
        jobs: [{ name: 'Works', args: [SECRET] }],
      }),
    );
    expect(await refused.result()).toMatchObject({
      type: 'INVALID_OPTION',
      message: expect.stringContaining(SECRET),
    });
    const looked = await checkHidden(run.workflowId, refused.workflowId, `batch:${batchId}`);
    expect(looked.filter((id) => id.startsWith('batch-step:'))).toHaveLength(2);
  });

  test('of a prune by its schedule', async () => {
    const { scheduleId } = await batches.schedulePrune({ olderThan: '30 days' });
    const handle = client.schedule.getHandle(scheduleId);
    await handle.trigger();
    const workflowId = await eventually(async () => {
      const [action] = (await handle.describe()).info.recentActions;
      return action!.action.workflow.workflowId;
    });
    expect(await client.workflow.getHandle(workflowId).result()).toEqual({ batches: 0, jobs: 0 });
    await checkHidden(workflowId);
    expect(await batches.unschedulePrune()).toBe(true);
  });

  test('of a batch whose jobs are workflows of the app, which report their ends', async () => {
    const { start, stop } = await startOrders();
    // Longer than the test: only the report finds their ends so soon.
    const batch = await secretBatch({ workflowCheckInterval: '1 hour' });
    const ids = ['returns', 'fails', 'waits'].map((name) => `${batch.id}-${name}`);
    await batch.jobs(async () => {
      await start('returns', ids[0]!);
      await start('fails', ids[1]!);
      await start('waits', ids[2]!);
    });
    await eventually(async () => expect((await batch.progress()).pending).toBe(1));
    const [failed] = await batch.failedJobs();
    expect(failed).toMatchObject({ errorClass: 'CardDeclined', errorMessage: SECRET });
    await batch.cancel({ reason: SECRET });
    await batch.wait({ timeout: PATIENCE });
    await stop();
    await checkHidden(`batch:${batch.id}`, ...ids);
  });
});

test('a codec that a plugin of the worker brings is used like one of its options', async () => {
  const taskQueue = `${world.taskQueue}-plugin`;
  const plugin: WorkerPlugin = {
    name: 'codec',
    configureWorker: (options) => ({ ...options, dataConverter }),
  };
  // Without a bundle made ahead: the worker makes one, with what encodes errors.
  const worker = await world.startWorker({
    ...definitions,
    taskQueue,
    workflowBundle: undefined as never,
    workerOptions: { plugins: [plugin] },
  });
  const own = openClient(client, taskQueue);
  const batch = await own.create({
    description: SECRET,
    context: { secret: SECRET },
    callbacks: { failure: opensNext, settled: failsAlways },
  });
  await batch.jobs(() => fails.performAsync(SECRET));
  await batch.wait({ timeout: PATIENCE });
  const next = await own.find(`${batch.id}-next`);
  await next.wait({ timeout: PATIENCE });
  await checkHidden(`batch:${batch.id}`, `batch:${next.id}`);
  await own.close();
  await worker.stop();
});

test('a payload converter of the app is that of workflows, workers and their clients', async () => {
  const own = {
    payloadConverterPath: path.join(import.meta.dirname, '../support/payload-converter.cjs'),
  };
  const taskQueue = `${world.taskQueue}-converter`;
  const worker = await world.startWorker({
    ...definitions,
    taskQueue,
    workflowBundle: undefined as never,
    workerOptions: { dataConverter: own },
  });
  const ownClient = new Client({ connection: client.connection, dataConverter: own });
  await using converting = openClient(ownClient, taskQueue);
  const batch = await converting.create({ description: 'Converted', callbacks: { complete: opensNext } });
  await batch.jobs(() => works.performAsync('a'));
  await batch.wait({ timeout: PATIENCE });
  const next = await converting.find(`${batch.id}-next`);
  expect((await next.wait({ timeout: PATIENCE })).status).toBe('complete');
  const { events } = await ownClient.workflow.getHandle(`batch:${next.id}`).fetchHistory();
  const [input] = payloadsOf({ events: [events![0]!] });
  expect(input).toMatchObject({ encoding: 'json/own' });
  await worker.stop();
});

describe('a client and workers that have not the same codec', () => {
  test('fail create() with the reason, and leave nothing: the workers lack it', async () => {
    const taskQueue = `${world.taskQueue}-plain`;
    const worker = await world.startWorker({ ...definitions, taskQueue });
    await using own = openClient(client, taskQueue);
    const id = `${taskQueue}-batch`;
    const error = await own.create({ id, description: 'A mismatch' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'CODEC_MISMATCH',
      message: expect.stringMatching(
        /not created: its workers cannot read .* encoded as binary\/test.*workerOptions/,
      ),
    });
    expect((await client.workflow.getHandle(`batch:${id}`).describe()).status.name).toBe('TERMINATED');
    expect(await codeOf(own.find(id))).toBe('BATCH_NOT_FOUND');
    await worker.stop();
  });

  test('fail create() with the reason, and leave nothing: their keys differ', async () => {
    const taskQueue = `${world.taskQueue}-keys`;
    const worker = await world.startWorker({
      ...definitions,
      taskQueue,
      workflowBundle,
      workerOptions: { dataConverter: { payloadCodecs: [codecOf(0x3c)] } },
    });
    await using own = openClient(client, taskQueue);
    const id = `${taskQueue}-batch`;
    const error = await own.create({ id, description: 'A mismatch' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'CODEC_MISMATCH', message: expect.stringContaining('cannot read') });
    expect(await codeOf(own.find(id))).toBe('BATCH_NOT_FOUND');
    await worker.stop();
  });

  test('fail create() with the reason, and leave nothing: the client lacks it', async () => {
    await using own = openClient(world.client, world.taskQueue);
    const id = `${world.taskQueue}-client`;
    const error = await own.create({ id, description: 'A mismatch' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'CODEC_MISMATCH',
      message: expect.stringMatching(/encoded as binary\/test, which this client cannot read/),
    });
    await eventually(async () => expect(await codeOf(own.find(id))).toBe('BATCH_NOT_FOUND'));
    expect(await own.list({ parentId: id })).toEqual([]);
  });

  test('fail each call with the reason', async () => {
    const batch = await secretBatch({ autoSeal: false });
    await using own = openClient(world.client, world.taskQueue);
    const same = await own.find(batch.id);
    expect(await codeOf(same.pause())).toBe('CODEC_MISMATCH');
    expect(await codeOf(same.cancel())).toBe('CODEC_MISMATCH');
  });

  test('do no harm where workflows that are jobs report their ends: they speak as the batch does', async () => {
    const taskQueue = `${world.taskQueue}-mixed`;
    const worker = await world.startWorker({ ...definitions, taskQueue });
    const { start, stop } = await startOrders();
    await using own = openClient(world.client, taskQueue);
    const batch = await own.create({ description: 'Without a codec', workflowCheckInterval: '1 hour' });
    const [first, second] = [`${batch.id}-1`, `${batch.id}-2`];
    await batch.jobs(async () => {
      await start('waits', first);
      await start('waits', second);
    });
    const read = async () =>
      (await client.workflow.getHandle(`batch:${batch.id}`).fetchHistory()).events ?? [];
    // The batch goes on after the first one, so that it gets the report whoever has found that end.
    await client.workflow.getHandle(first).signal('go');
    await eventually(async () => {
      const signals = (await read()).map(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName,
      );
      expect(signals).toContain('workflowsEnded');
    });
    await client.workflow.getHandle(second).signal('go');
    expect((await batch.wait({ timeout: PATIENCE })).status).toBe('complete');
    const { WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND: crossed } =
      temporal.api.enums.v1.WorkflowTaskFailedCause;
    const failed = (await read()).flatMap((event) => event.workflowTaskFailedEventAttributes ?? []);
    // A signal that crosses the workflow's end is none of these.
    expect(failed.filter(({ cause }) => cause !== crossed)).toEqual([]);
    await stop();
    await worker.stop();
  });
});
