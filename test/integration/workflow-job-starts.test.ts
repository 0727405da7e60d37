import { Client, Connection, type WorkflowClientInterceptor } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { BatchPlugin, currentBatch, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { codeOf } from '../support/codes.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { startMemberApp, type MemberApp } from '../support/member-app.ts';
import { finishSignal } from '../support/member-workflows.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { lockTable } from '../support/table-lock.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let app: MemberApp;

/** Starts a workflow in its batch with a client whose requests are held up, and does not wait for it. */
const startsAndEnds = defineJob('StartsAndEnds', async (workflowId: string) => {
  void currentBatch()
    .jobs(() => held.client.workflow.start('waits', { workflowId, taskQueue: app.taskQueue }))
    .catch(() => {});
  await held.arrival;
});
let held: Held;

beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), startsAndEnds] });
  app = await startMemberApp(world);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

interface Held {
  readonly client: Client;
  /** Resolves once a start is held. */
  readonly arrival: Promise<void>;
  /** Lets it go on. */
  readonly release: () => void;
}

/** A client whose starts are held up before they leave, or after they are answered: as if its process hung there. */
function holding(when: 'before' | 'after'): Held {
  let arrived!: () => void;
  let release!: () => void;
  const arrival = new Promise<void>((resolve) => (arrived = resolve));
  const released = new Promise<void>((resolve) => (release = resolve));
  const interceptor: WorkflowClientInterceptor = {
    startWithDetails: async (input, next) => {
      const output = when === 'after' ? await next(input) : undefined;
      arrived();
      await released;
      return output ?? next(input);
    },
  };
  return { client: app.openClient({ interceptors: { workflow: [interceptor] } }), arrival, release };
}

async function rowsOf(batch: Batch): Promise<{ workflow_id: string; run_id: string | null }[]> {
  return world.knex
    .withSchema(world.schema)
    .from('batch_jobs')
    .where('batch_id', batch.id)
    .orderBy('position');
}

async function startsOf(batch: Batch): Promise<{ workflow_id: string }[]> {
  return world.knex.withSchema(world.schema).from('batch_starts').where('batch_id', batch.id);
}

/** As if the rows were older than a start may take. */
async function age(batch: Batch): Promise<void> {
  await world.knex.raw(
    `update ??.batch_jobs set created_at = created_at - interval '5 minutes' where batch_id = ?`,
    [world.schema, batch.id],
  );
}

const optionsOf = (workflowId: string) => ({ workflowId, taskQueue: app.taskQueue });
const statusOf = async (workflowId: string) =>
  (await world.client.workflow.getHandle(workflowId).describe()).status.name;

describe('a start that is refused', () => {
  test('because the workflow runs already leaves no job, and reaches the caller as it was', async () => {
    const workflowId = app.newId();
    const running = await world.client.workflow.start('waits', optionsOf(workflowId));
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      await expect(app.client.workflow.start('waits', optionsOf(workflowId))).rejects.toMatchObject({
        name: 'WorkflowExecutionAlreadyStartedError',
      });
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await startsOf(batch)).toEqual([]);
    await running.signal(finishSignal);
  });

  test('because its arguments cannot be converted, or are too large, leaves no job', async () => {
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      const { workflow } = app.client;
      for (const args of [[1n], ['x'.repeat(3_000_000)]]) {
        await expect(workflow.start('waits', { ...optionsOf(app.newId()), args })).rejects.toThrow(/./);
      }
      await expect(workflow.start('waits', { ...optionsOf(app.newId()), taskQueue: '' })).rejects.toThrow(
        /./,
      );
      await world.fixtures.jobs.record.performAsync(1);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    expect(await startsOf(batch)).toEqual([]);
  });

  test('may be tried again under the same id', async () => {
    const workflowId = app.newId();
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      await expect(
        app.client.workflow.start('returns', { ...optionsOf(workflowId), args: [1n] }),
      ).rejects.toThrow('Unable to convert');
      await app.client.workflow.start('returns', optionsOf(workflowId));
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  });
});

