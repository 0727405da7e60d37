import { expect } from 'vitest';
import type { Batch, BatchOptions, JobCallOptions } from '../../src/index.ts';
import { createBatch, expectConsistent } from './batches.ts';
import { createCrashFixtures } from './crash-fixtures.ts';
import { eventually } from './eventually.ts';
import { PATIENCE } from './patience.ts';
import { createWorld, type World } from './world.ts';

/** When a handler ran, by the database's clock in milliseconds: a little shorter than it did. */
export interface Run {
  readonly jid: string;
  readonly pid: number;
  readonly from: number;
  /** Infinity: it has not ended. */
  readonly to: number;
}

/** Runs of `NoteBothEnds` jobs of a batch. */
export async function runsOfJobs(world: World, batchId: string): Promise<Run[]> {
  const { rows } = await world.knex.raw(
    `select jid, pid, extract(epoch from min(at) filter (where what = 'job'))::double precision * 1000 as "from",
       coalesce(extract(epoch from min(at) filter (where what = 'job ended'))::double precision * 1000, 'Infinity') as "to"
     from :schema:.ledger where batch_id = :batchId and what in ('job', 'job ended')
     group by jid, pid, attempt`,
    { schema: world.schema, batchId },
  );
  return rows;
}

/** How many of the runs there were at once at most, of those in the time. */
export function peakOf(runs: readonly Run[], from = -Infinity, to = Infinity): number {
  const steps = runs
    .filter((run) => run.to > from && run.from < to)
    .flatMap((run) => [
      { at: Math.max(run.from, from), by: 1 },
      { at: run.to, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  let running = 0;
  let peak = 0;
  for (const { by } of steps) peak = Math.max(peak, (running += by));
  return peak;
}

/** The most of these times that lie in any window of so many milliseconds. */
export function mostIn(times: readonly number[], windowMs: number): number {
  const sorted = times.toSorted((a, b) => a - b);
  let first = 0;
  let most = 0;
  for (const [index, time] of sorted.entries()) {
    while (sorted[first]! <= time - windowMs) first++;
    most = Math.max(most, index - first + 1);
  }
  return most;
}

/** The database's clock in milliseconds. */
export async function databaseNow(world: World): Promise<number> {
  const { rows } = await world.knex.raw(
    'select extract(epoch from clock_timestamp())::double precision * 1000 as now',
  );
  return rows[0].now;
}

/** Jobs that only worker processes know. */
export function countedJobs(world: World) {
  return createCrashFixtures(world.ledger).jobs;
}

/** A world with four worker processes, so that a limit has to hold over all of them. */
export async function createWorldOfFour(): Promise<World> {
  const world = await createWorld();
  await Promise.all([1, 2, 3, 4].map(() => world.spawnWorker({ maxConcurrentJobs: 100 })));
  return world;
}

/** A batch of jobs that note when they start and end, and take so long. */
export async function countedBatch(
  world: World,
  jobs: number,
  ms: number,
  options: Partial<BatchOptions> = {},
  callOptions: JobCallOptions = {},
): Promise<Batch> {
  const batch = await createBatch(world, options);
  const job = countedJobs(world).noteBothEnds.set(callOptions);
  // At once: a slow machine would run them as fast as it enrols one after the other.
  await batch.jobs(() => job.performBulk(Array.from({ length: jobs }, (_, i) => [i, ms] as const)));
  return batch;
}

/** Waits until so many jobs of a batch have started. */
export async function untilStarted(world: World, batch: Batch, atLeast: number): Promise<void> {
  await eventually(async () =>
    expect(await world.ledger.count(batch.id, 'job')).toBeGreaterThanOrEqual(atLeast),
  );
}

/** Waits for the end of a batch that is to be complete, and checks that each job ran once. */
export async function expectCompleted(world: World, batch: Batch, jobs: number): Promise<Run[]> {
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: jobs });
  await expectConsistent(world, batch);
  const runs = await runsOfJobs(world, batch.id);
  expect(runs).toHaveLength(jobs);
  return runs;
}
