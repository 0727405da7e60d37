import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { describe, expect, inject, test } from 'vitest';
import { startPostgres } from '../../src/dev/index.ts';
import { BatchClient, BatchError, type Batch, type BatchOptions } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { createBatch, expectConsistent, firedCallbacks, runBatch } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { codeOf, expectCode } from '../support/codes.ts';
import { createTroubles, examine } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { OWN_SERVERS } from '../support/own-servers.ts';
import { runsOf } from '../support/histories.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

// What people are told when something is missing, broken or was stopped: one sentence, one code, and the right advice.

function handleOf(world: World, batchId: string) {
  return world.client.workflow.getHandle(`batch:${batchId}`);
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'nothing was thrown',
    (error: unknown) => (error instanceof BatchError ? `[${error.code}] ${error.message}` : String(error)),
  );
}

describe.concurrent('without a worker', () => {
  test('pause, resume and update are kept, and take effect once one runs', async () => {
    await using world = await createWorld();
    const { work } = world.fixtures.jobs;
    const first = await world.startWorker();
    const batch = await createBatch(world);
    await first.stop();
    const block = batch.jobs(() => work.performBulk(Array.from({ length: 30 }, (_, i) => [i, 10] as const)));
    const kept = {
      queued: true,
      reason: expect.stringContaining(`no worker polled task queue "${world.taskQueue}"`),
    };
    const paused = batch.pause();
    const changed = batch.update({ failWhenFailed: 'all' });
    expect(await paused).toEqual(kept);
    expect(await changed).toEqual(kept);
    expect(await block).toEqual({ total: 30 });
    expect((await batch.reload()).pausedAt).toBeNull();

    const second = await world.startWorker();
    await eventually(async () => expect((await batch.reload()).pausedAt).toBeInstanceOf(Date));
    await eventually(async () => {
      const view = world.knex.withSchema(world.schema).from('batch_progress');
      expect(await view.where('id', batch.id).first('fail_when_failed')).toEqual({ fail_when_failed: 'all' });
    });
    // Answered by the worker, after all that had been kept for it.
    expect(await batch.update({ maxConcurrentJobs: 5 })).toEqual({ queued: false });
    expect(await world.ledger.count(batch.id, 'job')).toBe(0);
    await second.stop();

    const { stdout, exitCode } = await runCli(['resume', batch.id, '--yes', '--schema', world.schema]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain(
      `Batch ${batch.id} will be resumed once a worker runs; Temporal keeps the request.`,
    );
    expect((await batch.reload()).pausedAt).toBeInstanceOf(Date);
    await world.startWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 30 });
    await expectConsistent(world, batch);
  });

  test('what the batch would refuse is refused, and not kept', async () => {
    await using world = await createWorld();
    const worker = await world.startWorker();
    const { batch: settled } = await runBatch(world, (jobs) => jobs.noop.performAsync(1));
    const running = await createBatch(world, { jobLimits: { Noop: {} } });
    await worker.stop();
    const known = running.update({ jobLimits: { Noop: { perSecond: 1 } } });
    await Promise.all([
      expectCode(settled.pause(), 'BATCH_SETTLED'),
      expectCode(running.update({ jobLimits: { Record: { perSecond: 1 } } }), 'JOB_NOT_LIMITED'),
    ]);
    expect(await known).toMatchObject({ queued: true });
  });

  test('cancel is kept: a block after it keeps its jobs, which are cancelled with the batch', async () => {
    await using world = await createWorld();
    const worker = await world.startWorker();
    const batch = await createBatch(world);
    await batch.on('cancelled', world.fixtures.callbacks.another);
    await worker.stop();
    expect(await batch.cancel({ reason: 'no need' })).toMatchObject({ queued: true });
    const block = batch.jobs(async () => {
      for (let i = 0; i < 5; i++) await world.fixtures.jobs.record.performAsync(i);
    });
    expect(await block).toEqual({ total: 5 });
    await world.startWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      total: 5,
      cancelled: 5,
    });
    expect(await batch.cancelledJobs()).toHaveLength(5);
    await expectConsistent(world, batch);
    expect(await world.ledger.count(batch.id, 'job')).toBe(0);
    expect(await firedCallbacks(world, batch.id)).toEqual(['Another', 'OnSettled']);
  });

  test('a round and its cancellation are kept, one after the other', async () => {
    await using world = await createWorld();
    const worker = await world.startWorker();
    const { batch } = await runBatch(world, (jobs) => jobs.failForGood.performAsync(1));
    await worker.stop();
    const { stdout } = await runCli(['retry-failed', batch.id, '--yes', '--schema', world.schema]);
    expect(stdout).toContain(
      `Round 2 of batch ${batch.id} will begin once a worker runs; Temporal keeps the request.`,
    );
    expect(await batch.cancel()).toMatchObject({ queued: true });
    await world.startWorker();
    await eventually(async () => expect((await batch.reload()).round).toBe(2));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 1 });
    await expectConsistent(world, batch);
    expect(await world.ledger.count(batch.id, 'job')).toBe(1);
  });

  test('on() says that it may not have registered the callback, and can be repeated', async () => {
    await using world = await createWorld();
    const worker = await world.startWorker();
    const batch = await world.batches.create({ description: 'd' });
    await worker.stop();
    const { onComplete } = world.fixtures.callbacks;
    const message = await messageOf(batch.on('complete', onComplete));
    expect(message).toMatch(
      /^\[WORKER_UNAVAILABLE\] Callback "OnComplete" may not be registered; call on\(\) again/,
    );
    await world.startWorker();
    await batch.on('complete', onComplete);
    expect(await batch.callbacks()).toMatchObject([{ callback: 'OnComplete' }]);
  });
});

