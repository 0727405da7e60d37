import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, inject, test } from 'vitest';
import { startPostgres, startTemporal } from '../../src/dev/index.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import { currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { OWN_SERVERS } from '../support/own-servers.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { lockTable } from '../support/table-lock.ts';
import { createWorld, type World } from '../support/world.ts';

/** Jobs and a callback that need neither server while they run, so that an outage cannot make them fail. */
function createOutageFixtures() {
  const attempts: { jid: string; attempt: number }[] = [];
  const callbackAttempts: number[] = [];
  let openGate!: () => void;
  const gate = new Promise<void>((resolve) => (openGate = resolve));
  const note = () => {
    const { jid, attempt } = currentJob();
    attempts.push({ jid, attempt });
  };
  return {
    attempts,
    callbackAttempts,
    openGate,
    pause: defineJob('Pause', async (ms: number) => {
      note();
      await delay(ms);
    }),
    waitForGate: defineJob('WaitForGate', async () => {
      note();
      await gate;
    }),
    /** Two attempts, so that it would fail for good if an outage used them up. */
    callback: defineCallback(
      'Gated',
      async (_batchId, { attempt }) => {
        callbackAttempts.push(attempt);
        await gate;
      },
      { retry: { initialInterval: '50ms', maximumAttempts: 2 } },
    ),
  };
}

type OutageFixtures = ReturnType<typeof createOutageFixtures>;

function startWorker(world: World, { pause, waitForGate, callback }: OutageFixtures) {
  return world.startWorker({
    jobs: [...Object.values(world.fixtures.jobs), pause, waitForGate],
    callbacks: [...Object.values(world.fixtures.callbacks), callback],
  });
}

/** Enrols a job every now and then until it is told to end. @returns the jids */
async function enrolUntil(batch: Batch, { pause }: OutageFixtures, end: AbortSignal): Promise<string[]> {
  const jids: string[] = [];
  await batch.jobs(async () => {
    while (!end.aborted) {
      jids.push(...(await pause.performBulk(Array.from({ length: 5 }, () => [10] as const))));
      await delay(50);
    }
  });
  return jids;
}

/** Runs a batch to the middle of its callback, which waits for the gate. */
async function reachCallback(batch: Batch, { pause, callback, callbackAttempts }: OutageFixtures) {
  await batch.on('complete', callback);
  await batch.jobs(() => pause.performAsync(0));
  await eventually(() => expect(callbackAttempts).toEqual([1]));
}

/** Opens a block with one job by messages of its own, so that the test decides when its enqueuer is heard. */
async function openByHand(world: World, batch: Batch) {
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  const token = await openBlock(world, batch.id);
  await insertJobs(world.batches.database, batch.id, 1, [['Pause', '[10]', null, null, null]], token);
  const workflowTasks = async () => {
    const { events } = await handle.fetchHistory();
    return events!.filter((event) => event.workflowTaskCompletedEventAttributes).length;
  };
  return {
    workflowTasks,
    signOfLife: () => handle.signal('enrolled', { token, upTo: 1, queues: [] }),
    seal: () => handle.executeUpdate('seal', { args: [{ token, upTo: 1, queues: [] }] }),
  };
}

/** Every job of the batch ran and is complete, nobody was charged an attempt, and one callback ran. */
async function expectUnharmed(world: World, batch: Batch, { attempts }: OutageFixtures, total: number) {
  expect(await batch.wait({ timeout: PATIENCE })).toEqual({
    status: 'complete',
    total,
    complete: total,
    failed: 0,
    cancelled: 0,
    pending: 0,
  });
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  const ran = attempts.filter(({ jid }) => jid.startsWith(`${batch.id}/`));
  expect(new Set(ran.map(({ jid }) => jid)).size).toBe(total);
  expect(ran.every(({ attempt }) => attempt === 1)).toBe(true);
}

const started = (fixtures: OutageFixtures, batch: Batch, count: number) =>
  eventually(() =>
    expect(fixtures.attempts.filter(({ jid }) => jid.startsWith(`${batch.id}/`)).length).toBeGreaterThan(
      count,
    ),
  );

