import { setTimeout as delay } from 'node:timers/promises';
import knexFactory from 'knex';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { insertNumbered, type Numbered } from '../../src/database/enroll-numbered.ts';
import { BatchClient, currentBatch, defineJob, type Batch } from '../../src/index.ts';
import { createBatch, expectConsistent, firedCallbacks, runBatch } from '../support/batches.ts';
import { codeOf, expectCode } from '../support/codes.ts';
import { createCrashFixtures } from '../support/crash-fixtures.ts';
import { spawnEnqueuer } from '../support/enqueuers.ts';
import { eventually } from '../support/eventually.ts';
import { createGates } from '../support/gates.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { inRounds } from '../support/rounds.ts';
import { lockTable } from '../support/table-lock.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let record: World['fixtures']['jobs']['record'];
let otherQueue: string;
const { gate, jobs: gated } = createGates();
/** What `currentBatch().jobs` came to, by the job's value. */
const ends = new Map<string, string>();

const added = async (value: string, run: () => Promise<{ total: number }>) => {
  ends.set(value, (await codeOf(run())) ?? 'added');
};

/** Adds jobs to its batch, `fan` of each generation. */
const grow = defineJob('Grow', async (name: string, generations: number, fan: number) => {
  if (generations === 0) return;
  await currentBatch().jobs(async () => {
    for (let i = 0; i < fan; i++) {
      const child = `${name}.${i}`;
      await grow.set({ key: child }).performAsync(child, generations - 1, fan);
    }
  });
});
/** Adds a job once its gate is open, and a job outside of its batch. */
const addBehindGate = defineJob('AddBehindGate', async (name: string) => {
  await gate(name).pass();
  await record.performAsync(`outside of ${name}`);
  await added(name, () => currentBatch().jobs(() => record.performAsync(`added by ${name}`)));
});
/** Is given up after 200 ms (more on a slow machine), and adds a job some time later. */
const addsLate = defineJob(
  'AddsLate',
  async (name: string, ms: number) => {
    await delay(ms);
    await added(name, () => currentBatch().jobs(() => record.performAsync(`added by ${name}`)));
  },
  { startToCloseTimeout: 200 * SLOWNESS, retry: { maximumAttempts: 1 } },
);
const addOnQueue = defineJob('AddOnQueue', async (name: string, taskQueue: string | null) => {
  const calls = taskQueue ? record.set({ taskQueue }) : record;
  await currentBatch().jobs(() => calls.performBulk([[`${name} a`], [`${name} b`]]));
});
const addAndThrow = defineJob(
  'AddAndThrow',
  async (name: string) => {
    await currentBatch().jobs(async () => {
      await record.performAsync(`added by ${name}`);
      throw new RangeError('in the block');
    });
  },
  { retry: { maximumAttempts: 1 } },
);
const askForBatch = defineJob('AskForBatch', async (name: string) => {
  ends.set(name, (await codeOf((async () => currentBatch().id)())) ?? 'known');
});
const own = [grow, addBehindGate, addsLate, addOnQueue, addAndThrow, askForBatch];

beforeAll(async () => {
  world = await createWorld();
  ({ record } = world.fixtures.jobs);
  otherQueue = `${world.taskQueue}-other`;
  const jobs = [...Object.values(world.fixtures.jobs), ...Object.values(gated), ...own];
  await world.startWorker({ jobs });
  await world.startWorker({ jobs, taskQueue: otherQueue });
});
afterAll(() => world[Symbol.asyncDispose]());

const jobRows = (batch: Batch) =>
  world.knex.withSchema(world.schema).from('batch_jobs').where({ batch_id: batch.id }).orderBy('position');

const valuesOf = async (batch: Batch) =>
  (await world.ledger.of(batch.id, 'job')).map(({ detail }) => String(detail)).toSorted();

/** Positions are 1..total, each with its jid, and each job that notes what it does has run once. */
async function expectWhole(batch: Batch): Promise<void> {
  await expectConsistent(world, batch);
  const rows = await jobRows(batch);
  const { total } = await batch.progress();
  expect(rows.map(({ jid, position }) => [jid, position])).toEqual(
    Array.from({ length: total }, (_, i) => [`${batch.id}/${i + 1}`, i + 1]),
  );
}

