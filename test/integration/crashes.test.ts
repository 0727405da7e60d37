import { describe, expect, test } from 'vitest';
import type { Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { createCrashFixtures } from '../support/crash-fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { supervise } from '../support/supervise.ts';
import { lockTable } from '../support/table-lock.ts';
import { createWorld, type ProcessOptions, type WorkerProcess, type World } from '../support/world.ts';
import type { BatchState } from '../../workflows/batch-state.ts';
import { waitMs } from '../../workflows/timeouts.ts';

const progressed = (batch: { progress(): Promise<{ complete: number }> }, complete: number) =>
  eventually(async () => expect((await batch.progress()).complete).toBeGreaterThanOrEqual(complete));

test.concurrent(
  'after a SIGKILL of the worker in the middle all jobs are done, and the callback runs once',
  async () => {
    await using world = await createWorld();
    const victim = await world.spawnWorker();
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 300; i++) await world.fixtures.jobs.work.performAsync(i, 200);
    });
    await progressed(batch, 20);
    victim.kill('SIGKILL');
    await victim.exited;
    await world.spawnWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toEqual({
      status: 'complete',
      total: 300,
      complete: 300,
      failed: 0,
      cancelled: 0,
      pending: 0,
    });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    const jobs = await world.ledger.of(batch.id, 'job');
    expect(new Set(jobs.map(({ jid }) => jid)).size).toBe(300);
    // Nobody is charged an attempt for a lost worker.
    expect(jobs.every(({ attempt }) => attempt === 1)).toBe(true);
  },
);

test.concurrent(
  'SIGTERM drains: what runs ends, the rest waits for another worker, and nobody is charged an attempt',
  async () => {
    await using world = await createWorld();
    // So few at once that most of the jobs wait when it is stopped.
    const victim = await world.spawnWorker({ maxConcurrentJobs: 20 });
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 1_000; i++) await world.fixtures.jobs.work.performAsync(i, 300);
    });
    await progressed(batch, 20);
    victim.kill('SIGTERM');
    expect(await victim.exited).toBe(0);
    const { complete, pending } = await batch.progress();
    expect(pending).toBeGreaterThan(0);
    const started = await world.ledger.of(batch.id, 'job');
    expect(started).toHaveLength(complete);
    await world.startWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_000 });
    const jobs = await world.ledger.of(batch.id, 'job');
    expect(jobs).toHaveLength(1_000);
    expect(jobs.every(({ attempt }) => attempt === 1)).toBe(true);
  },
);

test.concurrent(
  'a callback whose worker is killed in it is started again by Temporal, and counts as one',
  async () => {
    await using world = await createWorld();
    const victim = await world.spawnWorker();
    const batch = await world.batches.create({ description: 'killed in its callback' });
    await batch.on('complete', world.fixtures.callbacks.killedOnce);
    await batch.on('settled', world.fixtures.callbacks.onSettled);
    await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
    await victim.exited;
    await world.startWorker();
    await batch.wait({ timeout: PATIENCE });
    const entries = await world.ledger.of(batch.id, 'callback');
    expect(entries.map(({ attempt }) => attempt)).toEqual([1, 2, 1]);
    expect(await batch.callbacks()).toMatchObject([
      { event: 'complete', status: 'completed', attempts: 2 },
      { event: 'settled', status: 'completed', attempts: 1 },
    ]);
    const { events } = await world.client.workflow.getHandle(`batch:${batch.id}`).fetchHistory();
    const scheduled = events!.filter(
      ({ activityTaskScheduledEventAttributes: attributes }) =>
        attributes?.activityType?.name === 'runCallback',
    );
    expect(scheduled).toHaveLength(2);
  },
);

test.concurrent(
  'what a transactional callback writes happens once, though its worker is killed before the commit',
  async () => {
    await using world = await createWorld();
    const victim = await world.spawnWorker();
    const batch = await world.batches.create({ description: 'exactly once' });
    await batch.on('complete', world.fixtures.callbacks.transactional);
    await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
    await victim.exited;
    await world.startWorker();
    await batch.wait({ timeout: PATIENCE });
    expect(await world.ledger.of(batch.id, 'callback')).toHaveLength(2);
    expect(await world.ledger.of(batch.id, 'effect')).toHaveLength(1);
    expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 2 }]);
  },
);

test.concurrent('a batch waits while no worker is up, and runs when one is back', async () => {
  await using world = await createWorld();
  const worker = await world.startWorker();
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    await world.fixtures.jobs.record.performAsync(1);
    await worker.stop();
    await world.fixtures.jobs.record.performAsync(2);
    // The block ends without a worker: the seal is durable all the same.
  });
  expect(await batch.progress()).toMatchObject({ status: 'pending', total: 2 });
  await world.startWorker();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
});