// The outage of a minute is half of what other tests may take.
describe.concurrent('an outage', { timeout: 240_000 * SLOWNESS }, () => {
  test('of Postgres of a minute delays batches that enrol, run and finish, and loses nothing', async () => {
    await using postgres = await startPostgres({
      env: OWN_SERVERS,
      settings: { synchronous_commit: 'on' },
    });
    await using world = await createWorld({
      servers: { databaseUrl: postgres.databaseUrl, temporalAddress: inject('temporalAddress') },
    });
    const fixtures = createOutageFixtures();
    const { pause } = fixtures;
    await startWorker(world, fixtures);
    const [enrolling, running, finishing, calling] = await Promise.all([
      createBatch(world),
      createBatch(world),
      createBatch(world),
      world.batches.create({ description: 'in its callback' }),
    ]);
    await reachCallback(calling, fixtures);

    // Its end is being written, and waits for this lock, when the outage begins.
    await using callbackRows = await lockTable(world, 'batch_callbacks');
    await finishing.jobs(() => pause.performBulk(Array.from({ length: 30 }, () => [0] as const)));
    const isOver = new AbortController();
    const enrolled = enrolUntil(enrolling, fixtures, isOver.signal);
    await running.jobs(() => pause.performBulk(Array.from({ length: 1_000 }, () => [1_000] as const)));
    await started(fixtures, running, 100);
    await started(fixtures, enrolling, 10);
    await eventually(async () => expect(await callbackRows.waiting()).not.toEqual([]));

    await postgres.kill();
    fixtures.openGate();
    await delay(60_000);
    await postgres.restart();
    await callbackRows.release();
    isOver.abort();

    const total = (await enrolled).length;
    await Promise.all([
      expectUnharmed(world, enrolling, fixtures, total),
      expectUnharmed(world, running, fixtures, 1_000),
      expectUnharmed(world, finishing, fixtures, 30),
    ]);
    await calling.wait({ timeout: PATIENCE });
    expect(await calling.callbacks()).toMatchObject([{ status: 'completed', errorClass: null }]);
  });

  test('of Temporal, from SIGKILL to restart, delays batches that enrol, close, run and finish, and loses nothing', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'temporal-outage-'));
    await using temporal = await startTemporal({
      env: OWN_SERVERS,
      dbFilename: path.join(folder, 'temporal.db'),
    });
    await using world = await createWorld({
      servers: { databaseUrl: inject('databaseUrl'), temporalAddress: temporal.address },
    });
    const fixtures = createOutageFixtures();
    const { pause, waitForGate } = fixtures;
    await startWorker(world, fixtures);
    const [enrolling, hasty, unheard, closing, running, finishing, calling] = await Promise.all([
      createBatch(world),
      // The outage is longer than that, but their enqueuers live.
      createBatch(world, { enrollmentTimeout: '10s' }),
      createBatch(world, { enrollmentTimeout: '14s' }),
      createBatch(world),
      createBatch(world),
      createBatch(world),
      world.batches.create({ description: 'in its callback' }),
    ]);
    await reachCallback(calling, fixtures);

    const isOver = new AbortController();
    const isDown = new AbortController();
    const enrolled = enrolUntil(enrolling, fixtures, isOver.signal);
    const enrolledHastily = enrolUntil(hasty, fixtures, isOver.signal);
    const closed = enrolUntil(closing, fixtures, isDown.signal);
    await running.jobs(() => pause.performBulk(Array.from({ length: 400 }, () => [1_000] as const)));
    await finishing.jobs(() => waitForGate.performAsync());
    await started(fixtures, enrolling, 10);
    await started(fixtures, hasty, 10);
    await started(fixtures, closing, 10);
    await started(fixtures, finishing, 0);
    await started(fixtures, running, 50);

    const byHand = await openByHand(world, unheard);
    const tasksBefore = await byHand.workflowTasks();

    await temporal.kill();
    fixtures.openGate();
    isDown.abort();
    await delay(20_000);
    await temporal.restart();
    isOver.abort();
    // The batch wakes before it hears its enqueuer, which could not reach it until now.
    await eventually(async () => expect(await byHand.workflowTasks()).toBeGreaterThan(tasksBefore));
    await byHand.signOfLife();
    expect(await byHand.seal()).toEqual({ total: 1 });

    const totals = (await Promise.all([enrolled, enrolledHastily, closed])).map(({ length }) => length);
    await Promise.all([
      expectUnharmed(world, enrolling, fixtures, totals[0]!),
      expectUnharmed(world, hasty, fixtures, totals[1]!),
      expectUnharmed(world, unheard, fixtures, 1),
      expectUnharmed(world, closing, fixtures, totals[2]!),
      expectUnharmed(world, running, fixtures, 400),
      expectUnharmed(world, finishing, fixtures, 1),
    ]);
    await calling.wait({ timeout: PATIENCE });
    expect(await calling.callbacks()).toMatchObject([{ status: 'completed', errorClass: null }]);
    await rm(folder, { recursive: true });
  });
});
