import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BatchState } from '../../workflows/batch-state.ts';
import { currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { expectConsistent, firedCallbacks } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { signalsOf, type SentSignal } from '../support/messages.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
const { gate, jobs } = createGates();

/** Fails in the first round of its batch, and is held at a gate in the next. */
const illOnce = defineJob('IllOnce', async (name: string) => {
  const { batchId, batches } = currentJob();
  const { round } = await batches.find(batchId!);
  if (round === 1) throw ApplicationFailure.nonRetryable('ill', 'IllError');
  await gate(name).pass();
});

/** Is held at a gate for each round. */
const onFailureHeld = defineCallback('OnFailureHeld', async (batchId, { batches }) => {
  const { round } = await batches.find(batchId);
  await gate(`${batchId}, round ${round}`).pass();
});

beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({
    maxConcurrentJobs: 20,
    jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs), illOnce],
    callbacks: [...Object.values(world.fixtures.callbacks), onFailureHeld],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

async function createEarly(): Promise<Batch> {
  const batch = await world.batches.create({ description: 'A test', failWhen: 'immediate' });
  const { onComplete, onSettled } = world.fixtures.callbacks;
  await batch.on('complete', onComplete);
  await batch.on('failure', onFailureHeld);
  await batch.on('settled', onSettled);
  return batch;
}

async function sendAgain(batch: Batch, signals: readonly SentSignal[]): Promise<BatchState> {
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  for (const { name, args } of signals) await handle.signal(name, ...args);
  // A query is answered after all signals before it were heard.
  return handle.query<BatchState>('state');
}

describe('signals of a round that arrive in the next one', () => {
  test('do not fail it for jobs that had failed before', async () => {
    const batch = await createEarly();
    gate(`${batch.id}, round 1`).open();
    await batch.jobs(() => illOnce.performBulk([[batch.id], [batch.id]]));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 2 });
    const signals = await signalsOf(world.client, batch.id);
    expect(signals.map(({ name }) => name)).toContain('jobFailed');

    await batch.retryFailed();
    await gate(batch.id).arrivals(2);
    expect(await sendAgain(batch, signals)).toMatchObject({ outcome: null });
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
    await expectConsistent(world, batch);
  });

  test('do not end its callback before it has returned', async () => {
    const batch = await createEarly();
    const { failForGood } = world.fixtures.jobs;
    const held = `${batch.id}, held`;
    await batch.jobs(async () => {
      await failForGood.performAsync('always');
      await illOnce.performAsync(batch.id);
      await jobs.pass.performAsync(held);
    });
    // The first callback ends while a job runs: only then a signal says so.
    await gate(`${batch.id}, round 1`).arrivals(1);
    gate(`${batch.id}, round 1`).open();
    await eventually(async () =>
      expect((await signalsOf(world.client, batch.id)).map(({ name }) => name)).toContain('callbackEnded'),
    );
    gate(held).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 2 });
    const signals = await signalsOf(world.client, batch.id);

    await batch.retryFailed();
    await gate(`${batch.id}, round 2`).arrivals(1);
    expect(await sendAgain(batch, signals)).toMatchObject({ firing: ['failure'] });
    gate(batch.id).open();
    await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 2, pending: 0 }));
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnSettled']);
    gate(`${batch.id}, round 2`).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 1 });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnSettled', 'OnSettled']);
  });
});

test('a chunk that is said to leave jobs that it has run does not stop the batch', async () => {
  const batch = await world.batches.create({ description: 'A test' });
  await batch.jobs(async () => {
    await world.fixtures.jobs.record.performAsync(1);
    await jobs.pass.performAsync(batch.id);
  });
  await gate(batch.id).arrivals(1);
  await eventually(async () => expect(await batch.progress()).toMatchObject({ complete: 1 }));
  // So few jobs run in the batch's own workflow. The one that is done is handed out, and counted, once more.
  const left = { delayed: [], remaining: '1', unknown: '' };
  await sendAgain(batch, [{ name: 'chunkDrained', args: [{ runner: '1', chunk: 1, running: 1, left }] }]);
  gate(batch.id).open();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
  await expectConsistent(world, batch);
  expect(await world.ledger.of(batch.id, 'job')).toHaveLength(1);
});

test('what a chunk gives back when its batch is changed goes to its own batch', async () => {
  await using apart = await createWorld();
  await apart.startWorker({ maxConcurrentJobs: 2, jobs: Object.values(jobs) });
  const start = async (count: number) => {
    const batch = await apart.batches.create({ description: 'A test' });
    await batch.jobs(() => jobs.pass.performBulk(Array.from({ length: count }, () => [batch.id])));
    await gate(batch.id).arrivals(1);
    return batch;
  };
  // Its chunk is the first of the worker, and begins to look for changes.
  const first = await start(1);
  const second = await start(3);
  await second.update({ failWhenFailed: 'all' });
  const left = async ({ id }: Batch) =>
    (await signalsOf(apart.client, id)).filter(
      ({ name, args }) => name === 'chunkDrained' && Object.hasOwn(args[0] as object, 'left'),
    );
  await eventually(async () => expect(await left(second)).toHaveLength(1));
  expect(await left(first)).toEqual([]);
  for (const { id } of [first, second]) gate(id).open();
  for (const batch of [first, second]) {
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    await expectConsistent(apart, batch);
  }
});
