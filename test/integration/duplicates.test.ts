import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowNotFoundError } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { markComplete, markFailures, type Failure, type Success } from '../../src/database/chunks.ts';
import { claimBlock, insertBatch, markSealed } from '../../src/database/batches.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import { currentJob, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock } from '../support/batches.ts';
import { createCrashFixtures } from '../support/crash-fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { SETTINGS } from '../support/facts.ts';
import { createGates } from '../support/gates.ts';
import { sealMessageOf, signalsOf, updatesOf, type SentSignal } from '../support/messages.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { randomFrom, type Random } from '../support/random.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let otherQueue: string;
const { gate } = createGates();
/** Is noted, and held until the gate of its batch opens. */
const held = defineJob('Held', async (batchId: string) => {
  const { jid, attempt } = currentJob();
  await world.ledger.write({ what: 'job', batch_id: batchId, jid, attempt, detail: null });
  await gate(batchId).pass();
});
beforeAll(async () => {
  world = await createWorld();
  otherQueue = `${world.taskQueue}-other`;
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), held] });
  await world.startWorker({ taskQueue: otherQueue });
});
afterAll(() => world[Symbol.asyncDispose]());

const handleOf = (batchId: string) => world.client.workflow.getHandle(`batch:${batchId}`);

describe('signals', () => {
  /** What the batch was told so far, the seal in its form as a signal included. */
  async function heard(batchId: string): Promise<SentSignal[]> {
    const seal = await sealMessageOf(world.client, batchId);
    const sealed = seal ? [{ name: 'enrolled', args: [{ ...seal, sealed: true }] }] : [];
    return [...(await signalsOf(world.client, batchId)), ...sealed];
  }

  /** Sends the batch again what it was told before, in any order, until it has ended. @returns what was sent */
  async function repeatSignals(batchId: string, random: Random): Promise<SentSignal[]> {
    const sent: SentSignal[] = [];
    for (;;) {
      const signals = await heard(batchId);
      for (const signal of random.shuffled(signals).slice(0, 5)) {
        try {
          await handleOf(batchId).signal(signal.name, ...signal.args);
        } catch (error) {
          if (error instanceof WorkflowNotFoundError) return sent;
          throw error;
        }
        sent.push(signal);
        await delay(random.int(0, 60));
      }
      if (signals.length === 0) await delay(20);
    }
  }

  /** Enrols a mix of jobs over a second or two while the batch hears everything again. */
  async function runRepeated(random: Random): Promise<SentSignal[]> {
    const batch = await createBatch(world, {
      failWhen: random.pick(['settled', 'immediate']),
      // Histories too short for chunks: all jobs have runners, which send signals of their own.
      continueAsNewAfterEvents: 80,
    });
    const { record, failTimes, failForGood, work } = world.fixtures.jobs;
    const attempts = new Map<string, number>();
    const repeated = repeatSignals(batch.id, random);
    let failed = 0;
    await batch.jobs(async () => {
      for (let i = 0, count = random.int(150, 400); i < count; i++) {
        if (random.chance(0.02)) await delay(150);
        if (random.chance(0.02)) {
          attempts.set(await failForGood.performAsync(i), 1);
          failed++;
        } else if (random.chance(0.1)) attempts.set(await failTimes.performAsync(i, 1), 2);
        else if (random.chance(0.2))
          attempts.set(await record.set({ taskQueue: otherQueue }).performAsync(i), 1);
        else attempts.set(await record.performAsync(i), 1);
      }
      // Keeps the batch open for what arrives late.
      attempts.set(await work.performAsync('last', 3_000 * SLOWNESS), 1);
      attempts.set(await failForGood.performAsync('last'), 1);
      failed++;
    });
    const progress = await batch.wait({ timeout: PATIENCE });
    const sent = await repeated;
    const total = attempts.size;
    expect(progress).toEqual({
      status: 'failed',
      total,
      complete: total - failed,
      failed,
      cancelled: 0,
      pending: 0,
    });
    await expectConsistent(world, batch);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
    const rows = await world.knex
      .withSchema(world.schema)
      .from('batch_jobs')
      .where({ batch_id: batch.id })
      .select('jid', 'attempts');
    expect(new Map(rows.map((row) => [row.jid, row.attempts]))).toEqual(attempts);
    const runs = await world.ledger.of(batch.id, 'job');
    expect(runs).toHaveLength([...attempts.values()].reduce((sum, count) => sum + count, 0));
    return sent;
  }

  test('that arrive again, late and in any order, change no outcome and move no count', async () => {
    const sent = (
      await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((seed) => runRepeated(randomFrom(seed))))
    ).flat();
    const names = sent.map(({ name, args: [message] }) =>
      (message as { sealed?: true } | undefined)?.sealed ? 'sealed' : name,
    );
    // Else this test did not see what it is about.
    for (const name of ['enrolled', 'completed', 'failed', 'jobFailed', 'sealed'])
      expect(names).toContain(name);
  });

  test('to a batch that has ended are refused by Temporal, and change nothing', async () => {
    const batch = await createBatch(world, { failWhen: 'immediate' });
    await batch.jobs(async () => {
      for (let i = 0; i < 150; i++) await world.fixtures.jobs.record.performAsync(i);
      await delay(500);
      await world.fixtures.jobs.failForGood.performAsync('last');
    });
    await batch.wait({ timeout: PATIENCE });
    const before = await rowsOf(batch.id);
    const signals = await heard(batch.id);
    expect(new Set(signals.map(({ name }) => name)).size).toBeGreaterThan(1);
    for (const { name, args } of signals) {
      await expect(handleOf(batch.id).signal(name, ...args)).rejects.toThrow(WorkflowNotFoundError);
    }
    expect(await rowsOf(batch.id)).toEqual(before);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
  });
});

