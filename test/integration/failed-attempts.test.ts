import { DefaultLogger, type LogEntry } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { currentJob, defineJob, type Batch } from '../../src/index.ts';
import { MAX_LOGGED_PER_SECOND } from '../../activities/attempt-log.ts';
import { runCli } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

function chargeTheCard(): never {
  throw new RangeError('no funds', { cause: new TypeError('the bank said no') });
}
const charge = defineJob(
  'Charge',
  async (failures: number) => {
    if (currentJob().attempt <= failures) chargeTheCard();
  },
  { retry: { initialInterval: '50ms', maximumAttempts: 2 } },
);
const refusedConnection = defineJob(
  'RefusedConnection',
  async () => {
    throw new AggregateError([
      new Error('connect ECONNREFUSED ::1:1'),
      new Error('connect ECONNREFUSED 127.0.0.1:1'),
    ]);
  },
  { retry: { maximumAttempts: 1 } },
);

const entries: LogEntry[] = [];
let world: World;
beforeAll(async () => {
  world = await createWorld({
    runtime: { logger: new DefaultLogger('WARN', (entry) => void entries.push(entry)) },
  });
});
beforeEach(() => void entries.splice(0));
afterAll(() => world[Symbol.asyncDispose]());

async function run(block: () => unknown): Promise<Batch> {
  const batch = await world.batches.create({ description: 'Failures' });
  await batch.jobs(block);
  await batch.wait({ timeout: PATIENCE });
  return batch;
}

const logged = (message: string) =>
  entries.filter((entry) => entry.message === message).map(({ meta }) => meta);

test('a failed job keeps the stack of its last error, with its causes, and the command shows it', async () => {
  const worker = await world.startWorker({ jobs: [charge, refusedConnection] });
  const batch = await run(async () => {
    await charge.performAsync(2);
    await charge.performAsync(1);
    await refusedConnection.performAsync();
  });
  const [failed, refused] = await batch.failedJobs();
  const stack =
    /^RangeError: no funds\n\s+at chargeTheCard .*^Caused by: TypeError: the bank said no\n\s+at chargeTheCard/ms;
  expect(failed!.errorStack).toMatch(stack);
  expect(refused!.errorMessage).toBe('connect ECONNREFUSED ::1:1; connect ECONNREFUSED 127.0.0.1:1');
  // What succeeds in the end has no error any more.
  expect(await batch.completedJobs()).toMatchObject([{ position: 2, errorClass: null, errorStack: null }]);

  const { stdout } = await runCli(['failed', batch.id, '--json', '--schema', world.schema]);
  const { groups } = JSON.parse(stdout) as {
    groups: { samples: { errorStack: string; args?: unknown }[] }[];
  };
  expect(groups[0]!.samples[0]!.errorStack).toMatch(stack);
  expect(groups[0]!.samples[0]).not.toHaveProperty('args');
  const text = await runCli(['failed', batch.id, '--stacks', '--schema', world.schema]);
  expect(text.stdout).toMatch(/^ +at chargeTheCard/m);
  const jobs = await runCli(['jobs', batch.id, '--json', '--schema', world.schema]);
  expect(JSON.parse(jobs.stdout)).toMatchObject({
    jobs: [{ errorStack: expect.stringMatching(stack) }, {}, {}],
  });

  await worker.stop();
  const row = () =>
    world.knex.withSchema(world.schema).from('batch_jobs').where({ batch_id: batch.id, position: 1 }).first();
  const other = await world.startWorker({ jobs: [charge, refusedConnection], storeStacks: false });
  await batch.retryFailed();
  await batch.wait({ timeout: PATIENCE });
  expect(await row()).toMatchObject({
    status: 'failed',
    round: 2,
    error_class: 'RangeError',
    error_stack: null,
  });
  await other.stop();
});

test('a worker logs failed attempts with job, attempt, error and stack; of many alike it logs a few', async () => {
  const worker = await world.startWorker({ jobs: [charge, refusedConnection] });
  const batch = await run(() => charge.performAsync(2));
  const line = { batchId: batch.id, jid: `${batch.id}/1`, workerClass: 'Charge', errorClass: 'RangeError' };
  const stack = expect.stringContaining('at chargeTheCard');
  expect(logged('A job attempt failed; will retry')).toMatchObject([{ ...line, attempt: 1, stack }]);
  expect(logged('A job failed for good')).toMatchObject([
    { ...line, attempt: 2, errorMessage: 'no funds', stack },
  ]);

  const count = 500;
  const startedAt = performance.now();
  await run(async () => {
    for (let i = 0; i < count; i++) await refusedConnection.performAsync();
  });
  const lines = () =>
    logged('A job failed for good').filter((meta) => meta?.['workerClass'] === 'RefusedConnection');
  const omitted = () =>
    logged('More job attempts failed than the log shows').map((meta) => Number(meta?.['omitted']));
  await eventually(() =>
    expect(lines().length + omitted().reduce((sum, number) => sum + number, 0)).toBe(count),
  );
  expect(omitted()).not.toEqual([]);
  // A second that left some out has logged as many as it may; the last one may have had fewer.
  expect(lines().length).toBeGreaterThanOrEqual(MAX_LOGGED_PER_SECOND * omitted().length);
  const seconds = Math.floor((performance.now() - startedAt) / 1_000) + 1;
  expect(lines().length).toBeLessThanOrEqual(MAX_LOGGED_PER_SECOND * seconds);
  expect(lines().length).toBeLessThan(count / 2);
  await worker.stop();
});
