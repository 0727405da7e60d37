import { fileURLToPath } from 'node:url';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch } from '../../src/index.ts';
import type { RangeState } from '../../workflows/range-state.ts';
import { createBatch, openBlock } from '../support/batches.ts';
import { createTroubles, doctor, examine, type DoctorReport } from '../support/doctor.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
const troubles = createTroubles();

beforeAll(async () => {
  world = await createWorld();
  const { jobs, callbacks } = world.fixtures;
  await world.startWorker({
    jobs: [...Object.values(jobs), troubles.failsForNow],
    callbacks: [...Object.values(callbacks), troubles.failingCallback],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

function finds(batch: Batch, codes: readonly string[], of = world) {
  return eventually(async () => {
    const report = await examine(of, batch.id);
    expect(report.codes).toEqual(codes);
    return report;
  });
}

test('a batch that is over is over, and is not in the list', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const report = await finds(batch, ['OVER']);
  expect(report).toMatchObject({ exitCode: 0, verdict: 'ok', status: 'complete', complete: 1 });
  const { stdout } = await doctor(world, '--idle', '1ms');
  expect(stdout).not.toContain(batch.id);
});

test('a batch whose rows changed just now moves', async () => {
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    await world.fixtures.jobs.record.performAsync(1);
    await world.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1);
  });
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1 }));
  const { exitCode, stdout } = await doctor(world, batch.id);
  expect(stdout).toContain('✓ The batch moves: 1 job ended in the last minute.');
  expect(exitCode).toBe(0);
});

test('jobs that wait for their startDelay are waited for', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => world.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1));
  const report = await finds(batch, ['WAITING_FOR_START_DELAY']);
  expect(report).toMatchObject({ exitCode: 0, verdict: 'waiting' });
  expect(report.findings[0]!.message).toMatch(/1 job waits for its startDelay; the first starts in 59 min/);
});

test('jobs that wait for their retry say why they failed', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => troubles.failsForNow.performBulk([[], []]));
  await eventually(async () =>
    expect(await batch.pendingJobs()).toMatchObject([{ attempts: 1 }, { attempts: 1 }]),
  );
  const report = await finds(batch, ['WAITING_FOR_RETRY']);
  expect(report).toMatchObject({ exitCode: 0, verdict: 'waiting' });
  expect(report.findings[0]).toMatchObject({
    message: expect.stringMatching(/^2 jobs failed an attempt .* due in 9 min/),
    advice: 'Error: BrokenError: not today (2 of them)',
  });
});

test('a batch that its limits hold back is told so, with the command that raises them', async () => {
  const batch = await createBatch(world, {
    maxConcurrentJobs: 2,
    jobLimits: { Noop: { perSecond: 0.001 } },
  });
  await batch.jobs(async () => {
    for (let i = 0; i < 10; i++) await world.fixtures.jobs.work.performAsync(i, 60_000);
    await world.fixtures.jobs.noop.performBulk([[1], [2], [3], [4]]);
  });
  await eventually(async () => expect(await world.ledger.of(batch.id, 'job')).toHaveLength(2));
  const report = await examine(world, batch.id);
  expect(report).toMatchObject({ exitCode: 0, verdict: 'waiting' });
  expect(report.findings).toContainEqual(
    expect.objectContaining({
      code: 'WAITING_FOR_LIMIT',
      message: expect.stringMatching(
        /^Its limits hold it back: 2 at once, and 1[12] of 1[34] jobs wait .*; Noop 0\.001 a second, and [34] jobs take /,
      ),
      advice: expect.stringContaining(
        `\`batch-jobs update ${batch.id} --max-concurrent-jobs 4 --job-limit Noop.perSecond=0.002\``,
      ),
    }),
  );
  await batch.cancel();
});

test('a chunk that runs is named, with its worker', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => world.fixtures.jobs.work.performAsync(1, 60_000));
  const report = await finds(batch, ['LONG_RUNNING']);
  expect(report).toMatchObject({ exitCode: 0, verdict: 'waiting' });
  expect(report.findings[0]).toMatchObject({
    message: expect.stringMatching(/^A worker runs job 1 for \d+ s\.$/),
    details: { worker: expect.stringContaining(`${process.pid}`) },
  });
});

