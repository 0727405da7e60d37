import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { selectBlock } from '../../src/database/batches.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import { BatchClient, defineJob } from '../../src/index.ts';
import type { BatchState } from '../../workflows/batch-state.ts';
import { createBatch, expectConsistent, firedCallbacks, openBlock, runBatch } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE, SLOWNESS } from '../support/patience.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let record: World['fixtures']['jobs']['record'];
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  ({ record } = world.fixtures.jobs);
});
afterAll(() => world[Symbol.asyncDispose]());

const valuesOf = async (batchId: string) =>
  (await world.ledger.of(batchId, 'job'))
    .map(({ detail }) => detail)
    .toSorted((a, b) => (String(a) < String(b) ? -1 : 1));

test('two blocks at once, with interleaved awaits, each enrol their own jobs', async () => {
  const [first, second] = [await createBatch(world), await createBatch(world)];
  const block = (name: string) => async () => {
    for (let i = 0; i < 20; i++) {
      // The pauses interleave the blocks.
      await delay(Math.random() * 5);
      await record.performAsync(`${name}${i}`);
    }
  };
  await Promise.all([first.jobs(block('a')), second.jobs(block('b'))]);
  await Promise.all([first.wait({ timeout: PATIENCE }), second.wait({ timeout: PATIENCE })]);
  const expected = (name: string) => Array.from({ length: 20 }, (_, i) => `${name}${i}`).sort();
  expect(await valuesOf(first.id)).toEqual(expected('a'));
  expect(await valuesOf(second.id)).toEqual(expected('b'));
});

test('what other code of the process starts meanwhile is not enrolled', async () => {
  const batch = await createBatch(world);
  let startOutside!: () => void;
  const outside = new Promise<void>((resolve) => (startOutside = resolve)).then(() =>
    record.performAsync('outside'),
  );
  const { total } = await batch.jobs(async () => {
    await record.performAsync('inside');
    startOutside();
    expect(await outside).not.toContain(batch.id);
  });
  expect(total).toBe(1);
  await batch.wait({ timeout: PATIENCE });
  expect(await valuesOf(batch.id)).toEqual(['inside']);
});

test('starts after timers, in for await and in Promise.all are enrolled', async () => {
  async function* source() {
    for (let i = 0; i < 3; i++) {
      // Each value comes from a timer, as from a cursor.
      await delay(2);
      yield i;
    }
  }
  const { batch, progress } = await runBatch(world, async () => {
    await new Promise<void>((resolve, reject) => {
      setTimeout(() => void record.performAsync('timer').then(() => resolve(), reject), 5);
    });
    for await (const i of source()) await record.performAsync(`source${i}`);
    await Promise.all([1, 2, 3].map((i) => record.performAsync(`all${i}`)));
  });
  expect(progress.total).toBe(7);
  expect(await valuesOf(batch.id)).toEqual([
    'all1',
    'all2',
    'all3',
    'source0',
    'source1',
    'source2',
    'timer',
  ]);
});

test('a start that is not awaited is enrolled all the same', async () => {
  const { progress } = await runBatch(world, () => {
    for (let i = 0; i < 2_500; i++) void world.fixtures.jobs.noop.performAsync(i);
  });
  expect(progress.complete).toBe(2_500);
});

test('work that outlives the block is refused, and not enrolled in silence', async () => {
  const batch = await createBatch(world);
  let goOn!: () => void;
  let late!: Promise<string>;
  await batch.jobs(async () => {
    await record.performAsync('in time');
    late = new Promise<void>((resolve) => (goOn = resolve)).then(() => record.performAsync('late'));
  });
  goOn();
  await expectCode(late, 'ENROLLMENT_CLOSED');
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 1, complete: 1 });
});

test('jobs that jobs start are not members, also when one process enrols and works', async () => {
  const { progress } = await runBatch(world, (jobs) => jobs.parent.performAsync('p'));
  expect(progress).toMatchObject({ total: 1, complete: 1 });
  await eventually(async () => {
    const children = await world.knex.withSchema(world.schema).from('ledger').whereNull('batch_id');
    expect(children.map(({ detail }) => detail)).toContain('child of p');
  });
});