test.concurrent("Temporal's Cancel, pressed on a batch and its runner, changes nothing", async () => {
  await using world = await createWorld();
  const { gate, jobs } = createGates();
  await world.startWorker({ jobs: Object.values(jobs) });
  for (const total of [20, 400]) {
    // Histories too short for chunks: all jobs have a runner.
    const hasRunner = total > 250;
    const batch = await createBatch(world, hasRunner ? { continueAsNewAfterEvents: 80 } : {});
    await batch.jobs(async () => {
      for (let i = 0; i < total; i++) await jobs.pass.performAsync(batch.id);
    });
    await gate(batch.id).arrivals(1);
    await world.client.workflow.getHandle(`batch:${batch.id}`).cancel();
    if (hasRunner) await world.client.workflow.getHandle(`batch:${batch.id}/runner/1`).cancel();
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: total });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  }
});

test.concurrent('a runner that somebody terminates is replaced, and nothing is counted twice', async () => {
  await using world = await createWorld();
  const { gate, jobs } = createGates();
  await world.startWorker({ jobs: [world.fixtures.jobs.work, jobs.pass] });
  const batch = await createBatch(world, { continueAsNewAfterEvents: 80 });
  await batch.jobs(async () => {
    // Every second one keeps its runner until that is terminated.
    for (let i = 0; i < 400; i++)
      await (i % 2 === 0 ? world.fixtures.jobs.work.performAsync(i, 150) : jobs.pass.performAsync(batch.id));
  });
  await progressed(batch, 10);
  await world.client.workflow.getHandle(`batch:${batch.id}/runner/1`).terminate('by an operator');
  gate(batch.id).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'complete',
    total: 400,
    complete: 400,
  });
  await expectConsistent(world, batch);
});

test.concurrent('a runner whose reports do not count any more is replaced once it has ended', async () => {
  await using world = await createWorld();
  const { gate, jobs } = createGates();
  await world.startWorker({ jobs: [world.fixtures.jobs.work, jobs.pass] });
  // So short that runners have all jobs. The batch's first run does not end meanwhile: the next one would ask.
  const batch = await createBatch(world, { continueAsNewAfterEvents: 99 });
  await batch.jobs(async () => {
    // Every second one keeps its runner until that was told.
    for (let i = 0; i < 400; i++)
      await (i % 2 === 0
        ? world.fixtures.jobs.work.performAsync(i, 1_000)
        : jobs.pass.performAsync(batch.id));
  });
  await progressed(batch, 10);
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  const { runners } = await handle.query<BatchState>('state');
  const [runner, { from, to }] = Object.entries(runners).at(-1)!;
  // As if it had given back all but what is in flight, which is all: what it says from now on is of an earlier time.
  const range = { ready: [], lost: [], suspect: [], delayed: [], completed: 0, failed: 0, cancelled: 0 };
  await handle.signal('rangeReturned', {
    runner,
    returns: 0,
    range: { ...range, pace: { size: 25, window: 8 } },
    kept: `${from}-${to}`,
    idle: false,
  });
  gate(batch.id).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 400 });
  await expectConsistent(world, batch);
  expect(
    (await world.client.workflow.getHandle(`batch:${batch.id}/runner/${runner}`).describe()).status.name,
  ).toBe('COMPLETED');
});

test.concurrent(
  'a job whose row names a task queue of which its batch does not know runs there',
  async () => {
    await using world = await createWorld();
    await world.startWorker();
    const taskQueue = `${world.taskQueue}-other`;
    await world.startWorker({ taskQueue });
    const batch = await createBatch(world);
    // None starts before the row names the other queue.
    await batch.pause();
    await batch.jobs(async () => {
      for (let i = 0; i < 3; i++) await world.fixtures.jobs.record.performAsync(i);
    });
    const rows = world.knex.withSchema(world.schema).from('batch_jobs').where('batch_id', batch.id);
    await rows.andWhere('position', 2).update({ task_queue: taskQueue });
    await batch.resume();
    // A count again comes 10 s after the last job that is known has ended.
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 3,
      complete: 3,
    });
    await expectConsistent(world, batch);
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(3);
  },
);

/**
 * Runs 300 jobs of 200 ms, longer on a slow machine, and tells how long they took from the end of the block to the end
 * of the callbacks.
 */
async function timed300(world: World, meanwhile: (batch: Batch) => Promise<void> = async () => {}) {
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    for (let i = 0; i < 300; i++) await world.fixtures.jobs.work.performAsync(i, 200 * SLOWNESS);
  });
  const startedAt = performance.now();
  await meanwhile(batch);
  const expected = { status: 'complete', total: 300, complete: 300, failed: 0, cancelled: 0, pending: 0 };
  expect(await batch.wait({ timeout: PATIENCE })).toEqual(expected);
  const seconds = (performance.now() - startedAt) / 1000;
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  const jobs = await world.ledger.of(batch.id, 'job');
  expect(new Set(jobs.map(({ jid }) => jid)).size).toBe(300);
  expect(jobs.every(({ attempt }) => attempt === 1)).toBe(true);
  return { seconds, runs: jobs.length };
}

