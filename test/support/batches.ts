import { expect } from 'vitest';
import type { Batch, BatchOptions, BatchProgress } from '../../src/index.ts';
import { PATIENCE } from './patience.ts';
import type { World } from './world.ts';

/** Creates a batch with all three recording callbacks, enrols what the block starts, and waits for its end. */
export async function runBatch(
  world: World,
  block: (jobs: World['fixtures']['jobs']) => unknown,
  options: Partial<BatchOptions> = {},
): Promise<{ batch: Batch; progress: BatchProgress; fired: string[] }> {
  const batch = await createBatch(world, options);
  await batch.jobs(() => block(world.fixtures.jobs));
  const progress = await batch.wait({ timeout: PATIENCE });
  await expectConsistent(world, batch);
  return { batch, progress, fired: await firedCallbacks(world, batch.id) };
}

export async function createBatch(world: World, options: Partial<BatchOptions> = {}): Promise<Batch> {
  const { onComplete, onFailure, onSettled } = world.fixtures.callbacks;
  const callbacks = { complete: onComplete, failure: onFailure, settled: onSettled, ...options.callbacks };
  return world.batches.create({ description: 'A test', ...options, callbacks });
}

/**
 * Opens a batch's block as a process would that dies then: its batch has heard of it, or has not.
 *
 * @returns the token that its rows and messages have
 */
export async function openBlock(world: World, batchId: string, { isHeard = true } = {}): Promise<string> {
  const { token } = await world.batches.claimBlock(batchId);
  const handle = world.client.workflow.getHandle(`batch:${batchId}`);
  if (isHeard) await handle.signal('enrolled', { token, upTo: 0, queues: [] });
  return token;
}

/** Names of the callbacks that ran, in order. */
export async function firedCallbacks(world: World, batchId: string): Promise<string[]> {
  const entries = await world.ledger.of(batchId, 'callback');
  return entries.map(({ detail }) => (detail as { name: string }).name);
}

/** The batch's counters, its rows and its workflow say the same. */
export async function expectConsistent(world: World, batch: Batch): Promise<void> {
  const progress = await batch.progress();
  const count = async (query: Promise<unknown[]>) => (await query).length;
  expect({
    complete: await count(batch.completedJobs().then((rows) => rows)),
    failed: await count(batch.failedJobs().then((rows) => rows)),
    pending: await count(batch.pendingJobs().then((rows) => rows)),
  }).toEqual({ complete: progress.complete, failed: progress.failed, pending: progress.pending });
  const workflow = await world.client.workflow.getHandle(`batch:${batch.id}`).query('progress');
  expect(workflow).toEqual(progress);
}