test('a job started outside of any block runs as a plain job, with retries', async () => {
  const jid = await world.fixtures.jobs.failTimes.performAsync('plain', 1);
  await world.client.workflow.result(`job:${jid}`);
  const entries = await world.knex.withSchema(world.schema).from('ledger').where({ jid }).orderBy('id');
  expect(entries.map(({ attempt, batch_id }) => ({ attempt, batch_id }))).toEqual([
    { attempt: 1, batch_id: null },
    { attempt: 2, batch_id: null },
  ]);
});

test("the block's error is rethrown as it was; jobs enrolled until then run, and the batch fails", async () => {
  const batch = await createBatch(world);
  const error = new RangeError('row 3 is broken');
  await expect(
    batch.jobs(async () => {
      await record.performAsync('before');
      throw error;
    }),
  ).rejects.toBe(error);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
    status: 'failed',
    total: 1,
    complete: 1,
    failed: 0,
  });
  expect(batch.enrollmentError).toBe('RangeError: row 3 is broken');
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
});

test.each([
  ['undefined', undefined],
  ['a frozen object', Object.freeze({ reason: 'frozen' })],
  ['text', 'no'],
])('whatever the block throws is rethrown as it was, and the batch fails: %s', async (_what, thrown) => {
  const batch = await createBatch(world);
  const block = batch.jobs(async () => {
    await record.performAsync('before');
    // oxlint-disable-next-line typescript/only-throw-error -- what users do is what is tested
    throw thrown;
  });
  expect(
    await block.then(
      () => 'returned',
      (error: unknown) => [error],
    ),
  ).toEqual([thrown]);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', complete: 1 });
  expect(batch.enrollmentError).toEqual(expect.any(String));
});

test('a block that throws before its first job fails the batch too', async () => {
  const batch = await createBatch(world);
  await expect(batch.jobs(() => Promise.reject(new Error('at once')))).rejects.toThrow('at once');
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 0 });
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
});

test('the context is cleared after the block, on return and on throw', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => record.performAsync('in'));
  expect(await record.performAsync('after return')).not.toContain(batch.id);
  const broken = await createBatch(world);
  await expect(broken.jobs(() => Promise.reject(new Error('x')))).rejects.toThrow('x');
  expect(await record.performAsync('after throw')).not.toContain(broken.id);
});

