import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AttemptLog, createActivities, SteeringWatch, UnknownNames } from '../../activities/index.ts';
import { Outbox } from '../../activities/outbox.ts';
import { FLUSH_LENGTH, MAX_WAITING_LENGTH } from '../../activities/outbox-limits.ts';
import { insertBatch, markSealed } from '../../src/database/batches.ts';
import { markComplete, markFailures } from '../../src/database/chunks.ts';
import { insertJobs } from '../../src/database/enroll.ts';
import { currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { MAX_JSON_BYTES } from '../../src/json-value.ts';
import { ByteBudget } from '../../src/worker/byte-budget.ts';
import { Permits } from '../../src/worker/permits.ts';
import { Slots } from '../../src/worker/slots.ts';
import { expectConsistent } from '../support/batches.ts';
import { createGates } from '../support/gates.ts';
import { nested, randomValue, textOf } from '../support/json-values.ts';
import { PATIENCE } from '../support/patience.ts';
import { forSeeds } from '../support/random.ts';
import { SETTINGS } from '../support/facts.ts';
import { createWorld, type World } from '../support/world.ts';

/** What handlers return, by the key that their job is given: in memory, so that nothing comes between. */
const returned = new Map<number, unknown>();
const valueOf = (key: number) => returned.get(key);
const storing = { storeResult: true, retry: { initialInterval: '50ms', maximumAttempts: 3 } } as const;

const give = defineJob('Give', async (key: number) => valueOf(key), storing);
const giveAtOnce = defineJob('GiveAtOnce', valueOf, storing);
const giveUnstored = defineJob('GiveUnstored', async (key: number) => valueOf(key));
const attempts = new Map<string, number>();
const giveLate = defineJob(
  'GiveLate',
  async (failures: number) => {
    const { attempt, jid } = currentJob();
    attempts.set(jid, attempt);
    if (attempt <= failures) throw new RangeError(`attempt ${attempt}`);
    return { attempt };
  },
  storing,
);
const square = defineJob('Square', async (n: number) => ({ square: n * n }), storing);
const failing = defineJob(
  'Failing',
  async (): Promise<string> => {
    throw ApplicationFailure.nonRetryable('no result');
  },
  storing,
);

/** What callbacks read, by batch id. */
const read = new Map<string, { count: number; sum: number; isInOrder: boolean }>();
const sumUp = defineCallback('SumUp', async (batchId, { batches }) => {
  const batch = await batches.find(batchId);
  const found = { count: 0, sum: 0, isInOrder: true };
  for await (const { position, args, result } of batch.eachResult(square, { pageSize: 3_000 })) {
    found.count++;
    found.sum += result.square;
    found.isInOrder &&= position === found.count && result.square === args[0] ** 2;
  }
  read.set(batchId, found);
});

let world: World;
/** Statements that were sent to the database by this process. */
let statements: { sql: string; bindings: unknown[] }[] = [];
beforeAll(async () => {
  world = await createWorld();
  world.knex.on('query', (query: { sql: string; bindings: unknown[] }) => statements.push(query));
  await world.startWorker({
    jobs: [give, giveAtOnce, giveUnstored, giveLate, square, failing],
    callbacks: [sumUp],
  });
});
afterAll(() => world[Symbol.asyncDispose]());

async function run(block: () => unknown): Promise<Batch> {
  const batch = await world.batches.create({ description: 'Results' });
  await batch.jobs(block);
  await batch.wait({ timeout: PATIENCE });
  return batch;
}

let keys = 0;
function keep(value: unknown): number {
  returned.set(++keys, value);
  return keys;
}

async function resultsOf(batch: Batch, options = {}): Promise<Map<number, unknown>> {
  const results = new Map<number, unknown>();
  for await (const { position, result } of batch.eachResult(options)) results.set(position, result);
  return results;
}

describe('the result of a job', () => {
  test('is stored exactly as the handler returned it: 1,000 random values, with and without a promise', async () => {
    const values: unknown[] = [null, '', 0, false, [], {}, nested(100), JSON.parse('{"__proto__":{"a":1}}')];
    await forSeeds(1_000, (random) => void values.push(randomValue(random, 0)));
    const batch = await run(async () => {
      for (const [i, value] of values.entries()) await (i % 2 ? give : giveAtOnce).performAsync(keep(value));
    });
    expect(await batch.progress()).toMatchObject({ status: 'complete', complete: values.length });
    const results = await resultsOf(batch);
    expect(results.size).toBe(values.length);
    expect(values.filter((value, i) => !isDeepStrictEqual(results.get(i + 1), value))).toEqual([]);
    const rows = await batch.results();
    expect(values.filter((value, i) => !isDeepStrictEqual(rows[i]!.result, value))).toEqual([]);
    await expectConsistent(world, batch);
  });

  test('is stored only where the definition of the job says so, and otherwise costs no word in any statement', async () => {
    statements = [];
    const without = await run(async () => {
      for (let i = 0; i < 50; i++) await giveUnstored.performAsync(keep({ i }));
    });
    const writes = statements.filter(({ sql }) => /set status = 'complete'/.test(sql));
    expect(writes.length).toBeGreaterThan(0);
    expect(writes.filter(({ sql }) => sql.includes('result'))).toEqual([]);
    expect((await resultsOf(without)).size).toBe(0);

    const mixed = await run(async () => {
      for (let i = 1; i <= 20; i++) await (i % 2 ? give : giveUnstored).performAsync(keep(i));
    });
    expect([...(await resultsOf(mixed))]).toEqual([1, 3, 5, 7, 9, 11, 13, 15, 17, 19].map((i) => [i, i]));
  });

  test('is none for undefined, and null for null', async () => {
    const batch = await run(async () => {
      for (const value of [undefined, null, 1]) await give.performAsync(keep(value));
    });
    expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 3 });
    expect([...(await resultsOf(batch))]).toEqual([
      [2, null],
      [3, 1],
    ]);
    const { rows } = await world.knex.raw(
      'select position, result::text from ??.jobs where batch_id = ? order by position',
      [world.schema, batch.id],
    );
    expect(rows).toEqual([
      { position: 1, result: null },
      { position: 2, result: 'null' },
      { position: 3, result: '1' },
    ]);
  });

  test('of exactly 64 KiB of JSON is stored, and one byte more fails the job for good', async () => {
    const largest = textOf(MAX_JSON_BYTES);
    const batch = await run(async () => {
      await give.performAsync(keep(largest));
      await give.performAsync(keep(`${largest}x`));
    });
    expect(await batch.progress()).toMatchObject({ status: 'failed', complete: 1, failed: 1 });
    expect([...(await resultsOf(batch))]).toEqual([[1, largest]]);
    expect(await batch.failedJobs()).toMatchObject([
      {
        position: 2,
        attempts: 1,
        errorClass: 'InvalidResultError',
        errorMessage: expect.stringMatching(/^The handler has run, but result holds 65537 bytes of JSON/),
      },
    ]);
    await expectConsistent(world, batch);
  });

  test('that JSON cannot carry exactly fails the job for good, after one attempt, and says where', async () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    const refused: [value: unknown, message: string][] = [
      [NaN, 'result is NaN'],
      [{ n: -0 }, 'result.n is -0'],
      [{ at: new Date(0) }, 'result.at is an instance of Date'],
      [[1, undefined], 'result[1] is undefined'],
      [10n, 'result is 10n'],
      [() => 1, 'result is function'],
      [new Map(), 'result is an instance of Map'],
      ['a\0', 'result has a NUL character'],
      [cycle, 'is nested deeper than'],
      [
        Object.defineProperty({}, 'late', { enumerable: true, get: () => BigInt('x') }),
        'Cannot convert x to a BigInt',
      ],
    ];
    const batch = await run(async () => {
      for (const [value] of refused) await give.performAsync(keep(value));
      await giveUnstored.performAsync(keep(NaN));
    });
    expect(await batch.progress()).toMatchObject({ complete: 1, failed: refused.length });
    const failed = await batch.failedJobs();
    expect(failed.map(({ attempts, errorClass }) => [attempts, errorClass])).toEqual(
      refused.map(() => [1, 'InvalidResultError']),
    );
    expect(refused.filter(([, message], i) => !failed[i]!.errorMessage!.includes(message))).toEqual([]);
    expect((await resultsOf(batch)).size).toBe(0);
    await expectConsistent(world, batch);
  });

  test('that is retried is that of the attempt that succeeded, and of a job that failed there is none', async () => {
    const batch = await run(async () => {
      for (const failures of [0, 1, 2, 3]) await giveLate.performAsync(failures);
      await failing.performAsync();
    });
    expect([...(await resultsOf(batch))]).toEqual([1, 2, 3].map((attempt) => [attempt, { attempt }]));
    expect(attempts.get(`${batch.id}/4`)).toBe(3);
    expect(await batch.progress()).toMatchObject({ complete: 3, failed: 2 });
  });

  test('of a plain job is stored nowhere, and may be anything', async () => {
    const jid = await world.batches.startPlainJob(
      { name: 'Give', options: give.options, isOverridden: false },
      [keep(new Map([[1, 10n]]))],
    );
    expect(await world.client.workflow.getHandle(`job:${jid}`).result()).toBeUndefined();
  });
});