describe('a start whose answer is lost', () => {
  /** A client behind a network that can be cut. */
  async function clientBehind(proxy: TcpProxy): Promise<Client & AsyncDisposable> {
    const connection = await Connection.connect({ address: proxy.address });
    const client = new Client({ connection, plugins: [new BatchPlugin()] });
    return Object.assign(client, { [Symbol.asyncDispose]: () => connection.close() });
  }

  test('is a job, and looking finds that it was done', async () => {
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    await using client = await clientBehind(proxy);
    const batch = await createBatch(world);
    const workflowId = app.newId();
    await batch.jobs(async () => {
      proxy.holdAnswers();
      const start = client.withDeadline(Date.now() + 1_500 * SLOWNESS, () =>
        client.workflow.start('waits', optionsOf(workflowId)),
      );
      await expect(start).rejects.toThrow('Failed to start Workflow');
    });
    expect(await rowsOf(batch)).toMatchObject([{ workflow_id: workflowId }]);
    expect(await startsOf(batch)).toEqual([]);
    // Found by its mark.
    await eventually(async () => expect((await rowsOf(batch))[0]!.run_id).not.toBeNull());
    expect(await batch.progress()).toMatchObject({ pending: 1 });
    await world.client.workflow.getHandle(workflowId).signal(finishSignal);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    await expectConsistent(world, batch);
  });

  test('is a job that fails when it was not done, after a minute', async () => {
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    await using client = await clientBehind(proxy);
    const batch = await createBatch(world);
    const workflowId = app.newId();
    await batch.jobs(async () => {
      proxy.freeze();
      const start = client.withDeadline(Date.now() + 500, () =>
        client.workflow.start('waits', optionsOf(workflowId)),
      );
      await expect(start).rejects.toThrow('Failed to start Workflow');
      proxy.dropAll();
    });
    expect(await batch.progress()).toMatchObject({ pending: 1 });
    await age(batch);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    expect(await batch.failedJobs()).toMatchObject([{ errorClass: 'WorkflowNotStartedError', workflowId }]);
  });

  test('is not taken for another batch’s workflow of the same id', async () => {
    const workflowId = app.newId();
    const [first, second] = [await createBatch(world), await createBatch(world)];
    await first.jobs(() => app.client.workflow.start('waits', optionsOf(workflowId)));
    const interceptor: WorkflowClientInterceptor = {
      startWithDetails: () => Promise.reject(Object.assign(new Error('away'), UNAVAILABLE)),
    };
    const client = app.openClient({ interceptors: { workflow: [interceptor] } });
    await second.jobs(async () => {
      await expect(client.workflow.start('waits', optionsOf(workflowId))).rejects.toThrow('away');
    });
    await age(second);
    expect(await second.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    await world.client.workflow.getHandle(workflowId).signal(finishSignal);
    expect(await first.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  });
});

/** As gRPC says it. */
const UNAVAILABLE = { code: 14, details: 'away', metadata: {} };

describe('an enqueuer that is killed while it starts a workflow', () => {
  test.each([
    { when: 'was requested', hangs: 'after', complete: 2 },
    { when: 'could be requested', hangs: 'before', complete: 1 },
  ] as const)('after the start $when: the workflow is a job, and says what became of it', async (given) => {
    const { hangs, complete } = given;
    await using enqueuer = await spawnEnqueuer(world);
    const batch = await createBatch(world, { enrollmentTimeout: '2s' });
    const workflowId = app.newId();
    const workflow = { ...optionsOf(workflowId), workflowType: 'returns', hangs };
    enqueuer.enrol({ batchId: batch.id, name: 'a', count: 1, workflow });
    await eventually(async () => expect(await startsOf(batch)).toHaveLength(1));
    if (hangs === 'after') await eventually(() => statusOf(workflowId));
    await enqueuer.kill();
    // The batch closes the block itself.
    await eventually(async () => expect(await rowsOf(batch)).toHaveLength(2));
    await age(batch);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 2, complete });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    const [job] = await batch.failedJobs();
    if (hangs === 'before') expect(job).toMatchObject({ errorClass: 'WorkflowNotStartedError', workflowId });
    else expect(job).toBeUndefined();
    await expectConsistent(world, batch);
  });
});