/** Everything that the mirror says of a batch. */
async function rowsOf(batchId: string, { knex, schema } = world): Promise<unknown[]> {
  return Promise.all([
    knex.withSchema(schema).from('batches').where({ id: batchId }),
    knex.withSchema(schema).from('batch_jobs').where({ batch_id: batchId }).orderBy('position'),
    knex.withSchema(schema).from('batch_callbacks').where({ batch_id: batchId }).orderBy('event'),
  ]);
}

describe('an opening', () => {
  test('that is written twice is one, and the only one', async () => {
    const batch = await createBatch(world);
    const claim = (name: string) => claimBlock(world.batches.database, batch.id, name);
    const opened = await Promise.all([claim('o'), claim('o'), claim('o')]);
    expect(opened[0]).toMatchObject({ token: expect.stringMatching(/^.+\/o$/), quietTimeMs: 300_000 });
    expect(opened).toEqual([await claim('o'), opened[0], opened[0]]);
    expect(await claim('another')).toBeUndefined();
    await batch.cancel();
    expect(await claim('o')).toBeUndefined();
  });

  test('of several at once leaves the block to one', async () => {
    await inRounds(10, 2, async () => {
      const batch = await createBatch(world);
      const names = Array.from({ length: 8 }, (_, n) => `o${n}`);
      const claims = await Promise.all(
        names.map((name) => claimBlock(world.batches.database, batch.id, name)),
      );
      expect(claims.filter((claim) => claim !== undefined)).toHaveLength(1);
      await batch.cancel();
    });
  });
});

describe('updates', () => {
  test('that open and seal a block get the same answer when they are delivered twice', async () => {
    const batch = await createBatch(world);
    const open = (token: string) => handleOf(batch.id).executeUpdate('open', { args: [{ token }] });
    await openBlock(world, batch.id);
    const opened = await Promise.all([open('t'), open('t'), open('t')]);
    expect(opened).toEqual([await open('t'), opened[0], opened[0]]);
    const row = async () =>
      world.knex.withSchema(world.schema).from('batches').where({ id: batch.id }).first();
    expect(await row()).toMatchObject({ enrollment_token: 't', openings: 2 });

    const args = JSON.stringify([batch.id]);
    await insertJobs(world.batches.database, batch.id, 1, [['Held', args, null, null, null]], 't');
    const seal = (token: string) =>
      handleOf(batch.id).executeUpdate('seal', { args: [{ token, upTo: 1, queues: [] }] });
    expect(await Promise.all([seal('t'), seal('t')])).toEqual([{ total: 1 }, { total: 1 }]);
    expect(await seal('t')).toEqual({ total: 1 });
    await expect(seal('another')).rejects.toMatchObject({ cause: { type: 'ALREADY_ENROLLED' } });
    await expect(open('t')).rejects.toMatchObject({ cause: { type: 'ALREADY_ENROLLED' } });
    gate(batch.id).open();

    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
    await expectConsistent(world, batch);
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(1);
  });

  test('that register a callback get the same answer when they are delivered twice, also after it has run', async () => {
    const batch = await world.batches.create({ description: 'Callbacks by `on`' });
    const { onComplete, onFailure, onSettled } = world.fixtures.callbacks;
    for (const [event, callback] of [
      ['complete', onComplete],
      ['failure', onFailure],
      ['settled', onSettled],
      ['complete', onComplete],
    ] as const)
      await batch.on(event, callback);
    await batch.jobs(() => held.performAsync(batch.id));
    const registrations = await updatesOf(world.client, batch.id, 'register');
    expect(registrations).toHaveLength(4);
    const register = (registration: unknown) =>
      handleOf(batch.id).executeUpdate('register', { args: [registration] });
    await Promise.all(registrations.map(register));
    gate(batch.id).open();
    await batch.wait({ timeout: PATIENCE });
    expect(await batch.callbacks()).toMatchObject([
      { event: 'complete', status: 'completed', attempts: 1 },
      { event: 'failure', status: 'skipped', attempts: 0 },
      { event: 'settled', status: 'completed', attempts: 1 },
    ]);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });
});

