import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowNotFoundError } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { markComplete, markFailures, type Failure, type Success } from '../../src/database/chunks.ts';
import { insertBatch, markSealed } from '../../src/database/batches.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import type { Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, runBatch } from '../support/batches.ts';
import { createCrashFixtures } from '../support/crash-fixtures.ts';
import { eventually } from '../support/eventually.ts';
import { sealMessageOf, signalsOf, updatesOf, type SentSignal } from '../support/messages.ts';
import { randomFrom, type Random } from '../support/random.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let otherQueue: string;
beforeAll(async () => {
  world = await createWorld();
  otherQueue = `${world.taskQueue}-other`;
  await world.startWorker();
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
    const batch = await createBatch(world, { failWhen: random.pick(['settled', 'immediate']) });
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
      attempts.set(await work.performAsync('last', 3_000), 1);
      attempts.set(await failForGood.performAsync('last'), 1);
      failed++;
    });
    const progress = await batch.wait({ timeout: '100s' });
    const sent = await repeated;
    const total = attempts.size;
    expect(progress).toEqual({ status: 'failed', total, complete: total - failed, failed, pending: 0 });
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
    expect(new Set(names)).toEqual(new Set(['enrolled', 'completed', 'failed', 'jobFailed', 'sealed']));
  }, 120_000);

  test('to a batch that has ended are refused by Temporal, and change nothing', async () => {
    const batch = await createBatch(world, { failWhen: 'immediate' });
    await batch.jobs(async () => {
      for (let i = 0; i < 150; i++) await world.fixtures.jobs.record.performAsync(i);
      await delay(500);
      await world.fixtures.jobs.failForGood.performAsync('last');
    });
    await batch.wait({ timeout: '30s' });
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

describe('updates', () => {
  test('that open and seal a block get the same answer when they are delivered twice', async () => {
    const batch = await createBatch(world);
    const open = (token: string) => handleOf(batch.id).executeUpdate('open', { args: [{ token }] });
    const opened = await Promise.all([open('t'), open('t'), open('t')]);
    expect(opened).toEqual([await open('t'), opened[0], opened[0]]);
    await expect(open('another')).rejects.toMatchObject({ cause: { type: 'ALREADY_ENROLLED' } });

    const args = JSON.stringify(['work', 2_000]);
    await insertJobs(world.batches.database, batch.id, 1, [['Work', args, null, null, null]]);
    const seal = (token: string) =>
      handleOf(batch.id).executeUpdate('seal', { args: [{ token, upTo: 1, queues: [] }] });
    expect(await Promise.all([seal('t'), seal('t')])).toEqual([{ total: 1 }, { total: 1 }]);
    expect(await seal('t')).toEqual({ total: 1 });
    await expect(seal('another')).rejects.toMatchObject({ cause: { type: 'ALREADY_ENROLLED' } });
    await expect(open('t')).rejects.toMatchObject({ cause: { type: 'ALREADY_ENROLLED' } });

    expect(await batch.wait({ timeout: '30s' })).toMatchObject({ status: 'complete', total: 1 });
    await expectConsistent(world, batch);
    expect(await world.ledger.of(batch.id, 'job')).toHaveLength(1);
  });

  test('that register a callback get the same answer when they are delivered twice, also after it has run', async () => {
    const batch = await createBatch(world);
    await batch.on('complete', world.fixtures.callbacks.onComplete);
    await batch.jobs(() => world.fixtures.jobs.work.performAsync('work', 500));
    const registrations = await updatesOf(world.client, batch.id, 'register');
    expect(registrations).toHaveLength(4);
    const register = (registration: unknown) =>
      handleOf(batch.id).executeUpdate('register', { args: [registration] });
    await Promise.all(registrations.map(register));
    await batch.wait({ timeout: '30s' });
    expect(await batch.callbacks()).toMatchObject([
      { event: 'complete', status: 'completed', attempts: 1 },
      { event: 'failure', status: 'skipped', attempts: 0 },
      { event: 'settled', status: 'completed', attempts: 1 },
    ]);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
  });
});