test('an empty block is refused and leaves nothing behind', async () => {
  const batch = await createBatch(world, { id: `empty-${world.schema}` });
  await expectCode(
    batch.jobs(() => {}),
    'EMPTY_BATCH',
  );
  await expectCode(world.batches.find(batch.id), 'BATCH_NOT_FOUND');
  const tables = { batches: 'id', batch_jobs: 'batch_id', batch_callbacks: 'batch_id' };
  for (const [table, column] of Object.entries(tables)) {
    expect(await world.knex.withSchema(world.schema).from(table).where(column, batch.id)).toEqual([]);
  }
  await eventually(async () => {
    const { status } = await world.client.workflow.getHandle(`batch:${batch.id}`).describe();
    expect(status.name).toBe('COMPLETED');
  });
  expect(await firedCallbacks(world, batch.id)).toEqual([]);
  // The id is free again.
  const again = await world.batches.create({ id: batch.id, description: 'again' });
  await again.jobs(() => record.performAsync(1));
  expect(await again.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
});

test('a second jobs() is refused before its body runs, from another client too', async () => {
  const batch = await createBatch(world);
  await batch.jobs(() => record.performAsync(1));
  let ran = false;
  const body = () => {
    ran = true;
  };
  await expectCode(batch.jobs(body), 'ALREADY_ENROLLED');
  const elsewhere = world.openClient();
  await expectCode((await elsewhere.find(batch.id)).jobs(body), 'ALREADY_ENROLLED');
  await elsewhere.close();
  expect(ran).toBe(false);
});

test('of two processes that open the same batch at once, one gets it', async () => {
  const batch = await createBatch(world);
  const elsewhere = world.openClient();
  const other = await elsewhere.find(batch.id);
  const results = await Promise.allSettled([
    batch.jobs(() => record.performAsync('one')),
    other.jobs(() => record.performAsync('two')),
  ]);
  await elsewhere.close();
  expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(results.find(({ status }) => status === 'rejected')).toMatchObject({
    reason: { code: 'ALREADY_ENROLLED' },
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ total: 1 });
});

test('a nested block is refused, and the outer one goes on', async () => {
  const [outer, inner] = [await createBatch(world), await createBatch(world)];
  await outer.jobs(async () => {
    await record.performAsync(1);
    await expectCode(
      inner.jobs(() => record.performAsync('inner')),
      'NESTED_ENROLLMENT',
    );
    await expectCode(
      outer.jobs(() => record.performAsync('itself')),
      'NESTED_ENROLLMENT',
    );
    await record.performAsync(2);
  });
  expect(await outer.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
  await inner.jobs(() => record.performAsync('inner, later'));
  expect(await inner.wait({ timeout: PATIENCE })).toMatchObject({ total: 1 });
});

test('jobs run while the block is open, and the batch is not over before it closes', async () => {
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    await record.performAsync('early');
    await eventually(async () => expect(await valuesOf(batch.id)).toEqual(['early']));
    await eventually(async () =>
      expect(await batch.progress()).toMatchObject({ complete: 1, status: 'pending' }),
    );
    expect(await firedCallbacks(world, batch.id)).toEqual([]);
    await record.performAsync('later');
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
});

test('every job has its row when jobs() resolves, and no job starts before its row exists', async () => {
  const batch = await createBatch(world);
  const jids: string[] = [];
  await batch.jobs(async () => {
    for (let i = 0; i < 1_500; i++) jids.push(await record.performAsync(i));
  });
  const rows = await world.knex
    .withSchema(world.schema)
    .from('batch_jobs')
    .where({ batch_id: batch.id })
    .pluck('jid');
  expect(rows.sort()).toEqual(jids.sort());
  await batch.wait({ timeout: PATIENCE });
  const early = await world.knex.raw(
    `select count(*)::int as n from :schema:.ledger l join :schema:.batch_jobs j using (jid) where l.at < j.created_at`,
    { schema: world.schema },
  );
  expect(early.rows[0].n).toBe(0);
});

test('performBulk enrols every argument list and returns the jids in order', async () => {
  const batch = await createBatch(world);
  let jids: string[] = [];
  await batch.jobs(async () => {
    jids = await record.performBulk([['x'], ['y'], ['z']]);
  });
  expect(jids).toEqual([1, 2, 3].map((position) => `${batch.id}/${position}`));
  await batch.wait({ timeout: PATIENCE });
  expect((await batch.completedJobs()).map(({ args }) => args)).toEqual([['x'], ['y'], ['z']]);
});

test('a batch whose enqueuer falls silent closes itself and ends failed', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: '1s' });
  // Another enqueuer claims the block and is never heard again, as if its process had died.
  await openBlock(world, batch.id);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 0 });
  expect(batch.enrollmentError).toContain('enrollmentTimeout');
  expect(await firedCallbacks(world, batch.id)).toEqual(['OnFailure', 'OnSettled']);
});

test('rows that a dead enqueuer wrote and never announced are removed; those announced run', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: 2_000 * SLOWNESS });
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  const token = await openBlock(world, batch.id);
  const rows = [1, 2, 3, 4].map((i) => ['Record', JSON.stringify([i]), null, null, null] as const);
  expect(await insertJobs(world.batches.database, batch.id, 1, rows, token)).toBe(true);
  await handle.signal('enrolled', { token, upTo: 2, queues: [] });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 2, complete: 2 });
  expect(await valuesOf(batch.id)).toEqual([1, 2]);
  await expectConsistent(world, batch);
  // Too late: the batch is closed, and nothing is written.
  expect(await insertJobs(world.batches.database, batch.id, 5, rows, token)).toBe(false);
});

test('an enqueuer that is slow but alive is not closed', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: 1_000 * SLOWNESS });
  await batch.jobs(async () => {
    await record.performAsync('first');
    // The scenario itself: three times enrollmentTimeout without a job.
    await delay(3_000 * SLOWNESS);
    await record.performAsync('last');
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
});