describe.concurrent('while Postgres is down', () => {
  test('create says so, and leaves nothing behind', async () => {
    await using postgres = await startPostgres({ env: OWN_SERVERS, settings: { synchronous_commit: 'on' } });
    await using world = await createWorld({
      servers: { databaseUrl: postgres.databaseUrl, temporalAddress: inject('temporalAddress') },
    });
    await world.startWorker();
    const before = await world.batches.create({ description: 'before' });
    const id = `down-${world.schema}`;
    await postgres.kill();
    const messages = await Promise.all([
      messageOf(world.batches.create({ description: 'without an id' })),
      messageOf(world.batches.create({ id, description: 'with an id' })),
    ]);
    await postgres.restart();
    for (const message of messages) expect(message).toMatch(/^\[DATABASE_UNAVAILABLE\] /);
    const newId = /^\[DATABASE_UNAVAILABLE\] Batch "(.+?)" was not created: Postgres does not answer/.exec(
      messages[0],
    )![1]!;
    expect((await handleOf(world, newId).describe()).status.name).toBe('TERMINATED');
    await expect(handleOf(world, id).describe()).rejects.toThrow(/not found/i);
    // A worker that had begun to write takes its row back.
    await eventually(async () =>
      expect((await world.batches.list()).map((batch) => batch.id)).toEqual([before.id]),
    );
    const again = await world.batches.create({ id, description: 'with an id' });
    await again.jobs(() => world.fixtures.jobs.noop.performAsync(1));
    expect(await again.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    expect((await world.batches.list()).map((batch) => batch.id)).toEqual([id, before.id]);
  });

  test('for the workers alone, create says that they cannot write', async () => {
    await using world = await createWorld();
    const url = new URL(inject('databaseUrl'));
    await using proxy = await TcpProxy.open(url.host);
    url.host = proxy.address;
    await world.startWorker({ database: url.href });
    await runBatch(world, (jobs) => jobs.noop.performAsync(1));
    const id = `unwritten-${world.schema}`;
    await proxy.close();
    const message = await messageOf(world.batches.create({ id, description: 'd' }));
    expect(message).toMatch(
      /^\[WORKER_FAILING\] Batch .* was not created: a worker .* cannot write to Postgres/,
    );
    expect((await handleOf(world, id).describe()).status.name).toBe('TERMINATED');
    await expectCode(world.batches.find(id), 'BATCH_NOT_FOUND');
  });
});

describe.concurrent('a Temporal', () => {
  test('that cannot be reached is told from a worker that is missing', async () => {
    await using world = await createWorld();
    const worker = await world.startWorker();
    const batch = await createBatch(world);
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    const connection = await Connection.connect({ address: proxy.address });
    const far = new BatchClient({
      client: new Client({ connection }),
      database: world.knex,
      schema: world.schema,
      taskQueue: world.taskQueue,
    });
    const same = await far.find(batch.id);
    proxy.freeze();
    const unreachable = await messageOf(same.pause());
    expect(unreachable).toMatch(/^\[TEMPORAL_UNAVAILABLE\] .*Check the address/);
    // Before what is held arrives: a worker that stops with a task of it would count as one that is busy.
    await worker.stop();
    proxy.thaw();
    expect(await same.pause()).toMatchObject({ reason: expect.stringContaining('no worker polled') });
    await far.close();
    await connection.close();
  });

  test('without the namespace is named as such: by create, a batch, a schedule, a worker and the command line', async () => {
    await using world = await createWorld();
    await world.startWorker();
    const batch = await createBatch(world);
    const { connection } = world.client;
    const namespace = 'not-there';
    const elsewhere = new BatchClient({
      client: new Client({ connection, namespace }),
      database: world.knex,
      schema: world.schema,
      taskQueue: world.taskQueue,
    });
    const same = await elsewhere.find(batch.id);
    const messages = await Promise.all(
      [
        elsewhere.create({ description: 'd' }),
        same.pause(),
        same.cancel(),
        same.on('complete', world.fixtures.callbacks.onComplete),
        same.wait({ timeout: PATIENCE }),
        elsewhere.schedulePrune({ olderThan: '30 days', every: '1 day' }),
        createBatchWorker({
          connection: world.connection,
          namespace,
          database: world.knex,
          schema: world.schema,
          workflowBundle: { codePath: inject('workflowBundlePath') },
        }),
      ].map(messageOf),
    );
    for (const message of messages) expect(message).toMatch(/^\[NAMESPACE_UNKNOWN\] .*"not-there"/);
    const cli = await runCli([
      'pause',
      batch.id,
      '--yes',
      '--schema',
      world.schema,
      '--namespace',
      namespace,
    ]);
    expect(cli.stderr).toMatch(/^error \[NAMESPACE_UNKNOWN\]: .*"not-there"/);
    await elsewhere.close();
  });
});

describe.concurrent('a closed client', () => {
  test.each(['a pool of its own', 'the pool of the app'])(
    'with %s refuses every call on it and on its batches with CLIENT_CLOSED',
    async (pool) => {
      await using world = await createWorld();
      await world.startWorker();
      const { client, knex, schema, taskQueue, fixtures } = world;
      const batches = new BatchClient({
        client,
        database: pool === 'the pool of the app' ? knex : inject('databaseUrl'),
        schema,
        taskQueue,
      });
      const batch = await batches.create({ description: 'd' });
      const openEnded = await batches.create({ description: 'd', autoSeal: false });
      await batches.close();
      const calls: Record<string, () => unknown> = {
        create: () => batches.create({ description: 'd' }),
        find: () => batches.find(batch.id),
        list: () => batches.list(),
        prune: () => batches.prune({ olderThan: '1 day' }),
        schedulePrune: () => batches.schedulePrune({ olderThan: '1 day', every: '1 day' }),
        unschedulePrune: () => batches.unschedulePrune(),
        on: () => batch.on('complete', fixtures.callbacks.onComplete),
        jobs: () => batch.jobs(() => fixtures.jobs.noop.performAsync(1)),
        takeOver: () => batch.jobs(() => fixtures.jobs.noop.performAsync(1), { resume: true }),
        addJobs: () => openEnded.jobs(() => fixtures.jobs.noop.performAsync(1)),
        seal: () => openEnded.seal(),
        cancel: () => batch.cancel(),
        pause: () => batch.pause(),
        resume: () => batch.resume(),
        update: () => batch.update({ failWhenFailed: 'all' }),
        retryFailed: () => batch.retryFailed(),
        rounds: () => batch.rounds(),
        progress: () => batch.progress(),
        reload: () => batch.reload(),
        callbacks: () => batch.callbacks(),
        wait: () => batch.wait({ timeout: '1s' }),
        pendingJobs: () => batch.pendingJobs(),
        failedJobs: () => batch.failedJobs(),
        completedJobs: () => batch.completedJobs(),
        cancelledJobs: () => batch.cancelledJobs(),
        results: () => batch.results(),
        eachResult: () => batch.eachResult().next(),
      };
      const codes = await Promise.all(
        Object.entries(calls).map(async ([name, call]) => [
          name,
          await codeOf((async () => void (await call()))()),
        ]),
      );
      expect(Object.fromEntries(codes)).toEqual(
        Object.fromEntries(Object.keys(calls).map((name) => [name, 'CLIENT_CLOSED'])),
      );
    },
  );

  test('in its own block ends the block with CLIENT_CLOSED', async () => {
    await using world = await createWorld();
    await world.startWorker();
    const { client, schema, taskQueue, fixtures } = world;
    const batches = new BatchClient({ client, database: inject('databaseUrl'), schema, taskQueue });
    const batch = await batches.create({ description: 'd' });
    const block = batch.jobs(async () => {
      await fixtures.jobs.noop.performAsync(1);
      await batches.close();
      await fixtures.jobs.noop.performAsync(2);
    });
    await expectCode(block, 'CLIENT_CLOSED');
  });
});

describe.concurrent('wait that has timed out', () => {
  test('names the callback that no worker knows, the one that fails, and nested batches', async () => {
    await using world = await createWorld();
    const troubles = createTroubles();
    const { gate, jobs } = createGates();
    const { noop } = world.fixtures.jobs;
    await world.startWorker({ jobs: [noop, jobs.pass], callbacks: [troubles.failingCallback] });
    const make = (options: Partial<BatchOptions> = {}) =>
      world.batches.create({ description: 'd', ...options });
    const [unknown, failing, outer, inner, working] = await Promise.all([
      make({ callbacks: { complete: troubles.strangeCallback } }),
      make({ callbacks: { complete: troubles.failingCallback } }),
      make(),
      make(),
      make(),
    ]);
    for (const batch of [unknown, failing]) await batch.jobs(() => noop.performAsync(1));
    await outer.jobs(async () => {
      await noop.performAsync(1);
      await inner.enrol();
    });
    await working.jobs(() => jobs.pass.performAsync(working.id));
    const told = (batch: Batch) => messageOf(batch.wait({ timeout: '100ms' }));
    await eventually(async () =>
      expect(await told(unknown)).toMatch(
        /^\[WAIT_TIMED_OUT\] .*it is complete, all of its jobs have ended, and it waits for its callback "StrangeCallback" on complete, which no worker that was asked knows\. Give it to createBatchWorker/,
      ),
    );
    await eventually(async () =>
      expect(await told(failing)).toMatch(
        /its callback "FailingCallback" on complete, which failed 1 attempt: BrokenError: no mail server/,
      ),
    );
    await eventually(async () =>
      expect(await told(outer)).toContain(
        `it is running, 1 of 2 jobs is pending, among them batch "${inner.id}" (pending)`,
      ),
    );
    expect(await told(working)).toContain('it is running, 1 of 1 job is pending');
    expect(await told(inner)).toContain('jobs() has not ended or seal() was not called');
    const cli = await runCli(['wait', unknown.id, '--timeout', '1s', '--schema', world.schema]);
    expect(cli.stderr).toMatch(/^error \[WAIT_TIMED_OUT\]: .*its callback "StrangeCallback" on complete/);
    gate(working.id).open();
    await Promise.all(
      [unknown, failing, outer, inner].map(({ id }) => handleOf(world, id).terminate('test')),
    );
  });
});

test.concurrent(
  'a deadline that passes in a block says that the batch has failed, or was cancelled',
  async () => {
    await using world = await createWorld();
    await world.startWorker();
    const stoppedBy = async (options: Partial<BatchOptions>) => {
      const batch = await createBatch(world, { deadline: '2s', ...options });
      const code = await codeOf(
        batch.jobs(async () => {
          await world.fixtures.jobs.noop.performAsync(1);
          await eventually(async () => expect((await batch.reload()).stoppedAt).not.toBeNull());
          for (let i = 0; i < 3; i++) await world.fixtures.jobs.noop.performAsync(i);
        }),
      );
      const { status } = await batch.wait({ timeout: PATIENCE });
      // The block is refused from then on, too.
      const again = await codeOf(batch.jobs(() => world.fixtures.jobs.noop.performAsync(1)));
      return { code, again, status };
    };
    expect(await Promise.all([stoppedBy({}), stoppedBy({ afterDeadline: 'cancel' })])).toEqual([
      { code: 'BATCH_FAILED', again: 'BATCH_FAILED', status: 'failed' },
      { code: 'BATCH_CANCELLED', again: 'BATCH_CANCELLED', status: 'cancelled' },
    ]);
  },
);

describe.concurrent('a batch whose workflow an operator terminated', () => {
  /** With a job that has failed, one that runs, and others, most of which have not started. */
  async function terminated(world: World, options: Partial<BatchOptions> = {}) {
    const gates = createGates();
    const worker = await world.startWorker({
      maxConcurrentJobs: 1,
      jobs: [...Object.values(world.fixtures.jobs), ...Object.values(gates.jobs)],
    });
    const batch = await createBatch(world, { failWhenFailed: 'all', ...options });
    await batch.on('cancelled', world.fixtures.callbacks.another);
    const gate = gates.gate(batch.id);
    await batch.jobs(async () => {
      await world.fixtures.jobs.noop.performAsync(1);
      await world.fixtures.jobs.failForGood.performAsync(2);
      await gates.jobs.pass.performAsync(batch.id);
      for (let i = 4; i <= 303; i++) await world.fixtures.jobs.noop.performAsync(i);
    });
    await gate.arrivals(1);
    await eventually(async () => expect(await batch.progress()).toMatchObject({ failed: 1 }));
    await handleOf(world, batch.id).terminate('oops');
    return { batch, gate, worker };
  }

  test('says so, whatever is asked of it, and the doctor says what to do', async () => {
    await using world = await createWorld();
    const { batch, gate } = await terminated(world);
    const messages = await Promise.all(
      [
        batch.pause(),
        batch.resume(),
        batch.update({ failWhenFailed: 'any' }),
        batch.on('settled', world.fixtures.callbacks.onComplete),
        batch.wait({ timeout: PATIENCE }),
      ].map(messageOf),
    );
    for (const message of messages) {
      expect(message).toMatch(
        /^\[BATCH_TERMINATED\] Batch .* does not move: its workflow was terminated at .*\(oops, by .*\)\. retryFailed\(\) runs its unfinished jobs as a new round, cancel\(\) ends it\.$/,
      );
    }
    const { codes, findings } = await examine(world, batch.id);
    expect(codes).toEqual(['WORKFLOW_TERMINATED']);
    expect(findings[0]!.advice).toContain(`batch-jobs retry-failed ${batch.id}`);
    gate.open();
  });

  test('goes on with retryFailed: unfinished and failed jobs run as a new round, whoever asks twice', async () => {
    await using world = await createWorld();
    const { batch, gate } = await terminated(world, { failWhenFailed: { moreThan: 1 } });
    const other = await world.openClient().find(batch.id);
    const results = await Promise.allSettled([batch.retryFailed(), other.retryFailed()]);
    // Not before: the new round could be over when the second one asks.
    gate.open();
    const opened = results.filter((result) => result.status === 'fulfilled');
    expect(opened.map(({ value }) => value)).toEqual([{ round: 2, queued: false }]);
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'BATCH_RUNNING' });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 303,
      complete: 302,
      failed: 1,
    });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    expect(await batch.rounds()).toMatchObject([
      { round: 1, status: 'cancelled', failed: 1, stopReason: expect.stringContaining('(oops, by ') },
      { round: 2, status: 'complete', failed: 1, stopReason: null },
    ]);
    const { rows } = await world.knex.raw(
      'select distinct status from :schema:.batch_callbacks where batch_id = :id and round = 1',
      { schema: world.schema, id: batch.id },
    );
    expect(rows).toEqual([{ status: 'skipped' }]);
  });

  test('ends with cancel, whose callbacks run once, also when it is asked for twice and without a worker', async () => {
    await using world = await createWorld();
    const { batch, gate, worker } = await terminated(world);
    gate.open();
    await worker.stop();
    const results = await Promise.all([batch.cancel({ reason: 'enough' }), batch.cancel()]);
    expect(results).toMatchObject([{ queued: true }, { queued: true }]);
    await world.startWorker();
    await eventually(async () => expect((await batch.progress()).status).toBe('cancelled'));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 303, failed: 0, pending: 0 });
    expect(await firedCallbacks(world, batch.id)).toEqual(['Another', 'OnSettled']);
    await expectConsistent(world, batch);
    expect(await batch.cancel()).toEqual({ queued: false });
    await batch.retryFailed({ cancelled: true });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 302 });
  });

  test('while its block was open: the enqueuer is told, and the batch ends failed after retryFailed', async () => {
    await using world = await createWorld();
    await world.startWorker();
    const batch = await createBatch(world);
    const block = batch.jobs(async () => {
      await world.fixtures.jobs.record.performAsync(1);
      await eventually(async () => expect((await batch.progress()).complete).toBe(1));
      await handleOf(world, batch.id).terminate('oops');
      await world.fixtures.jobs.record.performAsync(2);
    });
    await expectCode(block, 'BATCH_TERMINATED');
    await batch.retryFailed();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      failed: 0,
      pending: 0,
    });
    expect(batch.enrollmentError).toContain('The block was open: its workflow was terminated');
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });

  test('and whose runners go on: each job is complete once in the new round', async () => {
    await using world = await createWorld();
    const { gate, jobs } = createGates();
    await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs)] });
    const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
    await batch.jobs(async () => {
      for (let i = 1; i < 1_000; i++) await world.fixtures.jobs.work.performAsync(i, 50);
      // A runner is at it, however late the batch is terminated.
      await jobs.pass.performAsync(batch.id);
    });
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(50));
    await handleOf(world, batch.id).terminate('oops');
    await batch.retryFailed();
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_000 });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });

  test('and that Temporal does not know is left as it is', async () => {
    await using world = await createWorld();
    await world.startWorker();
    const batch = await world.batches.create({ description: 'd' });
    await world.knex
      .withSchema(world.schema)
      .from('batches')
      .where('id', batch.id)
      .update({ id: `moved-${batch.id}` });
    const moved = await world.batches.find(`moved-${batch.id}`);
    for (const message of await Promise.all(
      [moved.retryFailed(), moved.cancel(), moved.pause()].map(messageOf),
    ))
      expect(message).toMatch(
        /^\[BATCH_TERMINATED\] .*Temporal has no workflow .*Check address and namespace/,
      );
    await handleOf(world, batch.id).terminate('test');
  });
});