test('jobs on another task queue that it never announced run when an enqueuer is killed as it starts a workflow', async () => {
  await using enqueuer = await spawnEnqueuer(world);
  const taskQueue = `${world.taskQueue}-other`;
  await world.startWorker({ taskQueue });
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  const workflow = { ...optionsOf(app.newId()), workflowType: 'returns', hangs: 'before' as const };
  enqueuer.enrol({ batchId: batch.id, name: 'a', count: 3, taskQueue, workflow });
  await eventually(async () => expect(await startsOf(batch)).toHaveLength(1));
  await enqueuer.kill();
  await eventually(async () => expect(await rowsOf(batch)).toHaveLength(4));
  await age(batch);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 4, complete: 3, failed: 1 });
  await expectConsistent(world, batch);
  const { queues } = await world.knex.withSchema(world.schema).from('batches').where('id', batch.id).first();
  expect(queues).toEqual([taskQueue]);
});

test('a batch that closes its block is not sealed before what was being started is a job', async () => {
  await using enqueuer = await spawnEnqueuer(world);
  const batch = await createBatch(world, { enrollmentTimeout: '2s' });
  const workflowId = app.newId();
  const workflow = { ...optionsOf(workflowId), workflowType: 'returns', hangs: 'after' as const };
  enqueuer.enrol({ batchId: batch.id, name: 'a', count: 1, workflow });
  await eventually(() => statusOf(workflowId));
  // Before the death of the enqueuer, so that the batch cannot close the block before.
  await using lock = await lockTable(world, 'batch_starts');
  await enqueuer.kill();
  await eventually(async () => expect(await lock.waiting()).toHaveLength(1));
  expect(await batch.progress()).toMatchObject({ status: 'pending' });
  await lock.release();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 2, complete: 2 });
  await expectConsistent(world, batch);
});

describe('an enqueuer that hangs while it starts a workflow', () => {
  test('and loses its block to another process leaves a job that was started, which is not started again', async () => {
    const { client, arrival, release } = holding('after');
    const batch = await createBatch(world);
    const workflowId = app.newId();
    const first = batch.jobs(() => client.workflow.start('returns', optionsOf(workflowId)));
    await arrival;
    const same = await world.openClient().find(batch.id);
    const { total } = await same.jobs(
      async () => {
        const again = app.client.workflow.start('returns', optionsOf(workflowId));
        expect(await codeOf(again)).toBe('WORKFLOW_ENROLLED');
        await app.client.workflow.start('returns', optionsOf(app.newId()));
      },
      { resume: true },
    );
    expect(total).toBe(2);
    release();
    await codeOf(first);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 2,
      complete: 2,
    });
    await expectConsistent(world, batch);
  });

  test('and loses its block leaves a job that fails if it was never started', async () => {
    const { client, arrival } = holding('before');
    const batch = await createBatch(world);
    void batch.jobs(() => client.workflow.start('returns', optionsOf(app.newId()))).catch(() => {});
    await arrival;
    const same = await world.openClient().find(batch.id);
    await same.jobs(() => world.fixtures.jobs.record.performAsync(1), { resume: true });
    await age(batch);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 1,
      failed: 1,
    });
    expect(await batch.failedJobs()).toMatchObject([{ errorClass: 'WorkflowNotStartedError' }]);
  });
});

test('a handler that ends while it starts a workflow leaves a job that was started', async () => {
  held = holding('after');
  const batch = await createBatch(world);
  const workflowId = app.newId();
  await batch.jobs(() => startsAndEnds.performAsync(workflowId));
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1, total: 2 }));
  expect(await statusOf(workflowId)).toBe('RUNNING');
  await world.client.workflow.getHandle(workflowId).signal(finishSignal);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'complete',
    total: 2,
    complete: 2,
  });
  held.release();
  await expectConsistent(world, batch);
});

test.each(['before', 'after'] as const)(
  'a workflow whose start was under way when its batch was stopped is asked to cancel: %s it was done',
  async (when) => {
    const { client, arrival, release } = holding(when);
    const batch = await createBatch(world);
    const workflowId = app.newId();
    const block = batch.jobs(() => client.workflow.start('waits', optionsOf(workflowId)));
    await arrival;
    await batch.cancel();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    release();
    await codeOf(block);
    await eventually(async () => expect(await statusOf(workflowId)).toBe('CANCELLED'));
  },
);