/** A killed worker is noticed after 10 s at the latest, and what it ran runs again. */
const MOST_SECONDS_LATER = 20 * SLOWNESS;

/** Kills the one of these workers that started a job last: some are in flight there. @returns the others */
async function killBusiest(world: World, batch: Batch, workers: readonly WorkerProcess[]) {
  const last = (await world.ledger.of(batch.id, 'job')).at(-1)!;
  const victim = workers.find(({ pid }) => pid === last.pid)!;
  victim.kill('SIGKILL');
  await victim.exited;
  return workers.filter((worker) => worker !== victim);
}

test('300 jobs in flight take at most 20 s longer when a worker of theirs is killed, or two are', async () => {
  await using world = await createWorld();
  // Few at once, so that jobs are in flight for seconds.
  const spawn = () => world.spawnWorker({ maxConcurrentJobs: 8 });
  let workers: readonly WorkerProcess[] = await Promise.all([spawn(), spawn()]);
  const undisturbed = await timed300(world);
  const once = await timed300(world, async (batch) => {
    await progressed(batch, 40);
    workers = await killBusiest(world, batch, workers);
  });
  workers = [...workers, ...(await Promise.all([spawn(), spawn()]))];
  const twice = await timed300(world, async (batch) => {
    await progressed(batch, 40);
    workers = await killBusiest(world, batch, workers);
    await progressed(batch, 80);
    workers = await killBusiest(world, batch, workers);
  });
  // Else the kills hit nobody.
  expect(once.runs).toBeGreaterThan(300);
  expect(twice.runs).toBeGreaterThan(300);
  expect(once.seconds - undisturbed.seconds).toBeLessThan(MOST_SECONDS_LATER);
  expect(twice.seconds - undisturbed.seconds).toBeLessThan(MOST_SECONDS_LATER);
});

test.concurrent('a SIGKILL in the last attempt of a job does not use that attempt up', async () => {
  await using world = await createWorld();
  const { hangsInLastAttempt } = createCrashFixtures(world.ledger).jobs;
  const victim = await world.spawnWorker();
  const batch = await createBatch(world);
  await batch.jobs(() => hangsInLastAttempt.performBulk([['returns'], ['throws']]));
  const attemptsOf = async (position: number) =>
    (await world.ledger.of(batch.id, 'job'))
      .filter(({ jid }) => jid === `${batch.id}/${position}`)
      .map(({ attempt }) => attempt);
  await eventually(async () => {
    expect(await attemptsOf(1)).toEqual([1, 2]);
    expect(await attemptsOf(2)).toEqual([1, 2]);
  });
  victim.kill('SIGKILL');
  await victim.exited;
  await world.spawnWorker();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', complete: 1, failed: 1 });
  await expectConsistent(world, batch);
  expect(await attemptsOf(1)).toEqual([1, 2, 2]);
  expect(await attemptsOf(2)).toEqual([1, 2, 2]);
  expect(await batch.completedJobs()).toMatchObject([{ position: 1, attempts: 2, errorClass: null }]);
  expect(await batch.failedJobs()).toMatchObject([
    { position: 2, attempts: 2, errorClass: 'BrokenError', errorMessage: 'the last attempt' },
  ]);
});

test.concurrent(
  'a job that blocks the event loop for longer than a heartbeat may take, and goes on, has one outcome, and so have its neighbours',
  async () => {
    await using world = await createWorld();
    await world.spawnWorker();
    await world.spawnWorker();
    const { block } = createCrashFixtures(world.ledger).jobs;
    const batch = await createBatch(world);
    await batch.jobs(async () => {
      for (let i = 0; i < 40; i++) {
        await (i === 20
          ? block.performAsync(1.2 * waitMs('heartbeat'))
          : world.fixtures.jobs.record.performAsync(i));
      }
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 40 });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    const jobs = await batch.completedJobs();
    expect(jobs.every(({ attempts }) => attempts === 1)).toBe(true);
  },
);

interface Killer {
  readonly job: 'blockForever' | 'exhaustMemory' | 'exitProcess';
  readonly options: ProcessOptions;
}

const KILLERS: readonly [how: string, killer: Killer][] = [
  ['exits', { job: 'exitProcess', options: {} }],
  [
    'exhausts the memory',
    { job: 'exhaustMemory', options: { nodeFlags: ['--max-old-space-size=200'], isQuiet: true } },
  ],
  [
    'blocks the event loop until the watchdog kills the process',
    { job: 'blockForever', options: { hungProcessTimeout: '5s', isQuiet: true } },
  ],
];