test.concurrent('changes that meet a continue-as-new are sent again, and none is lost', async () => {
  await using world = await createWorld();
  await world.startWorker();
  const batch = await world.batches.create({ description: 'd', continueAsNewAfterEvents: 20 });
  const later = world.fixtures.jobs.noop.set({ startDelay: '1 hour' });
  await batch.jobs(() => later.performBulk(Array.from({ length: 200 }, (_, i) => [i] as const)));
  const handle = handleOf(world, batch.id);
  // Reports make history, and some arrive as the batch continues as new.
  const isOver = new AbortController();
  const reports = (async () => {
    while (!isOver.signal.aborted) {
      await handle.signal('completed', { runner: 'nobody', completed: 0, failed: 0, ended: false });
      await delay(5);
    }
  })();
  const until = Date.now() + 30_000 * SLOWNESS;
  let rounds = 0;
  try {
    for (; Date.now() < until; rounds++) {
      await batch.pause();
      await eventually(async () => expect((await batch.reload()).pausedAt).toBeInstanceOf(Date));
      await batch.update({ failWhenFailed: { moreThan: rounds } });
      // All but one change nothing, so that they are answered in the task in which the batch may continue as new.
      await Promise.all([1, 2, 3].map(() => batch.resume()));
      await eventually(async () => expect((await batch.reload()).pausedAt).toBeNull());
    }
  } finally {
    isOver.abort();
    await reports;
  }
  await eventually(async () => {
    const view = world.knex.withSchema(world.schema).from('batch_progress').where('id', batch.id);
    expect(await view.first('fail_when_failed')).toEqual({ fail_when_failed: `more than ${rounds - 1}` });
  });
  expect((await runsOf(world.client, `batch:${batch.id}`)).length).toBeGreaterThan(10);
  await batch.cancel();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 200 });
  await expectConsistent(world, batch);
});