test('jobs of a task queue without a worker are reported with the queue', async () => {
  const batch = await createBatch(world);
  const taskQueue = `${world.taskQueue}-scores`;
  await batch.jobs(async () => {
    await world.fixtures.jobs.noop.performAsync(1);
    await world.fixtures.jobs.noop.set({ taskQueue }).performBulk([[2], [3]]);
  });
  const report = await finds(batch, ['NO_ACTIVITY_WORKER']);
  expect(report).toMatchObject({ exitCode: 1, verdict: 'attention' });
  expect(report.findings[0]).toMatchObject({
    message: `No worker polls task queue "${taskQueue}" for activities.`,
    advice: expect.stringMatching(
      /^2 jobs wait for it\. Start a worker with createBatchWorker\(\{ taskQueue: /,
    ),
    details: { taskQueue, jobs: 2 },
  });
});

test('a job that no worker knows is named, with the time when it fails', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => troubles.strangeJob.performAsync());
  const report = await finds(batch, ['UNKNOWN_JOB']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]).toMatchObject({
    message: 'No worker that was asked knows a job named "StrangeJob": 1 job waits.',
    advice: expect.stringMatching(/it fails in (9 min \d+ s|10 min) \(unknownJobTimeout\)/),
  });
});

test('a callback that fails is named, with its error and the next attempt', async () => {
  const batch = await world.batches.create({ description: 'A test' });
  await batch.on('complete', troubles.failingCallback);
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  const report = await finds(batch, ['CALLBACK_FAILING']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]).toMatchObject({
    message: 'The callback "FailingCallback" on complete failed 1 attempt: BrokenError: no mail server',
    advice: expect.stringMatching(/^The next attempt is due in (9 min \d+ s|10 min)\./),
    details: { event: 'complete', attempts: 1 },
  });
});

test('a callback that no worker knows is named', async () => {
  const batch = await world.batches.create({ description: 'A test' });
  await batch.on('settled', troubles.strangeCallback);
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  const report = await finds(batch, ['CALLBACK_UNKNOWN']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]!.message).toBe(
    'No worker that was asked knows the callback "StrangeCallback" on settled.',
  );
});

test('a callback that failed for good needs attention though its batch is over', async () => {
  const batch = await world.batches.create({ description: 'A test' });
  await batch.on('complete', world.fixtures.callbacks.failsForGood);
  await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await batch.wait({ timeout: PATIENCE });
  const report = await finds(batch, ['CALLBACK_FAILED', 'OVER']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]!.message).toContain(
    '"FailsForGood" on complete failed for good after 2 attempts',
  );
});

test('a batch without a block says so', async () => {
  const batch = await createBatch(world);
  const report = await finds(batch, ['BLOCK_NEVER_OPENED']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]!.advice).toContain('(openTimeout)');
});

test('an open block is waited for while its process is heard, and needs attention once it is silent', async () => {
  const lively = await createBatch(world);
  let close!: () => void;
  const closed = new Promise<void>((resolve) => (close = resolve));
  const enrolling = lively.jobs(async () => {
    await world.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1);
    await closed;
  });
  const { exitCode, findings } = await finds(lively, ['BLOCK_OPEN', 'WAITING_FOR_START_DELAY']);
  expect(exitCode).toBe(0);
  expect(findings[0]!.message).toMatch(/^The enrolment block is open: 1 job so far/);
  close();
  await enrolling;

  // A process that opened its block and died: nobody gives a sign of life for this token.
  const silent = await createBatch(world, { enrollmentTimeout: Math.round(20_000 * SLOWNESS) });
  await openBlock(world, silent.id);
  await eventually(async () => {
    expect(await examine(world, silent.id)).toMatchObject({
      exitCode: 1,
      findings: [{ code: 'BLOCK_OPEN', severity: 'attention', details: { isSilent: true } }],
    });
  });
});

test('a batch whose workflow was terminated is reported with the reason and what is left', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => world.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1));
  await world.client.workflow.getHandle(`batch:${batch.id}`).terminate('cleaning up');
  const report = await finds(batch, ['WORKFLOW_TERMINATED']);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]!.message).toContain('is terminated (cleaning up, by');
  expect(report.findings[0]!.advice).toContain(`batch-jobs retry-failed ${batch.id}`);
});

test('a batch of another Temporal is not taken for one whose workflow was deleted', async () => {
  const batch = await world.batches.create({ description: 'A test' });
  await world.knex.withSchema(world.schema).from('batches').where({ id: batch.id }).update({ id: 'moved' });
  const report = await examine(world, 'moved');
  expect(report).toMatchObject({ exitCode: 1, codes: ['WORKFLOW_TERMINATED'] });
  expect(report.findings[0]!.message).toMatch(
    /knows no workflow "batch:moved": it was deleted, or this is not/,
  );
  // Its workflow is there, and its row is not.
  await finds(batch, ['ROW_MISSING', 'BLOCK_NEVER_OPENED']);
});