describe('outcomes', () => {
  const TOTAL = 200;
  const success = (position: number): Success => ({ position, startedAt: 1_000, finishedAt: 2_000 });
  const failure = (position: number, attempt: number, retryInMs: number | null): Failure => ({
    ...success(position),
    attempt,
    retryInMs,
    errorClass: 'BrokenError',
    errorMessage: `attempt ${attempt}`,
  });
  const positions = Array.from({ length: TOTAL }, (_, i) => i + 1);

  async function failuresChanged(...args: Parameters<typeof markFailures>): Promise<number> {
    return (await markFailures(...args)).changed;
  }

  /** Rows of a batch that no workflow knows, so that only the test moves them. */
  async function rowsOnly(id: string): Promise<string> {
    const { database } = world.batches;
    const batchId = `${id}-${world.schema}`;
    await insertBatch(database, {
      batchId,
      firstExecutionRunId: 'none',
      description: id,
      context: {},
      settings: SETTINGS,
      parentBatchId: null,
      definition: {},
      callbacks: [],
    });
    await insertJobs(
      database,
      batchId,
      1,
      positions.map(() => ['Noop', '[1]', null, null, null] as const),
    );
    await markSealed(database, { batchId, total: TOTAL, error: null });
    return batchId;
  }

  /** Counters and rows, which must say the same. */
  async function countsOf(batchId: string) {
    const { complete, failed } = await (await world.batches.find(batchId)).progress();
    const { rows } = await world.knex.raw(
      `select count(*) filter (where status = 'complete')::int as complete,
         count(*) filter (where status = 'failed')::int as failed, sum(attempts)::int as attempts
       from :schema:.batch_jobs where batch_id = :batchId`,
      { schema: world.schema, batchId },
    );
    expect({ complete: rows[0].complete, failed: rows[0].failed }).toEqual({ complete, failed });
    return rows[0] as { complete: number; failed: number; attempts: number };
  }

  const complete = (batchId: string) =>
    markComplete(world.batches.database, { batchId, round: 1 }, positions.map(success));
  const fail = (batchId: string, attempt: number, retryInMs: number | null) =>
    failuresChanged(
      world.batches.database,
      { batchId, round: 1 },
      positions.map((position) => failure(position, attempt, retryInMs)),
    );

  test('that are written twice, one after the other or at once, count once', async () => {
    const [completed, failed] = [await rowsOnly('completed'), await rowsOnly('failed')];
    expect(await complete(completed)).toBe(TOTAL);
    expect(await complete(completed)).toBe(0);
    expect(await countsOf(completed)).toEqual({ complete: TOTAL, failed: 0, attempts: TOTAL });
    const changed = await Promise.all([1, 2, 3, 4].map(() => fail(failed, 1, null)));
    expect(changed.toSorted((a, b) => b - a)).toEqual([TOTAL, 0, 0, 0]);
    expect(await countsOf(failed)).toEqual({ complete: 0, failed: TOTAL, attempts: TOTAL });
  });

  test('are counted in the statement that writes them: no row shows one that is not counted yet', async () => {
    const { knex, schema } = world;
    const batchId = await rowsOnly('uncounted');
    const trx = await knex.transaction();
    // Whoever counts waits for this lock.
    await trx.raw('select 1 from ??.batches where id = ? for update', [schema, batchId]);
    const writes = Promise.all([
      markComplete(world.batches.database, { batchId, round: 1 }, [success(1)]),
      failuresChanged(world.batches.database, { batchId, round: 1 }, [failure(2, 1, null)]),
    ]);
    try {
      await eventually(async () => {
        const waiting = await knex('pg_stat_activity')
          .where('wait_event_type', 'Lock')
          .whereLike('query', `%"${schema}".batch%`);
        expect(waiting).toHaveLength(2);
      });
      expect(await countsOf(batchId)).toMatchObject({ complete: 0, failed: 0 });
    } finally {
      await trx.rollback();
    }
    expect(await writes).toEqual([1, 1]);
    expect(await countsOf(batchId)).toMatchObject({ complete: 1, failed: 1 });
  });

  test('of one attempt that failed and is to be repeated use up one attempt, however often they are written', async () => {
    const batchId = await rowsOnly('retried');
    const changed = await Promise.all([1, 2, 3, 4].map(() => fail(batchId, 1, 60_000)));
    expect(changed.toSorted((a, b) => b - a)).toEqual([TOTAL, 0, 0, 0]);
    expect(await countsOf(batchId)).toEqual({ complete: 0, failed: 0, attempts: TOTAL });
    expect(await fail(batchId, 2, 60_000)).toBe(TOTAL);
    // The first attempt once more, late, by an execution that was given up.
    expect(await fail(batchId, 1, null)).toBe(0);
    expect(await countsOf(batchId)).toEqual({ complete: 0, failed: 0, attempts: 2 * TOTAL });
  });

  test('that contradict each other and are written at once: the first one holds', async () => {
    const batchId = await rowsOnly('contested');
    // In parts, so that the two take turns.
    const database = { ...world.batches.database };
    const parts = Array.from({ length: TOTAL / 10 }, (_, i) => positions.slice(i * 10, i * 10 + 10));
    const changed = await Promise.all(
      parts.flatMap((part) => [
        markComplete(database, { batchId, round: 1 }, part.map(success)),
        failuresChanged(
          database,
          { batchId, round: 1 },
          part.map((position) => failure(position, 1, null)),
        ),
      ]),
    );
    const { complete: completed, failed } = await countsOf(batchId);
    expect(completed + failed).toBe(TOTAL);
    expect(changed.reduce((sum, count) => sum + count, 0)).toBe(TOTAL);
    const before = await rowsOf(batchId);
    expect(await complete(batchId)).toBe(0);
    expect(await fail(batchId, 1, null)).toBe(0);
    expect(await rowsOf(batchId)).toEqual(before);
  });
});