test('a batch whose block is never opened ends failed after openTimeout', async () => {
  const batch = await createBatch(world, { openTimeout: 3_000 * SLOWNESS });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 0 });
  await expectCode(
    batch.jobs(() => record.performAsync(1)),
    'ENROLLMENT_TIMED_OUT',
  );
});

test('a batch finds the block of a process that died before it was heard, and closes it', async () => {
  const batch = await createBatch(world, { enrollmentTimeout: 2_000 * SLOWNESS, openTimeout: '1 hour' });
  const token = await openBlock(world, batch.id, { isHeard: false });
  const row = ['Record', '[1]', null, null, null] as const;
  expect(await insertJobs(world.batches.database, batch.id, 1, [row], token)).toBe(true);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', total: 0 });
  expect(batch.enrollmentError).toContain('enrollmentTimeout');
  await expectConsistent(world, batch);
});

test('a block that is still open soon tells its batch, so that its death is noticed in time', async () => {
  const batch = await createBatch(world);
  await batch.jobs(async () => {
    await eventually(async () => {
      const { enrollment } = await world.client.workflow
        .getHandle(`batch:${batch.id}`)
        .query<BatchState>('state');
      expect(enrollment.phase).toBe('open');
    });
    await record.performAsync(1);
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
});

test('a block needs no worker: its jobs run once there is one', async () => {
  await using apart = await createWorld();
  const worker = await apart.startWorker();
  const batch = await createBatch(apart);
  await worker.stop();
  expect(await batch.jobs(() => apart.fixtures.jobs.record.performAsync(1))).toEqual({ total: 1 });
  await apart.startWorker();
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
});

test('enrolling 60,000 jobs from an async iterator keeps few of them in memory', async () => {
  const noop = defineJob('Noop', async (_value: unknown) => {});
  const batch = await createBatch(world);
  async function* source() {
    for (let i = 0; i < 60_000; i++) yield { i, text: 'x'.repeat(1_000) };
  }
  global.gc?.();
  const before = process.memoryUsage().heapUsed;
  let peak = 0;
  await batch.jobs(async () => {
    for await (const value of source()) {
      await noop.performAsync(value);
      if (value.i % 1_000 === 0) peak = Math.max(peak, process.memoryUsage().heapUsed - before);
    }
  });
  // 60 MB of arguments in all; the worker shares this process. Held at once they would take several times as much.
  expect(peak).toBeLessThan(400e6);
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 60_000 });
});

test('a seal whose answer was lost and whose batch has ended meanwhile resolves with the total', async () => {
  const batch = await createBatch(world);
  const { total } = await batch.jobs(async () => {
    await world.fixtures.jobs.record.performAsync(1);
    await eventually(async () => expect((await batch.progress()).total).toBe(1));
    const token = (await selectBlock(world.batches.database, batch.id))!;
    const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
    await handle.executeUpdate('seal', { args: [{ token, upTo: 1, queues: [] }] });
    await handle.result();
  });
  expect(total).toBe(1);
});

test('a job whose row was written while others were being announced runs although the block stays open', async () => {
  await using proxy = await TcpProxy.open(inject('temporalAddress'));
  const connection = await Connection.connect({ address: proxy.address });
  const { knex, schema, taskQueue } = world;
  const client = new Client({ connection });
  const behind = new BatchClient({ client, database: knex, schema, taskQueue });
  const batch = await behind.create({ description: 'A test' });
  const rows = (count: number) =>
    eventually(async () =>
      expect(await knex.withSchema(schema).from('batch_jobs').where('batch_id', batch.id)).toHaveLength(
        count,
      ),
    );
  await batch.jobs(async () => {
    proxy.freeze();
    // As many as are announced at once.
    await record.performBulk(Array.from({ length: 200 }, (_, i) => [i] as const));
    await rows(200);
    await record.performAsync(200);
    await rows(201);
    proxy.thaw();
    await eventually(async () => expect(await valuesOf(batch.id)).toHaveLength(201), 10_000);
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 201 });
  await behind.close();
  await connection.close();
});