test('the list has every batch that stands still, with its findings, and the exit code of the worst', async () => {
  const waiting = await createBatch(world);
  await waiting.jobs(() => world.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1));
  const stuck = await createBatch(world);
  await stuck.jobs(() => world.fixtures.jobs.noop.set({ taskQueue: 'nobody' }).performAsync(1));
  await finds(stuck, ['NO_ACTIVITY_WORKER']);
  const { exitCode, stdout } = await doctor(world, '--json', '--idle', '1ms');
  const { batches } = JSON.parse(stdout) as { batches: DoctorReport[] };
  const verdicts = new Map(batches.map(({ id, verdict }) => [id, verdict]));
  expect(verdicts.get(waiting.id)).toBe('waiting');
  expect(verdicts.get(stuck.id)).toBe('attention');
  expect(exitCode).toBe(1);
  // None of them has stood still for an hour. A callback that has failed for good is a finding at once.
  const { batches: failed } = JSON.parse((await doctor(world, '--json', '--idle', '1h')).stdout) as {
    batches: DoctorReport[];
  };
  expect(failed.map(({ findings }) => findings[0]!.code)).toEqual(failed.map(() => 'CALLBACK_FAILED'));
  await world.knex
    .withSchema(world.schema)
    .from('batch_callbacks')
    .where('status', 'failed')
    .update('status', 'skipped');
  expect(await doctor(world, '--idle', '1h')).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining('Nothing stands still'),
  });
});

test('servers that do not answer are findings', async () => {
  const batch = await createBatch(world);
  const nowhere = await doctor(world, batch.id, '--address', '127.0.0.1:1');
  expect(nowhere.exitCode).toBe(1);
  expect(nowhere.stdout).toContain('✗ Temporal does not answer: 127.0.0.1:1');
  // A worker that is busy does not answer in time what the doctor asks the batch.
  await eventually(async () => {
    const noRows = await doctor(world, batch.id, '--database-url', 'postgres://127.0.0.1:1/none');
    expect(noRows.exitCode).toBe(1);
    expect(noRows.stdout).toContain('✗ Postgres does not answer');
    expect(noRows.stdout).toContain('jobs() was not');
  });
});

test('a batch that nobody knows is an error', async () => {
  expect(await doctor(world, 'no-such-batch')).toMatchObject({
    exitCode: 1,
    stdout: '',
    stderr: expect.stringContaining('[BATCH_NOT_FOUND]'),
  });
});

test('without any worker the task queue is named; with one that lacks the workflows, its error', async () => {
  await using alone = await createWorld();
  const worker = await alone.startWorker();
  const batch = await createBatch(alone);
  await batch.jobs(() => alone.fixtures.jobs.noop.set({ startDelay: '1 hour' }).performAsync(1));
  const workflow = alone.client.workflow.getHandle(`batch:${batch.id}`);
  // The worker has no more to do for the batch, so that what waits afterwards is the batch itself.
  await eventually(async () => {
    const ranges = await workflow.query<Record<string, RangeState>>('ranges');
    expect(Object.values(ranges)).toMatchObject([{ delayed: [{ spans: [[1, 1]] }] }]);
  });
  await worker.stop();
  await workflow.signal('ping');
  const report = await finds(batch, ['NO_WORKFLOW_WORKER', 'WAITING_FOR_START_DELAY'], alone);
  expect(report.exitCode).toBe(1);
  expect(report.findings[0]).toMatchObject({
    message: expect.stringContaining(`No worker polls task queue "${alone.taskQueue}"`),
    advice: expect.stringContaining(`createBatchWorker({ taskQueue: "${alone.taskQueue}" })`),
  });

  const other = await Worker.create({
    connection: alone.connection,
    taskQueue: alone.taskQueue,
    workflowsPath: fileURLToPath(new URL('../support/other-workflows.ts', import.meta.url)),
  });
  await other.runUntil(async () => {
    const failing = await finds(batch, ['WORKFLOW_TASK_FAILING', 'WAITING_FOR_START_DELAY'], alone);
    expect(failing.findings[0]!.message).toMatch(/cannot go on with the workflow "batch:.*no such function/);
  });
});
