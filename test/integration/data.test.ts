import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { currentJob, defineCallback, defineJob, type CallbackContext } from '../../src/index.ts';
import { MAX_JSON_BYTES } from '../../src/json-value.ts';
import { expectCode } from '../support/codes.ts';
import { nested, randomObject, randomValue, textOf } from '../support/json-values.ts';
import { PATIENCE } from '../support/patience.ts';
import { forSeeds, randomFrom } from '../support/random.ts';
import { inRounds } from '../support/rounds.ts';
import { createWorld, type World } from '../support/world.ts';

/** What handlers got, by jid, and what callbacks read, by batch id: in memory, so that nothing comes between. */
const received = new Map<string, unknown[]>();
const read = new Map<string, unknown>();
const keep = (...args: unknown[]) => void received.set(currentJob().jid, args);
const keepContext = async (batchId: string, { batches }: CallbackContext) => {
  read.set(batchId, (await batches.find(batchId)).context);
};
const receive = defineJob('Receive', keep);
const readContext = defineCallback('ReadContext', keepContext);

/** The longest names, of characters of three bytes. */
const longName = '長'.repeat(200);
const longNamedJob = defineJob(longName, keep);
const longNamedCallback = defineCallback(longName, keepContext, { taskQueue: longName });

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [receive, longNamedJob], callbacks: [readContext] });
});
afterAll(() => world[Symbol.asyncDispose]());