describe('a key', () => {
  test('makes one job of several starts: in turn, at once, in bulk with others and in handlers', async () => {
    const batch = await createBatch(world);
    const jids: string[] = [];
    await batch.jobs(async () => {
      await record.performAsync('without');
      const keyed = record.set({ key: 'entry-7' });
      jids.push(await keyed.performAsync('first'), await keyed.performAsync('second'));
      jids.push(...(await Promise.all([keyed.performAsync('third'), keyed.performAsync('fourth')])));
      await record.performAsync('after');
      await grow.performAsync('a', 1, 3);
      await grow.performAsync('a', 1, 3);
    });
    expect(new Set(jids)).toEqual(new Set([`${batch.id}/2`]));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 8 });
    expect(await valuesOf(batch)).toEqual(['after', 'first', 'without']);
    await expectWhole(batch);
  });

  test('is shown with its job, and of other jobs none is', async () => {
    const { batch } = await runBatch(world, async () => {
      await record.performAsync('before');
      await record.set({ key: 'key:with:colons' }).performAsync('with');
      await record.performAsync('after');
    });
    expect((await batch.completedJobs()).map(({ key }) => key)).toEqual([null, 'key:with:colons', null]);
  });

  test('is one of a batch: another batch has its own job', async () => {
    const keyed = record.set({ key: 'same' });
    for (const { batch, progress } of [
      await runBatch(world, () => keyed.performAsync(1)),
      await runBatch(world, () => keyed.performAsync(1)),
    ]) {
      expect(progress.total).toBe(1);
      await expectWhole(batch);
    }
  });

  test('is refused outside of a block, in bulk, and when it is too long or empty', async () => {
    await expectCode(record.set({ key: 'k' }).performAsync(1), 'INVALID_OPTION');
    await expectCode(record.set({ key: 'k' }).performBulk([[1]]), 'INVALID_OPTION');
    expect(() => record.set({ key: '' })).toThrow(/key must be/);
    expect(() => record.set({ key: 'x'.repeat(201) })).toThrow(/key must be/);
  });

  test('switches its block to numbers of the database: bulk goes in few inserts, retry options are kept', async () => {
    const jids: string[] = [];
    const { batch } = await runBatch(world, async ({ failTimes, noop }) => {
      await noop.performBulk(Array.from({ length: 300 }, (_, i) => [i] as const));
      const retry = { maximumAttempts: 2 };
      await failTimes.set({ key: 'k', retry, taskQueue: otherQueue }).performAsync('k', 1);
      jids.push(...(await noop.performBulk(Array.from({ length: 3_000 }, (_, i) => [i] as const))));
    });
    expect(jids).toEqual(jids.map((_, i) => `${batch.id}/${i + 302}`));
    await expectWhole(batch);
    const rows = await jobRows(batch);
    expect(new Set(rows.map(({ created_at }) => String(created_at.getTime()))).size).toBeLessThan(12);
    expect(rows[300]).toMatchObject({
      key: 'key:k',
      attempts: 2,
      task_queue: otherQueue,
      status: 'complete',
    });
  });

  test('keeps the order in which jobs were started', async () => {
    const { batch } = await runBatch(world, async () => {
      for (let i = 0; i < 50; i++) void (i % 7 === 3 ? record.set({ key: `${i}` }) : record).performAsync(i);
    });
    expect((await batch.completedJobs()).map(({ args }) => args[0])).toEqual(
      Array.from({ length: 50 }, (_, i) => i),
    );
  });

  test('or the lack of one: a commit whose answer is lost doubles no job', async () => {
    const url = new URL(inject('databaseUrl'));
    await using proxy = await TcpProxy.open(url.host);
    url.host = proxy.address;
    const knex = knexFactory({ client: 'pg', connection: url.href, log: { warn: () => {} } });
    const { client, schema, taskQueue } = world;
    const warnings: string[] = [];
    const logger = { warn: (message: string) => void warnings.push(message) };
    const batches = new BatchClient({ client, database: knex, logger, schema, taskQueue });
    const { id } = await createBatch(world);
    const batch = await batches.find(id);
    await batch.jobs(async () => {
      await record.set({ key: 'first' }).performAsync(0);
      const isCommit = ({ sql }: { sql: string }) => {
        if (!sql.startsWith('COMMIT')) return;
        knex.removeListener('query', isCommit);
        proxy.holdAnswers();
        void eventually(async () => expect(await jobRows(batch)).toHaveLength(4)).then(() => proxy.dropAll());
      };
      knex.on('query', isCommit);
      const jids = await Promise.all([
        record.performAsync(1),
        record.set({ key: 'k' }).performAsync(2),
        record.performAsync(3),
      ]);
      expect(jids).toEqual([2, 3, 4].map((position) => `${id}/${position}`));
    });
    expect(warnings).toContain('Rows could not be written; trying again');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 4 });
    expect(await valuesOf(batch)).toEqual(['0', '1', '2', '3']);
    await expectWhole(batch);
    await batches.close();
    await knex.destroy();
  });
});

