import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Batch, BatchOptions } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { decoded, runsOf, type Run } from '../support/histories.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';
import { waitMs } from '../../workflows/timeouts.ts';

/** After this time a batch knows that a runner of an earlier run is gone, and another one has its jobs. */
const REPLACED_MS = waitMs('childCheck') + waitMs('runnerReplacement');

const { gate, jobs } = createGates();
let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), ...Object.values(jobs)] });
});
afterAll(() => world[Symbol.asyncDispose]());

test.concurrent('a batch and its runners go on over many runs, and the counts stay right', async () => {
  const batch = await createBatch(world, { continueAsNewAfterEvents: 60 });
  await batch.jobs(async () => {
    for (let i = 0; i < 6_000; i++) {
      await (i % 100 === 0 ? world.fixtures.jobs.failTimes : world.fixtures.jobs.noop).performAsync(i, 1);
      // In pieces, one after most of the other has run: each makes history of its own.
      if (i % 500 === 499) {
        await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(i - 200));
      }
    }
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'complete',
    total: 6_000,
    complete: 6_000,
  });
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  expect((await runsOf(world.client, `batch:${batch.id}`)).length).toBeGreaterThan(1);
});

test.concurrent('a batch that runs its jobs itself carries what is left to its next run', async () => {
  const batch = await createBatch(world, { continueAsNewAfterEvents: 100 });
  const { failTimes } = world.fixtures.jobs;
  await batch.jobs(async () => {
    for (let i = 0; i < 24; i++)
      await (i % 3 === 0 ? failTimes.set({ startDelay: 5_000 * SLOWNESS }) : failTimes).performAsync(
        i,
        i % 4,
      );
  });
  await untilNewRun(batch);
  const expected = { status: 'failed', total: 24, complete: 18, failed: 6 };
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject(expected);
  await expectConsistent(world, batch);
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  expect((await runsOf(world.client, `batch:${batch.id}`)).length).toBeGreaterThan(1);
});

test.concurrent(
  'a late message of a chunk of an earlier run is not taken for that of one that runs',
  async () => {
    // So many that the batch runs its jobs itself.
    const batch = await createBatch(world, { continueAsNewAfterEvents: 100 });
    const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
    await batch.jobs(async () => {
      await world.fixtures.jobs.noop.performAsync(1);
      await jobs.pass.set({ startDelay: 8_000 * SLOWNESS }).performAsync(batch.id);
    });
    await Promise.all(Array.from({ length: 100 }, () => handle.signal('completed', FROM_NOBODY)));
    await untilNewRun(batch);
    await gate(batch.id).arrivals(1);
    const chunks = (await runsOf(world.client, handle.workflowId)).flatMap(chunksOf);
    expect(chunks.length).toBeGreaterThan(1);
    expect(new Set(chunks.map(({ runner, chunk }) => `${runner}/${chunk}`)).size).toBe(chunks.length);

    // As a worker that was frozen, or an operator, may send it: the job is another chunk's to run.
    const left = { delayed: [], remaining: '2', unknown: '' };
    for (const { runner, chunk } of chunks.slice(0, -1))
      await handle.signal('chunkDrained', { runner, chunk, running: 1, left });
    // Answered after the signals.
    await batch.update({ failWhenFailed: 'all' });
    gate(batch.id).open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 2 });
    await expectConsistent(world, batch);
    const all = (await runsOf(world.client, handle.workflowId)).flatMap(chunksOf);
    expect(all.filter(({ spans }) => spans === '2')).toHaveLength(1);
  },
);

test.concurrent(
  'a runner that is terminated after its batch continued as new is replaced all the same',
  async () => {
    const batch = await waitingBatch(1.25 * REPLACED_MS, { continueAsNewAfterEvents: 20 });
    await untilNewRun(batch);
    await runnerOf(batch).terminate('by an operator');
    expect(await endOf(batch, PATIENCE + REPLACED_MS)).toEqual(EACH_DONE_ONCE);
  },
);

test.concurrent(
  'a runner that is terminated is replaced, however short the runs of its batch are',
  async () => {
    // It looks every second whether jobs move, which makes history.
    const batch = await waitingBatch(0.6 * REPLACED_MS, {
      continueAsNewAfterEvents: 20,
      alertAfterIdle: '1s',
    });
    await untilNewRun(batch);
    await runnerOf(batch).terminate('by an operator');
    expect(await endOf(batch, PATIENCE + REPLACED_MS)).toEqual(EACH_DONE_ONCE);
  },
);

test.concurrent(
  'a runner that is terminated just before its batch continues as new is replaced at once',
  async () => {
    const batch = await waitingBatch(0.3 * REPLACED_MS, { continueAsNewAfterEvents: 70 });
    await eventually(async () => expect((await runnerOf(batch).describe()).status.name).toBe('RUNNING'));
    const before = await runIdOf(batch);
    await runnerOf(batch).terminate('by an operator');
    await untilNewRun(batch, before);
    // Long before the batch would look for it.
    expect(await endOf(batch, 0.75 * REPLACED_MS)).toEqual(EACH_DONE_ONCE);
  },
);

/** With 200 jobs that start later. A batch that may make so little history gives them to a runner. */
async function waitingBatch(startDelayMs: number, options: Partial<BatchOptions>): Promise<Batch> {
  const batch = await createBatch(world, options);
  const job = world.fixtures.jobs.record.set({ startDelay: startDelayMs });
  await batch.jobs(async () => {
    for (let i = 0; i < 200; i++) await job.performAsync(i);
  });
  return batch;
}

/** Inputs of the chunks that a run has scheduled. */
function chunksOf({ history }: Run): { runner: string; chunk: number; spans: string }[] {
  return history.events!.flatMap(({ activityTaskScheduledEventAttributes: activity }) =>
    activity?.activityType?.name === 'runChunk'
      ? (decoded(activity.input!.payloads) as { runner: string; chunk: number; spans: string }[])
      : [],
  );
}

function runnerOf(batch: Batch): WorkflowHandle {
  return world.client.workflow.getHandle(`batch:${batch.id}/runner/1`);
}

const EACH_DONE_ONCE = { status: 'complete', complete: 200, runs: 200 };

async function endOf(batch: Batch, timeout: number) {
  const { status, complete } = await batch.wait({ timeout });
  await expectConsistent(world, batch);
  return { status, complete, runs: (await world.ledger.of(batch.id, 'job')).length };
}

/** Changes nothing. */
const FROM_NOBODY = { runner: 'nobody', completed: 0, failed: 0, ended: false };

/**
 * Messages make history; a batch that is told things often enough continues as new.
 *
 * @param before the run that must be over: the batch's first by default
 */
async function untilNewRun(batch: Batch, before?: string): Promise<void> {
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  const left = before ?? (await handle.describe()).raw.workflowExecutionInfo?.firstRunId;
  await eventually(async () => {
    if ((await runIdOf(batch)) !== left) return;
    await Promise.all(Array.from({ length: 20 }, () => handle.signal('completed', FROM_NOBODY)));
    throw new Error('The batch has not continued as new');
  });
}

async function runIdOf(batch: Batch): Promise<string> {
  return (await world.client.workflow.getHandle(`batch:${batch.id}`).describe()).runId;
}
