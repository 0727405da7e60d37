import { ApplicationFailure } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  currentBatch,
  currentJob,
  defineCallback,
  defineJob,
  type Batch,
  type BatchClient,
  type BatchOptions,
} from '../../src/index.ts';
import {
  assertEnrolled,
  assertNotEnrolled,
  createInlineBatches,
  enrolledJobs,
  forceOutcome,
} from '../../src/testing/index.ts';
import { codeOf } from '../support/codes.ts';
import { createBatch } from '../support/batches.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const retry = { initialInterval: '10ms', maximumAttempts: 3 } as const;
const score = defineJob('Score', async (entryId: number) => ({ score: entryId * 3 }), {
  storeResult: true,
  retry,
});
const forced = forceOutcome(score, ({ args: [entryId], attempt }) => {
  if (entryId === 1 && attempt === 1) return { error: new RangeError('once') };
  if (entryId === 2) return { error: ApplicationFailure.nonRetryable('never', 'HopelessError') };
  if (entryId === 3) return { result: { score: -1 } };
  return undefined;
});
const addsOne = defineJob('AddsOne', async (entryId: number) => {
  await currentBatch().jobs(async () => {
    await score.set({ key: `of ${currentJob().jid}` }).performAsync(entryId);
  });
});
const returnsDate = defineJob('ReturnsDate', async () => new Date(), { storeResult: true });

const called: { readonly batchId: string; readonly what: string }[] = [];
const noted = (name: string) =>
  defineCallback(name, async (batchId, { batches }) => {
    const batch = await batches.find(batchId);
    called.push({ batchId, what: `${name} of a batch that is ${batch.status}` });
  });
const callbacks = {
  complete: noted('OnComplete'),
  failure: noted('OnFailure'),
  cancelled: noted('OnCancelled'),
  settled: noted('OnSettled'),
};
const givesUp = defineCallback(
  'GivesUp',
  async () => {
    throw new RangeError('no');
  },
  { retry: { initialInterval: '10ms', maximumAttempts: 2 } },
);
const jobs = [forced, addsOne, returnsDate];

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs, callbacks: [...Object.values(callbacks), givesUp] });
});
afterAll(() => world[Symbol.asyncDispose]());

test('outcomes can be forced in a worker, and what is enrolled be asserted', async () => {
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    for (const entryId of [1, 2, 3, 4]) await score.performAsync(entryId);
  });
  await assertEnrolled(batch, score);
  await assertEnrolled(batch, score, [4]);
  await assertNotEnrolled(batch, score, [5]);
  await expect(assertEnrolled(batch, score, [5])).rejects.toThrow(
    `Batch "${batch.id}" has no job Score(5).\nIts jobs:\n  1. Score(1)\n  2. Score(2)\n  3. Score(3)\n  4. Score(4)`,
  );
});

/** What a test of an app's would do with a client, and look at. */
interface Scenario {
  readonly title: string;
  readonly options?: Partial<BatchOptions>;
  readonly block: (batches: BatchClient, batch: Batch) => unknown;
  /** Between the block and the end. */
  readonly afterwards?: (batch: Batch) => Promise<unknown>;
  readonly atTheEnd?: (batch: Batch) => Promise<unknown>;
}

const enrol = (...entryIds: number[]) => Promise.all(entryIds.map((entryId) => score.performAsync(entryId)));

const SCENARIOS: Scenario[] = [
  { title: 'a batch that succeeds, with a retry', block: () => enrol(1, 3, 4) },
  { title: 'a job that fails for good', block: () => enrol(1, 2, 3) },
  {
    title: 'fewer failures than the policy allows',
    options: { failWhenFailed: { moreThan: 1 } },
    block: () => enrol(2, 4),
  },
  {
    title: 'jobs that handlers add, with keys',
    block: () => Promise.all([addsOne.performAsync(2), score.performAsync(4)]),
  },
  {
    title: 'a key that is started twice',
    block: async () => {
      expect(await score.set({ key: 'a' }).performAsync(4)).toBe(
        await score.set({ key: 'a' }).performAsync(5),
      );
    },
  },
  { title: 'a result that cannot be stored', block: () => returnsDate.performAsync() },
  {
    title: 'a block that throws',
    block: async () => {
      await enrol(4);
      throw new RangeError('in the middle');
    },
  },
  { title: 'a block that starts nothing', block: () => {} },
  {
    title: 'a batch that is a job of another one',
    block: async (batches) => {
      const inner = await batches.create({ description: 'Inner' });
      await inner.enrol();
      // A block of its own, once this one is closed.
      innerBatch = inner;
    },
    afterwards: () => innerBatch!.jobs(() => enrol(2)),
  },
  {
    title: 'an open-ended batch of two blocks',
    options: { autoSeal: false },
    block: () => enrol(3),
    afterwards: async (batch) => {
      await batch.jobs(() => enrol(4));
      await batch.seal();
    },
  },
  {
    title: 'a block inside of a block',
    block: async (batches) => {
      const other = await batches.create({ description: 'Other' });
      expect(await codeOf(other.jobs(() => enrol(4)))).toBe('NESTED_ENROLLMENT');
      await enrol(4);
    },
  },
  {
    title: 'a callback that is registered twice, and one that is too late',
    block: async (_batches, batch) => {
      await batch.on('settled', callbacks.settled);
      expect(await codeOf(batch.on('settled', callbacks.failure))).toBe('CALLBACK_ALREADY_REGISTERED');
      await enrol(4);
    },
    atTheEnd: (batch) => codeOf(batch.on('settled', callbacks.failure)),
  },
  {
    title: 'a batch that is paused, cancelled and asked to resume',
    block: async (_batches, batch) => {
      await batch.pause();
      await enrol(3, 4);
    },
    afterwards: async (batch) => {
      await batch.cancel({ reason: 'no need' });
      expect(await codeOf(batch.resume())).toBe('BATCH_SETTLED');
    },
  },
];
let innerBatch: Batch | undefined;