test('handlers get, and rows show, arguments exactly as they were given: 1,000 random lists', async () => {
  const lists: unknown[][] = [[], [nested(98)], [[]], [{}], [JSON.parse('{"__proto__":{"polluted":true}}')]];
  await forSeeds(1_000, (random) => {
    lists.push(Array.from({ length: random.int(0, 3) }, () => randomValue(random, 0)));
  });
  const batch = await world.batches.create({ description: 'Random arguments' });
  const jids: string[] = [];
  await batch.jobs(async () => {
    for (const args of lists) jids.push(await receive.performAsync(...args));
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: lists.length, failed: 0 });
  expect(lists.filter((args, i) => !isDeepStrictEqual(received.get(jids[i]!), args))).toEqual([]);
  const rows = await batch.completedJobs();
  expect(lists.filter((args, i) => !isDeepStrictEqual(rows[i]!.args, args))).toEqual([]);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('callbacks read the context exactly as it was given: 30 random objects', async () => {
  await inRounds(30, 6, async (seed) => {
    const random = randomFrom(seed);
    const context = { nested: nested(random.int(0, 98)), ...randomObject(random, 0, 6) };
    const batch = await world.batches.create({ description: 'Random context', context });
    expect(isDeepStrictEqual(batch.context, context), JSON.stringify(context)).toBe(true);
    await batch.on('complete', readContext);
    await batch.jobs(() => receive.performAsync());
    await batch.wait({ timeout: PATIENCE });
    expect(isDeepStrictEqual(read.get(batch.id), context), JSON.stringify(context)).toBe(true);
  });
});

test('arguments of exactly 64 KiB of JSON pass, and of one byte more are refused', async () => {
  const batch = await world.batches.create({ description: 'Large arguments' });
  const jids: string[] = [];
  // The list's own brackets are two bytes.
  const largest = textOf(MAX_JSON_BYTES - 2);
  await batch.jobs(async () => {
    for (let i = 0; i < 40; i++) jids.push(await receive.performAsync(largest));
    await expectCode(receive.performAsync(`${largest}x`), 'INVALID_ARGUMENTS');
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 40 });
  expect(jids.every((jid) => received.get(jid)?.[0] === largest)).toBe(true);
});

test.each([
  ['one text', () => ({ t: textOf(MAX_JSON_BYTES - '{"t":}'.length) })],
  ['many small values', () => ({ list: Array.from({ length: 32_000 }, () => 1) })],
])('a context of up to 64 KiB of JSON passes: %s', async (_what, make) => {
  const context = make();
  const batch = await world.batches.create({ description: 'Large context', context });
  await batch.on('complete', readContext);
  await batch.jobs(() => receive.performAsync());
  await batch.wait({ timeout: PATIENCE });
  expect(read.get(batch.id)).toStrictEqual(context);
});

test('a context that JSON cannot carry, or over 64 KiB, is refused before anything starts', async () => {
  const id = `refused-${world.schema}`;
  const cycle: Record<string, unknown> = {};
  cycle['self'] = cycle;
  const refused = [
    { n: NaN },
    { n: -0 },
    { u: undefined },
    { d: new Date(0) },
    { b: 1n },
    { t: 'a\0' },
    cycle,
  ];
  for (const context of [...refused, { t: 'x'.repeat(MAX_JSON_BYTES) }]) {
    await expectCode(world.batches.create({ id, description: 'd', context }), 'INVALID_ARGUMENTS');
  }
  await expectCode(world.batches.find(id), 'BATCH_NOT_FOUND');
  await expect(world.client.workflow.getHandle(`batch:${id}`).describe()).rejects.toThrow(/not found/);
});

test('batch ids of letters, digits and _ . : - up to 128 characters work, and jids are made of them', async () => {
  const suffix = world.schema;
  const ids = [
    '.',
    '..',
    '-',
    ':',
    '_',
    '0',
    'A:b.c-d_e',
    '__proto__',
    'constructor',
    `x${suffix}`.padEnd(128, 'y'),
  ];
  await Promise.all(
    ids.map(async (id) => {
      const batch = await world.batches.create({ id, description: 'An id' });
      let jid = '';
      await batch.jobs(async () => (jid = await receive.performAsync(id)));
      expect(jid).toBe(`${id}/1`);
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
      expect((await batch.completedJobs()).map((job) => job.jid)).toEqual([jid]);
      expect((await world.batches.find(id)).id).toBe(id);
      expect(received.get(jid)).toEqual([id]);
    }),
  );
});

test.each(['', ' ', 'a b', 'a/b', 'a\n', 'ä', '%', 'x'.repeat(129), 5, null, {}])(
  'the batch id %j is refused by create and find',
  async (id) => {
    await expectCode(world.batches.create({ id: id as string, description: 'd' }), 'INVALID_OPTION');
    await expectCode(world.batches.find(id as string), 'INVALID_OPTION');
  },
);

test.each([
  ['one byte each', 'x', 500],
  ['three bytes each', '語', 500],
  ['four bytes each', '🎉', 250],
])('a description of 500 characters passes: %s', async (_what, character, count) => {
  const description = character.repeat(count);
  const batch = await world.batches.create({ description });
  expect(batch.description).toBe(description);
  await batch.jobs(() => receive.performAsync());
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
});

test('names of jobs, callbacks and task queues of 200 characters pass', async () => {
  await world.startWorker({ taskQueue: longName, jobs: [longNamedJob], callbacks: [longNamedCallback] });
  const batch = await world.batches.create({ description: 'Long names', context: { a: 1 } });
  await batch.on('complete', longNamedCallback);
  await batch.jobs(async () => {
    await longNamedJob.performAsync('here');
    await longNamedJob.set({ taskQueue: longName }).performAsync('there');
  });
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 2 });
  expect([received.get(`${batch.id}/1`), received.get(`${batch.id}/2`)]).toEqual([['here'], ['there']]);
  expect(read.get(batch.id)).toEqual({ a: 1 });
});

test('a context of many small values far below passes: 64 KiB of JSON, and 6 MB when it is indented', async () => {
  let list: unknown = Array.from({ length: 32_000 }, () => 1);
  for (let depth = 0; depth < 98; depth++) list = [list];
  const batch = await world.batches.create({ description: 'Nested context', context: { list } });
  await batch.on('complete', readContext);
  await batch.jobs(() => receive.performAsync(1));
  expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  expect(isDeepStrictEqual(read.get(batch.id), { list })).toBe(true);
});