describe.concurrent('a job that kills its worker every time', () => {
  test.for(KILLERS)(
    'fails alone, and its neighbours are not charged, when it %s',
    async ([, { job, options }]) => {
      await using world = await createWorld();
      await using _supervisor = await supervise(world, options);
      const jobs = { ...world.fixtures.jobs, ...createCrashFixtures(world.ledger).jobs };
      const batch = await createBatch(world);
      await batch.jobs(async () => {
        for (let i = 0; i < 40; i++) await (i === 20 ? jobs[job] : jobs.record).performAsync(i);
      });
      const expected = { status: 'failed', total: 40, complete: 39, failed: 1, cancelled: 0, pending: 0 };
      expect(await batch.wait({ timeout: PATIENCE })).toEqual(expected);
      await expectConsistent(world, batch);
      expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
      const [lost] = await batch.failedJobs();
      expect(lost).toMatchObject({ position: 21, errorClass: 'WorkerLostError', attempts: 1 });
      expect(lost!.errorMessage).toContain('process.exit, out of memory, or an endless loop');
      const neighbours = await batch.completedJobs();
      expect(neighbours.every(({ attempts }) => attempts === 1)).toBe(true);
      const runs = (await world.ledger.of(batch.id, 'job')).filter(({ jid }) => jid !== lost!.jid);
      expect(runs.every(({ attempt }) => attempt === 1)).toBe(true);
    },
  );
});

test.concurrent.for([
  ['are lost with it, all run once more', true],
  ['are committed after its death, only the others run once more', false],
] as const)(
  'after a SIGKILL when all handlers have run and their outcomes %s, and the batch is right',
  async ([, isLost]) => {
    await using world = await createWorld();
    const { noteBothEnds } = createCrashFixtures(world.ledger).jobs;
    const victim = await world.spawnWorker();
    const batch = await createBatch(world);
    // No job ends before the lock is there.
    await batch.pause();
    await batch.jobs(async () => {
      for (let i = 0; i < 60; i++) await noteBothEnds.performAsync(i, 2_000);
    });
    // Whoever writes an outcome waits for this lock.
    await using outcomes = await lockTable(world, 'batch_jobs');
    await batch.resume();
    await eventually(async () => expect(await world.ledger.of(batch.id, 'job')).toHaveLength(60));
    await eventually(async () => expect(await world.ledger.of(batch.id, 'job ended')).toHaveLength(60));
    await eventually(async () => expect(await outcomes.waiting()).not.toEqual([]));
    victim.kill('SIGKILL');
    await victim.exited;
    if (isLost) {
      for (const pid of await outcomes.waiting())
        await world.knex.raw('select pg_terminate_backend(?)', [pid]);
      await eventually(async () => expect(await outcomes.waiting()).toEqual([]));
    }
    await outcomes.release();
    await world.spawnWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 60 });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    expect((await batch.completedJobs()).every(({ attempts }) => attempts === 1)).toBe(true);
    const ran = await world.ledger.of(batch.id, 'job');
    const runs = new Map<string, number>();
    for (const { jid } of ran) runs.set(jid!, (runs.get(jid!) ?? 0) + 1);
    expect(runs.size).toBe(60);
    if (isLost) expect(ran).toHaveLength(120);
    else expect(ran.length).toBeLessThan(120);
    expect(Math.max(...runs.values())).toBeLessThanOrEqual(2);
  },
);

test.concurrent(
  'beside a worker of an older release, jobs and callbacks that only the newer one has run all the same',
  async () => {
    await using world = await createWorld();
    const { jobs, callbacks } = createCrashFixtures(world.ledger);
    const older = await world.spawnWorker({
      without: [jobs.newest.name, callbacks.newestCallback.name],
      // What it lacks is offered again after growing pauses, to whichever worker asked first: the newer one asks more.
      workerOptions: { activityTaskPollerBehavior: { type: 'simple-maximum', maximum: 1 } },
    });
    const batch = await world.batches.create({ description: 'during a deployment' });
    await batch.on('complete', callbacks.newestCallback);
    await batch.jobs(async () => {
      for (let i = 0; i < 100; i++) {
        await (i % 5 === 0 ? jobs.newest : world.fixtures.jobs.record).performAsync(i);
      }
    });
    await progressed(batch, 80);
    await world.spawnWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 100 });
    await expectConsistent(world, batch);
    expect((await batch.completedJobs()).every(({ attempts }) => attempts === 1)).toBe(true);
    expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 1, errorClass: null }]);
    expect(await world.ledger.of(batch.id, 'callback')).toMatchObject([{ attempt: 1 }]);
    older.kill('SIGTERM');
    await older.exited;
  },
);