describe('results of 64 KiB', () => {
  test('go out in statements of about 1 MiB, and hold up nobody for good', async () => {
    const count = 400;
    const large = textOf(MAX_JSON_BYTES - 10);
    statements = [];
    const batch = await run(async () => {
      for (let i = 0; i < count; i++) await giveAtOnce.performAsync(keep(`${large}${i}`));
    });
    expect(await batch.progress()).toMatchObject({ status: 'complete', complete: count });
    const lengths = statements
      .filter(({ sql }) => sql.includes('result ='))
      .map(({ bindings }) => Math.max(...bindings.map((value) => String(value).length)));
    expect(lengths.length).toBeGreaterThan(1);
    expect(Math.max(...lengths)).toBeLessThan(FLUSH_LENGTH + 100 * count);
    const results = await resultsOf(batch, { pageSize: 30 });
    expect(
      [...results.values()].filter((result, i) => result !== returned.get(keys - count + 1 + i)),
    ).toEqual([]);
    expect(results.size).toBe(count);
    await expectConsistent(world, batch);
  });
});

describe('rows', () => {
  const TOTAL = 300;

  /** Rows of a batch that no workflow knows, so that only the test moves them. */
  async function rowsOnly(): Promise<Batch> {
    const { database } = world.batches;
    const batchId = `rows-${++keys}-${world.schema}`;
    await insertBatch(database, {
      batchId,
      firstExecutionRunId: 'none',
      description: 'Rows',
      context: {},
      parentBatchId: null,
      definition: {},
      callbacks: [],
      settings: SETTINGS,
    });
    const rows = Array.from({ length: TOTAL }, (_, i) => ['Give', `[${i + 1}]`, null, null, null] as const);
    await insertJobs(database, batchId, 1, rows);
    await markSealed(database, { batchId, total: TOTAL, error: null });
    return world.batches.find(batchId);
  }

  const complete = (batch: Batch, positions: readonly number[], result: unknown) =>
    markComplete(
      world.batches.database,
      { batchId: batch.id, round: 1 },
      positions.map((position) => ({
        position,
        startedAt: 0,
        finishedAt: 1,
        result: JSON.stringify(result),
      })),
    );
  const from = (first: number, last: number, step = 1) =>
    Array.from({ length: Math.floor((last - first) / step) + 1 }, (_, i) => first + i * step);

  test('that are written by several executions at once keep the result of the first, and no other changes them', async () => {
    const batch = await rowsOnly();
    const all = from(1, TOTAL);
    // In parts, so that they take turns; one writes no result, and one that the job failed.
    const changed = await Promise.all(
      from(1, TOTAL, 10).flatMap((first) => {
        const part = from(first, first + 9);
        const times = { startedAt: 0, finishedAt: 1 };
        const error = { attempt: 1, retryInMs: null, errorClass: 'Error', errorMessage: 'failed' };
        return [
          complete(batch, part, 'one'),
          complete(batch, part.toReversed(), 'two'),
          complete(batch, part, undefined),
          markFailures(
            world.batches.database,
            { batchId: batch.id, round: 1 },
            part.map((position) => ({ position, ...times, ...error })),
          ).then((written) => written.changed),
        ];
      }),
    );
    expect(changed.reduce((sum, count) => sum + count, 0)).toBe(TOTAL);
    const [one, two] = await Promise.all(
      ['one', 'two'].map((result) => batch.results().whereRaw('result = ?::jsonb', [JSON.stringify(result)])),
    );
    const written = (kind: number) =>
      changed.filter((_, i) => i % 4 === kind).reduce((sum, count) => sum + count, 0);
    expect([one!.length, two!.length]).toEqual([written(0), written(1)]);
    const before = await batch.results();
    for (const late of ['late', undefined]) expect(await complete(batch, all, late)).toBe(0);
    expect(await batch.results()).toEqual(before);
  });

  test('that end behind and ahead of a reader neither repeat a result nor skip one that was there', async () => {
    const batch = await rowsOnly();
    const there = from(10, TOTAL, 10);
    await complete(batch, there, 'there');
    const seen: number[] = [];
    for await (const { position } of batch.eachResult({ pageSize: 7 })) {
      seen.push(position);
      // One that is behind already, and one that is far ahead.
      await complete(batch, [position - 9, Math.min(TOTAL - 1, position + 125)], 'new');
    }
    expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b));
    expect(there.filter((position) => !seen.includes(position))).toEqual([]);
    expect(from(135, TOTAL - 1, 10).filter((position) => !seen.includes(position))).toEqual([]);
    expect(from(1, 120, 10).filter((position) => seen.includes(position))).toEqual([]);
  });

  test('of a chunk that runs twice at once keep the results of the execution that wrote them first', async () => {
    const batch = await rowsOnly();
    const { database } = world.batches;
    const results = new Map<string, number[]>();
    let runs = 0;
    const SLOTS = 30;
    const bothRun = createGates().gate('both run');
    const numbered = defineJob(
      'Give',
      async (key: number) => {
        const run = ++runs;
        const { jid } = currentJob();
        results.set(jid, [...(results.get(jid) ?? []), run]);
        await bothRun.pass();
        await delay((run * 7 + key) % 40);
        return run;
      },
      storing,
    );
    // As of two workers, each with slots of its own.
    const createWorker = () => {
      const slots = new Slots(SLOTS);
      return createActivities({
        batches: world.batches,
        callbacks: new Map(),
        database,
        isDraining: () => false,
        jobs: new Map([['Give', numbered]]),
        permits: new Permits({ database, slots, maxJobs: SLOTS, onError: () => {} }),
        slots,
        bytes: new ByteBudget(64 * 1024 * 1024),
        storesStacks: true,
        attemptLog: new AttemptLog(() => ({ warn: () => {} })),
        steering: new SteeringWatch(database),
        unknownNames: new UnknownNames(world.client, () => 'this worker'),
      });
    };
    const chunk = { runner: '1', chunk: 1, taskQueue: null, careful: false, failUnknown: false };
    const input = {
      ...chunk,
      batchId: batch.id,
      round: 1,
      spans: `1-${TOTAL}`,
      noticeFailures: false,
      steering: 0,
    };
    const once = () => new MockActivityEnvironment().run(() => createWorker().runChunk(input));
    const reports = Promise.all([once(), once()]);
    // More than one of them can hold.
    await bothRun.arrivals(SLOTS + 1);
    bothRun.open();
    expect(await reports).toMatchObject([
      { completed: TOTAL, failed: 0 },
      { completed: TOTAL, failed: 0 },
    ]);
    // Else this test did not see what it is about.
    expect([...results.values()].filter(({ length }) => length === 2)).not.toEqual([]);
    expect(await batch.progress()).toMatchObject({ complete: TOTAL });
    const rows = await batch.results<number>();
    expect(rows).toHaveLength(TOTAL);
    expect(rows.filter(({ jid, result }) => !results.get(jid)!.includes(result))).toEqual([]);
    await once();
    expect(await batch.results()).toEqual(rows);
  });

  test('wait for room while more than 8 MiB of results are on their way, and go on when those are written', async () => {
    const batch = await rowsOnly();
    const result = JSON.stringify('x'.repeat(MAX_JSON_BYTES - 2));
    statements = [];
    const order: string[] = [];
    await new MockActivityEnvironment().run(async () => {
      const outbox = new Outbox(
        world.batches.database,
        { batchId: batch.id, round: 1 },
        { bytes: new ByteBudget(64 * 1024 * 1024), onFailed: async () => {} },
      );
      for (const position of from(1, 200)) {
        outbox.succeeded({ position, startedAt: 0, finishedAt: 1, result });
        const isFull = position > (MAX_WAITING_LENGTH + FLUSH_LENGTH) / MAX_JSON_BYTES;
        if (isFull) outbox.whenRoom(() => order.push('went on'));
        if (!isFull && position < 100) outbox.whenRoom(() => order.push('at once'));
      }
      order.push('all are in');
      await outbox.drain();
      outbox.whenRoom(() => order.push('at once, behind'));
    });
    const waited = order.slice(order.indexOf('all are in') + 1, -1);
    expect(order.filter((what) => what === 'at once')).toHaveLength(99);
    expect(waited.length).toBeGreaterThan(0);
    expect(order.at(-1)).toBe('at once, behind');
    expect(order.filter((what) => what === 'went on')).toHaveLength(waited.length);
    const writes = statements.filter(({ sql }) => sql.includes('result ='));
    expect(writes.length).toBeGreaterThanOrEqual(200 / 16);
    for (const { bindings } of writes)
      expect(Math.max(...bindings.map((value) => String(value).length))).toBeLessThan(FLUSH_LENGTH + 1_000);
    expect((await resultsOf(batch, { pageSize: 50 })).size).toBe(200);
  });
});