describe('inline says what the servers say:', () => {
  test.each(SCENARIOS)('$title', async (scenario) => {
    const onServers = await play(world.batches, scenario);
    const batches = createInlineBatches({ jobs });
    try {
      expect(await play(batches, scenario)).toEqual(onServers);
    } finally {
      await batches.close();
    }
  });

  test('a callback that fails for good', async () => {
    const outcomes = [];
    const inline = createInlineBatches({ jobs, logger: { warn: () => {} } });
    for (const batches of [world.batches, inline]) {
      const batch = await batches.create({ description: 'Gives up' });
      await batch.on('settled', givesUp);
      await batch.jobs(() => enrol(4));
      await batch.wait({ timeout: PATIENCE });
      const [{ startedAt: _s, finishedAt: _f, scheduledAt: _c, ...callback }] = (await batch.callbacks()) as [
        Awaited<ReturnType<Batch['callbacks']>>[0],
      ];
      outcomes.push(callback);
    }
    expect(outcomes[0]).toMatchObject({ status: 'failed', attempts: 2, errorClass: 'RangeError' });
    expect(outcomes[1]).toEqual(outcomes[0]);
    await inline.close();
  });
});

test('inline callbacks with a transaction get one of the app, which commits or not', async () => {
  const { knex, schema } = world;
  await knex.schema.withSchema(schema).createTable('effects', (table) => table.integer('attempt'));
  const writes = defineCallback(
    'Writes',
    async (_batchId, { trx, attempt }) => {
      await trx.withSchema(schema).from('effects').insert({ attempt });
      if (attempt === 1) throw new RangeError('after the effect');
    },
    { transaction: true },
  );
  const batches = createInlineBatches({ jobs, knex });
  const batch = await batches.create({ description: 'A test' });
  await batch.on('complete', writes);
  await batch.jobs(() => enrol(4));
  expect(await batches.drain()).toEqual({ jobs: 1, callbacks: 1 });
  expect(await knex.withSchema(schema).from('effects').select()).toEqual([{ attempt: 2 }]);
  await batches.close();
});

/** Plays a scenario, and tells everything of its batch that a test could look at, without ids and times. */
async function play(batches: BatchClient, scenario: Scenario): Promise<unknown> {
  const batch = await batches.create({ description: 'A test', context: { a: [1] }, ...scenario.options });
  for (const [event, callback] of Object.entries(callbacks)) {
    await batch.on(event as keyof typeof callbacks, callback);
  }
  const block = await batch
    .jobs(() => scenario.block(batches, batch))
    .then(
      ({ total }) => ({ total }),
      (error: Error & { code?: string }) => ({ error: error.code ?? error.message }),
    );
  await scenario.afterwards?.(batch);
  if ((block as { error?: string }).error === 'EMPTY_BATCH')
    return { block, found: await codeOf(batches.find(batch.id)) };
  const progress = await batch.wait({ timeout: PATIENCE });
  const records = await enrolledJobs(batch);
  const anonymous = (text: string | null) => text?.replaceAll(/"[0-9a-f-]{36}"/g, '<id>') ?? null;
  return {
    block,
    progress,
    called: called.filter(({ batchId }) => batchId === batch.id).map(({ what }) => what),
    status: batch.status,
    context: batch.context,
    enrollmentError: batch.enrollmentError,
    stopReason: batch.stopReason,
    jobs: records.map(
      ({ position, workerClass, args, status, attempts, errorClass, errorMessage, round }) => ({
        position,
        workerClass,
        args: workerClass.startsWith('batch-jobs:') ? [] : args,
        status,
        attempts: workerClass.startsWith('batch-jobs:') ? 0 : attempts,
        errorClass,
        errorMessage: workerClass.startsWith('batch-jobs:') ? '' : anonymous(errorMessage),
        round,
      }),
    ),
    results: (await batch.results()).map(({ position, result }) => ({ position, result })),
    callbacks: (await batch.callbacks())
      .map(({ event, status, attempts }) => ({ event, status, attempts }))
      .sort((a, b) => (a.event < b.event ? -1 : 1)),
    atTheEnd: await scenario.atTheEnd?.(batch),
  };
}