describe.concurrent('a worker that freezes and goes on after its jobs were given to another', () => {
  /** Starts jobs of which every second one fails at first, and freezes the only worker in the middle of them. */
  async function frozen(own: World) {
    const { failLate } = createCrashFixtures(own.ledger).jobs;
    // Temporal gives tasks to a frozen worker that had asked for them, and takes each back after 10 s: it asks for few.
    const workerOptions = {
      activityTaskPollerBehavior: { type: 'simple-maximum', maximum: 1 },
      workflowTaskPollerBehavior: { type: 'simple-maximum', maximum: 2 },
    } as const;
    const zombie = await own.spawnWorker({ workerOptions });
    const batch = await createBatch(own);
    await batch.jobs(async () => {
      for (let i = 0; i < 40; i++) await failLate.performAsync(i, i % 2, 2_000 * SLOWNESS);
    });
    const runs = () => own.ledger.of(batch.id, 'job');
    await eventually(async () => expect((await runs()).length).toBeGreaterThanOrEqual(40));
    zombie.kill('SIGSTOP');
    const worker = await own.spawnWorker();
    return { batch, zombie, worker, runs };
  }

  async function expectRight(own: World, batch: Batch) {
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 40 });
    await expectConsistent(own, batch);
    expect(await firedCallbacks(own, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    const jobs = await batch.completedJobs();
    expect(jobs.map(({ attempts }) => attempts)).toEqual(jobs.map(({ position }) => 2 - (position % 2)));
  }

  test('while they run there changes no outcome, and uses up no attempt', async () => {
    await using own = await createWorld();
    const { batch, zombie, worker, runs } = await frozen(own);
    await eventually(async () =>
      expect((await runs()).filter(({ pid }) => pid === worker.pid)).not.toEqual([]),
    );
    zombie.kill('SIGCONT');
    await expectRight(own, batch);
  });

  test('when their batch has ended changes nothing', async () => {
    await using own = await createWorld();
    const { batch, zombie, worker } = await frozen(own);
    await expectRight(own, batch);
    const before = await rowsOf(batch.id, own);
    zombie.kill('SIGCONT');
    zombie.kill('SIGTERM');
    expect(await zombie.exited).toBe(0);
    expect(await rowsOf(batch.id, own)).toEqual(before);
    worker.kill('SIGTERM');
    await worker.exited;
  });
});