describe('a handler', () => {
  test('adds jobs to its batch, after the seal too, and they add more; what it starts otherwise is no member', async () => {
    const { batch, progress, fired } = await runBatch(world, async () => {
      await grow.performAsync('root', 4, 3);
      await addBehindGate.performAsync('opened');
      gate('opened').open();
    });
    expect(progress).toMatchObject({ status: 'complete', total: 3 + 3 + 9 + 27 + 81 });
    expect(fired).toEqual(['OnComplete', 'OnSettled']);
    expect(await valuesOf(batch)).toEqual(['added by opened']);
    await expectWhole(batch);
  });

  test('adds jobs while its batch continues as new', async () => {
    const options = { continueAsNewAfterEvents: 60 };
    const { batch, progress } = await runBatch(world, () => grow.performAsync('root', 5, 3), options);
    expect(progress).toMatchObject({ status: 'complete', total: 1 + 3 + 9 + 27 + 81 + 243 });
    await expectWhole(batch);
  });

  test('adds jobs on task queues that nobody has named before, beside others that do the same', async () => {
    await inRounds(10, 3, async () => {
      const { batch, progress } = await runBatch(world, async () => {
        for (let i = 0; i < 12; i++) await addOnQueue.performAsync(`${i}`, i % 3 ? null : otherQueue);
      });
      expect(progress).toMatchObject({ status: 'complete', total: 36 });
      await expectWhole(batch);
    });
  });

  test('that fails in its block has added what it started until then', async () => {
    const { batch, progress } = await runBatch(world, () => addAndThrow.performAsync('broken'));
    expect(progress).toMatchObject({ status: 'failed', total: 2, complete: 1, failed: 1 });
    expect(await valuesOf(batch)).toEqual(['added by broken']);
    expect((await batch.failedJobs())[0]).toMatchObject({ errorClass: 'RangeError' });
  });

  test('has a current batch only in a job of one', async () => {
    await expectCode((async () => currentBatch())(), 'NO_JOB_CONTEXT');
    const jid = await askForBatch.performAsync('plain');
    await world.client.workflow.result(`job:${jid}`);
    expect(ends.get('plain')).toBe('NO_JOB_CONTEXT');
    await runBatch(world, () => askForBatch.performAsync('member'));
    expect(ends.get('member')).toBe('known');
  });

  test("waits until its batch's block has closed, unless the database numbers the block's jobs", async () => {
    const waiting = await createBatch(world);
    await waiting.jobs(async () => {
      await addBehindGate.performAsync('waiting');
      await gate('waiting').arrivals(1);
      gate('waiting').open();
      // Long enough that it would have been added.
      await delay(1_000);
      expect(ends.get('waiting')).toBeUndefined();
      await record.performAsync('of the block');
    });
    expect(await waiting.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 3 });
    expect(ends.get('waiting')).toBe('added');
    await expectWhole(waiting);

    const { batch } = await runBatch(world, async () => {
      await addBehindGate.set({ key: 'k' }).performAsync('shared');
      gate('shared').open();
      await eventually(() => expect(ends.get('shared')).toBe('added'));
      await record.performAsync('of the block');
    });
    expect(await valuesOf(batch)).toEqual(['added by shared', 'of the block']);
    await expectWhole(batch);
  });

  test('is refused once its batch was stopped', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => addBehindGate.performAsync('stopped'));
    await gate('stopped').arrivals(1);
    await batch.cancel({ gracePeriod: '5s' });
    gate('stopped').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', total: 1 });
    await eventually(() => expect(ends.get('stopped')).toBe('BATCH_CANCELLED'));
  });

  test('that races the cancellation has added its job, which is cancelled, or is refused: in every round', async () => {
    await inRounds(40, 4, async (round) => {
      const name = `cancel ${round}`;
      const batch = await createBatch(world);
      await batch.jobs(() => addBehindGate.performAsync(name));
      await gate(name).arrivals(1);
      const cancelling = batch.cancel();
      await delay(round % 7);
      gate(name).open();
      await cancelling;
      const { total, status, pending } = await batch.wait({ timeout: PATIENCE });
      const end = await eventually(() => ends.get(name) ?? Promise.reject(new Error('has not ended')));
      expect({ total, status, pending }).toEqual({
        total: end === 'added' ? 2 : 1,
        status: 'cancelled',
        pending: 0,
      });
      expect(['added', 'BATCH_CANCELLED']).toContain(end);
      await expectWhole(batch);
    });
  });

  test('whose attempt was given up is refused', async () => {
    const batch = await createBatch(world);
    const givenUp = addBehindGate.set({ startToCloseTimeout: '200ms', retry: { maximumAttempts: 1 } });
    await batch.jobs(async () => {
      await givenUp.performAsync('given up');
      await gated.pass.performAsync('beside it');
    });
    await eventually(async () => expect(await batch.progress()).toMatchObject({ failed: 1 }));
    gate('given up').open();
    await eventually(() => expect(ends.get('given up')).toBe('JOB_ENDED'));
    gate('beside it').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 2, failed: 1 });
  });

  test('that races the end of its batch is refused, or the batch waits for its job: in every round', async () => {
    const seen = new Set<string>();
    await inRounds(60, 4, async (round) => {
      const name = `last ${round}`;
      const batch = await createBatch(world);
      await batch.jobs(() => addsLate.performAsync(name, (50 + round * 6) * SLOWNESS));
      const { total, complete } = await batch.wait({ timeout: PATIENCE });
      const end = await eventually(() => ends.get(name) ?? Promise.reject(new Error('has not ended')));
      seen.add(end);
      expect(['added', 'JOB_ENDED', 'BATCH_SETTLED']).toContain(end);
      expect({ total, ran: (await valuesOf(batch)).length }).toEqual(
        end === 'added' ? { total: 2, ran: 1 } : { total: 1, ran: 0 },
      );
      expect(complete).toBeLessThanOrEqual(total);
      expect((await firedCallbacks(world, batch.id)).length).toBe(2);
      await expectWhole(batch);
    });
    expect(seen.size).toBeGreaterThan(1);
  });

  test('whose rows are committed and that told nobody holds up the end: the batch finds them by itself', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => gated.pass.performAsync('silent'));
    await gate('silent').arrivals(1);
    const job = ['Record', '["found"]', null, otherQueue, null] as const;
    const input = {
      batchId: batch.id,
      adder: { job: { position: 1, round: 1, attempt: 1 } },
      isRepeated: false,
    };
    const numbered = await insertNumbered(world.batches.database, {
      ...input,
      jobs: [{ job, key: 'auto:1' }],
      queues: [otherQueue],
    });
    expect(numbered).toEqual({ positions: [2], added: 1, total: 2, queues: [otherQueue] });
    gate('silent').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 2,
      complete: 2,
    });
    expect(await valuesOf(batch)).toEqual(['found']);
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectWhole(batch);
    expect(await insertNumbered(world.batches.database, { ...input, jobs: [], queues: [] })).toBe('closed');
  });

  test('names, when it tells of its jobs, the task queues of those that others have added and not told of', async () => {
    const batch = await createBatch(world);
    await batch.jobs(() => gated.pass.performAsync('two add'));
    await gate('two add').arrivals(1);
    const adder = { job: { position: 1, round: 1, attempt: 1 } };
    const add = (key: string, taskQueue: string | null) =>
      insertNumbered(world.batches.database, {
        batchId: batch.id,
        adder,
        jobs: [{ job: ['Record', JSON.stringify([key]), null, taskQueue, null], key }],
        queues: taskQueue === null ? [] : [taskQueue],
        isRepeated: false,
      });
    const [first, second] = [await add('auto:first', otherQueue), await add('auto:second', null)];
    expect(second).toEqual({ positions: [3], added: 1, total: 3, queues: [otherQueue] });
    const row = await world.knex.withSchema(world.schema).from('batches').where({ id: batch.id }).first();
    const tell = (numbered: typeof first) => {
      const { total: upTo, queues } = numbered as Numbered;
      const message = { runId: row.first_execution_run_id, upTo, queues };
      return world.client.workflow.getHandle(`batch:${batch.id}`).signal('jobsAdded', message);
    };
    await tell(second);
    await eventually(async () => expect(await valuesOf(batch)).toHaveLength(2));
    await tell(first);
    gate('two add').open();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 3 });
    expect(await valuesOf(batch)).toEqual(['auto:first', 'auto:second']);
    await expectWhole(batch);
  });

  test('a callback that comes while the end is written is judged by what was written', async () => {
    const batch = await world.batches.create({ description: 'A test' });
    await batch.jobs(() => gated.pass.performAsync('the end'));
    await gate('the end').arrivals(1);
    await using lock = await lockTable(world, 'batch_callbacks');
    gate('the end').open();
    await eventually(async () => expect(await lock.waiting()).not.toEqual([]));
    const { onComplete, onFailure } = world.fixtures.callbacks;
    const codes = [codeOf(batch.on('complete', onComplete)), codeOf(batch.on('failure', onFailure))];
    // Updates come with the next workflow task: once the local write is given up, after 1.5 s.
    await eventually(async () => expect((await lock.waiting()).length).toBeGreaterThan(1));
    await delay(1_000);
    await lock.release();
    expect(await Promise.all(codes)).toEqual(['BATCH_SETTLED', 'BATCH_SETTLED']);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    expect(await batch.callbacks()).toEqual([]);
  });

  test('a callback that is registered while the end is written is taken, or refused, and then runs as its row says', async () => {
    await inRounds(40, 4, async (round) => {
      const batch = await world.batches.create({ description: 'A test' });
      await batch.jobs(() => grow.performAsync('r', 1, 2));
      await delay(round * 4);
      const { onComplete, onFailure } = world.fixtures.callbacks;
      const [complete, failure] = await Promise.all([
        codeOf(batch.on('complete', onComplete)),
        codeOf(batch.on('failure', onFailure)),
      ]);
      await batch.wait({ timeout: PATIENCE });
      expect(await firedCallbacks(world, batch.id)).toEqual(complete ? [] : ['OnComplete']);
      expect((await batch.callbacks()).map(({ event, status }) => `${event} ${status}`)).toEqual([
        ...(complete ? [] : ['complete completed']),
        ...(failure ? [] : ['failure skipped']),
      ]);
    });
  });
});

