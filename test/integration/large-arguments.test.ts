import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { currentJob, defineJob, type Batch } from '../../src/index.ts';
import { MAX_JSON_BYTES } from '../../src/json-value.ts';
import { expectConsistent } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const KIB = 1024;
const TEXT = 'x'.repeat(48 * KIB);

/** Sizes of the arguments that handlers got, by jid. */
const got = new Map<string, number>();
const sizeOf = defineJob(
  'SizeOf',
  async (text: string, failures: number) => {
    const { jid, attempt } = currentJob();
    if (attempt <= failures) throw new RangeError(text);
    got.set(jid, text.length);
    return { text };
  },
  { storeResult: true, retry: { initialInterval: '50ms', maximumAttempts: 3 } },
);
let letGo: () => void;
const held = defineJob('Held', (_text: string) => new Promise<void>((resolve) => (letGo = resolve)));

let world: World;
let statements: { sql: string; bindings: unknown[] }[] = [];
beforeAll(async () => {
  world = await createWorld();
  world.knex.on('query', (query: { sql: string; bindings: unknown[] }) => statements.push(query));
  // The least that there may be: almost each job waits for the memory of another one.
  await world.startWorker({ jobs: [sizeOf, held], maxLoadedBytes: MAX_JSON_BYTES, maxConcurrentJobs: 3 });
});
afterAll(() => world[Symbol.asyncDispose]());

async function start(block: () => unknown, options = {}): Promise<Batch> {
  const batch = await world.batches.create({ description: 'Large', ...options });
  await batch.jobs(block);
  return batch;
}

describe('a worker whose bound for arguments is small', () => {
  test('runs all jobs of several batches, large and small, with retries, limits and results', async () => {
    const sizes = [10, 3_000, 60_000, 1, 20_000, 65_000, 100, 100, 40_000, 5_000];
    const batches = await Promise.all(
      [{}, { maxConcurrentJobs: 2 }, { perSecond: 50 }, {}, {}].map((options) =>
        start(async () => {
          for (let i = 0; i < 30; i++)
            await sizeOf.performAsync('x'.repeat(sizes[i % sizes.length]!), i % 7 === 0 ? 1 : 0);
        }, options),
      ),
    );
    for (const batch of batches) {
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ complete: 30, failed: 0 });
      const jobs = await batch.completedJobs();
      expect(jobs.map(({ jid }) => got.get(jid))).toEqual(jobs.map(({ args }) => String(args[0]).length));
      await expectConsistent(world, batch);
    }
  });

  test('gives back the jobs of a batch that is cancelled while they wait for memory', async () => {
    const holder = await start(() => held.performAsync('x'.repeat(60_000)));
    await eventually(() => expect(letGo).toBeDefined());
    const waiting = await start(async () => {
      for (let i = 0; i < 20; i++) await sizeOf.performAsync(TEXT, 0);
    });
    await waiting.cancel();
    expect(await waiting.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled', cancelled: 20 });
    letGo();
    expect(await holder.wait({ timeout: PATIENCE })).toMatchObject({ complete: 1 });
  });
});

test('results are read in pages of 4 MiB, however many they are to hold', async () => {
  const batch = await start(async () => {
    for (let i = 0; i < 130; i++) await sizeOf.performAsync(TEXT, 0);
    for (let i = 0; i < 20; i++) await sizeOf.performAsync('small', 0);
  });
  await batch.wait({ timeout: PATIENCE });
  statements = [];
  const positions: number[] = [];
  for await (const { position, args, result } of batch.eachResult(sizeOf)) {
    expect(result.text).toBe(args[0]);
    positions.push(position);
  }
  expect(positions).toEqual(Array.from({ length: 150 }, (_, i) => i + 1));
  const pages = statements.filter(({ sql }) => sql.includes('"result" is not null'));
  // Each result of 48 KiB comes with arguments of as much.
  expect(pages).toHaveLength(Math.ceil((130 * 96) / (4 * 1024)));
});

test('an enqueuer holds 8 MiB of jobs on their way, however many add jobs at once', async () => {
  const loops = 60;
  let enrolled = 0;
  let inserted = 0;
  let most = 0;
  const onResponse = (_response: unknown, { sql, bindings }: { sql: string; bindings: unknown[] }) => {
    if (!sql.includes('inserted as')) return;
    const json = bindings.find((value) => typeof value === 'string' && value.startsWith('[['));
    inserted += (JSON.parse(json as string) as unknown[]).length;
  };
  world.knex.on('query-response', onResponse);
  // None ends the batch before it is cancelled.
  const notYet = sizeOf.set({ startDelay: '1 hour' });
  const batch = await start(() =>
    Promise.all(
      Array.from({ length: loops }, async () => {
        for (let i = 0; i < 20; i++) {
          await notYet.performAsync(TEXT, 0);
          enrolled++;
          most = Math.max(most, enrolled - inserted);
        }
      }),
    ),
  );
  world.knex.removeListener('query-response', onResponse);
  expect(inserted).toBe(loops * 20);
  expect(most).toBeLessThan((9 * 1024) / 48 + loops);
  await batch.cancel();
  await batch.wait({ timeout: PATIENCE });
});