describe('a reader', () => {
  test('in a callback gets 20,000 results in order, in pages of one query each', async () => {
    const total = 20_000;
    const batch = await world.batches.create({ description: 'Squares' });
    await batch.on('complete', sumUp);
    statements = [];
    await batch.jobs(async () => {
      for (let n = 1; n <= total; n++) await square.performAsync(n);
    });
    await batch.wait({ timeout: PATIENCE });
    const sum = (total * (total + 1) * (2 * total + 1)) / 6;
    expect(read.get(batch.id)).toEqual({ count: total, sum, isInOrder: true });
    const pages = statements.filter(({ sql }) => /"result" is not null and "position" > /.test(sql));
    expect(pages).toHaveLength(7);
  });

  test('gets the results of one job, of one name, or of all', async () => {
    const batch = await run(async () => {
      for (let i = 1; i <= 12; i++) {
        if (i % 3 === 0) await square.performAsync(i);
        else await give.performAsync(keep(`value ${i}`));
      }
    });
    const squares: number[] = [];
    for await (const { result } of batch.eachResult(square, { pageSize: 2 })) squares.push(result.square);
    expect(squares).toEqual([9, 36, 81, 144]);
    expect([...(await resultsOf(batch, { workerClass: 'Give' })).keys()]).toEqual([1, 2, 4, 5, 7, 8, 10, 11]);
    expect((await resultsOf(batch, { workerClass: 'Nobody' })).size).toBe(0);
    expect((await resultsOf(batch)).size).toBe(12);
    for await (const first of batch.eachResult(square)) {
      expect(first).toEqual({
        position: 3,
        jid: `${batch.id}/3`,
        workerClass: 'Square',
        args: [3],
        result: { square: 9 },
      });
      break;
    }
  });

  test('chains on results() as on any Knex query', async () => {
    const batch = await run(async () => {
      for (let i = 1; i <= 10; i++) await square.performAsync(i);
    });
    const query = batch.results<{ square: number }>();
    const best = await query.clone().whereRaw(`(result ->> 'square')::int > 20`).limit(2);
    expect(best.map(({ args, result }) => [args, result])).toEqual([
      [[5], { square: 25 }],
      [[6], { square: 36 }],
    ]);
    expect(await query.clone().clearSelect().clearOrder().count()).toEqual([{ count: '10' }]);
  });

  test('sees no result of another batch, and none of one that has none', async () => {
    const [one, two] = await Promise.all([
      run(() => square.performAsync(1)),
      run(() => square.performAsync(2)),
    ]);
    expect([...(await resultsOf(one))]).toEqual([[1, { square: 1 }]]);
    expect([...(await resultsOf(two))]).toEqual([[1, { square: 4 }]]);
  });
});