test('jobs that a handler added right before its worker was killed run, though nobody was told of them', async () => {
  await using apart = await createWorld();
  const { addsAndDies } = createCrashFixtures(apart.ledger).jobs;
  await inRounds(5, 1, async (round) => {
    const doomed = await apart.spawnWorker({ isQuiet: true });
    const batch = await createBatch(apart);
    await batch.jobs(() => addsAndDies.performAsync(`worker ${round}`));
    await doomed.exited;
    const { rows } = await apart.knex.raw('select position from ??.batch_jobs where batch_id = ?', [
      apart.schema,
      batch.id,
    ]);
    expect(rows).toHaveLength(2);
    const worker = await apart.spawnWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'complete',
      total: 2,
      complete: 2,
    });
    const values = (await apart.ledger.of(batch.id, 'job')).map(({ detail }) => String(detail));
    expect(values.filter((value) => value.startsWith('added'))).toEqual([`added by worker ${round}`]);
    await expectConsistent(apart, batch);
    expect(await firedCallbacks(apart, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    worker.kill('SIGKILL');
    await worker.exited;
  });
});

describe('an open-ended batch', () => {
  const openEnded = (options = {}) => createBatch(world, { autoSeal: false, ...options });

  test('takes any number of blocks, also at once and from several processes, until it is sealed', async () => {
    await using first = await spawnEnqueuer(world);
    await using second = await spawnEnqueuer(world);
    const batch = await openEnded();
    first.enrol({ batchId: batch.id, name: 'a', count: 40 });
    second.enrol({ batchId: batch.id, name: 'b', count: 40 });
    await Promise.all([
      batch.jobs(() => record.performBulk(Array.from({ length: 1_500 }, (_, i) => [`c${i}`] as const))),
      batch.jobs(() => record.set({ taskQueue: otherQueue }).performBulk([['d0'], ['d1']])),
      first.ended(batch.id),
      second.ended(batch.id),
    ]);
    await batch.jobs(() => grow.performAsync('e', 1, 2));
    await eventually(async () => expect((await batch.progress()).complete).toBe(1_585));
    expect(await batch.progress()).toMatchObject({ status: 'pending', total: 1_585 });
    expect(await firedCallbacks(world, batch.id)).toEqual([]);
    expect(await Promise.all([batch.seal(), batch.seal()])).toEqual([{ total: 1_585 }, { total: 1_585 }]);
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1_585 });
    expect(await batch.seal()).toEqual({ total: 1_585 });
    expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
    await expectCode(
      batch.jobs(() => record.performAsync('late')),
      'BATCH_SEALED',
    );
    await expectWhole(batch);
  });

  test('stays open when a block of it throws, and keeps what that had enrolled', async () => {
    const batch = await openEnded();
    const error = new RangeError('row 3 is broken');
    const broken = batch.jobs(async () => {
      await record.performAsync('before');
      throw error;
    });
    await expect(broken).rejects.toBe(error);
    expect(await batch.jobs(() => record.performAsync('after'))).toEqual({ total: 2 });
    expect(await batch.jobs(() => {})).toEqual({ total: 2 });
    await batch.seal();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await valuesOf(batch)).toEqual(['after', 'before']);
  });

  test('that is sealed while a handler adds jobs ends with all of them: in every round', async () => {
    await inRounds(40, 4, async (round) => {
      const batch = await openEnded();
      await batch.jobs(() => grow.performAsync('r', 2, 3));
      await delay(round % 10);
      await batch.seal();
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
        status: 'complete',
        total: 13,
        complete: 13,
      });
      expect(await firedCallbacks(world, batch.id)).toEqual(['OnComplete', 'OnSettled']);
      await expectWhole(batch);
    });
  });

  test('that is sealed while blocks enrol has the jobs whose jids were given, and no others: in every round', async () => {
    const seen = new Set<string | undefined>();
    await inRounds(40, 4, async (round) => {
      const batch = await openEnded();
      await batch.jobs(() => record.performAsync('first'));
      const jids = [`${batch.id}/1`];
      const elsewhere = await world.batches.find(batch.id);
      // In one round until they are refused: else a slow seal might meet no block.
      const count = round === 1 ? Infinity : 15;
      const block = (from: Batch) =>
        codeOf(
          from.jobs(async () => {
            for (let i = 0; i < count; i++) jids.push(await record.performAsync(i));
          }),
        );
      const blocks = [block(batch), block(elsewhere)];
      await delay(round * 2);
      await batch.seal();
      const codes = await Promise.all(blocks);
      for (const code of codes) seen.add(code);
      expect(codes.filter((code) => code !== undefined && code !== 'BATCH_SEALED')).toEqual([]);
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
        status: 'complete',
        total: jids.length,
      });
      expect(new Set((await jobRows(batch)).map(({ jid }) => jid))).toEqual(new Set(jids));
      await expectWhole(batch);
    });
    expect([...seen]).toContain('BATCH_SEALED');
  });

  test('runs what an enqueuer has committed that died before it told anybody', async () => {
    const batch = await openEnded();
    await batch.jobs(() => record.performAsync('announced'));
    const { first_execution_run_id: token } = await world.knex
      .withSchema(world.schema)
      .from('batches')
      .where({ id: batch.id })
      .first('first_execution_run_id');
    await insertNumbered(world.batches.database, {
      batchId: batch.id,
      adder: { token },
      jobs: [{ job: ['Record', '["silent"]', null, otherQueue, null], key: 'auto:1' }],
      queues: [otherQueue],
      isRepeated: false,
    });
    expect(await batch.seal()).toEqual({ total: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
    expect(await valuesOf(batch)).toEqual(['announced', 'silent']);
  });

  test('that is empty when it is sealed is removed, and its id is free again', async () => {
    const batch = await openEnded({ id: `open-and-empty-${world.schema}` });
    await batch.jobs(() => {});
    await expectCode(batch.seal(), 'EMPTY_BATCH');
    await expectCode(world.batches.find(batch.id), 'BATCH_NOT_FOUND');
    const again = await openEnded({ id: batch.id });
    await again.jobs(() => record.performAsync('again'));
    expect(await again.seal()).toEqual({ total: 1 });
  });

  test('of which nothing is heard for openTimeout ends failed with what it has; a slow block of it is heard', async () => {
    const openTimeout = 3_000 * SLOWNESS;
    // Each opens its block right after it was created: until then nothing is heard of it.
    const silent = await openEnded({ openTimeout });
    await silent.jobs(() => record.performAsync('only'));
    const waited = silent.wait({ timeout: PATIENCE });
    const slow = await openEnded({ openTimeout });
    await slow.jobs(async () => {
      await record.performAsync('first');
      // The scenario itself: longer than openTimeout without a job.
      await delay(1.5 * openTimeout);
      await record.performAsync('last');
    });
    await slow.seal();
    expect(await waited).toMatchObject({ status: 'failed', total: 1, complete: 1 });
    expect(silent.enrollmentError).toContain('openTimeout');
    await expectCode(
      silent.jobs(() => record.performAsync('late')),
      'ENROLLMENT_TIMED_OUT',
    );
    expect(await slow.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
  });

  test('that is cancelled takes no more jobs, and what was added is cancelled', async () => {
    const batch = await openEnded();
    const refused = await codeOf(
      batch.jobs(async () => {
        await gated.pass.performAsync('cancelled');
        await gate('cancelled').arrivals(1);
        await batch.cancel({ gracePeriod: '500ms' });
        await record.performAsync('late');
      }),
    );
    expect(refused).toBe('BATCH_CANCELLED');
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'cancelled',
      total: 1,
      cancelled: 1,
    });
    await expectCode(
      batch.jobs(() => record.performAsync('late')),
      'BATCH_CANCELLED',
    );
    await expectCode(batch.seal(), 'BATCH_CANCELLED');
    gate('cancelled').open();
  });

  test('is sealed by hand only, and no other batch is', async () => {
    const { batch } = await runBatch(world, () => record.performAsync(1));
    await expectCode(batch.seal(), 'INVALID_OPTION');
    await expect(world.batches.create({ description: 'd', autoSeal: 'no' as never })).rejects.toMatchObject({
      option: 'autoSeal',
    });
  });

  test('takes jobs and is sealed while no worker is up, once its block is open', async () => {
    await using apart = await createWorld();
    const worker = await apart.startWorker();
    const batch = await createBatch(apart, { autoSeal: false });
    await batch.jobs(async () => {
      await apart.fixtures.jobs.record.performAsync('before');
      await worker.stop();
      await apart.fixtures.jobs.record.performAsync('without a worker');
    });
    expect(await batch.seal()).toEqual({ total: 2 });
    await apart.startWorker();
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
  });
});
