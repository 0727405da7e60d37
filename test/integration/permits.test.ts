import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { leasePermits, upsertLimit, type PermitGrant, type PermitWish } from '../../src/database/limits.ts';
import type { Database } from '../../src/database/connect.ts';
import { waitMs } from '../../src/timeouts.ts';
import { Permits } from '../../src/worker/permits.ts';
import { Slots } from '../../src/worker/slots.ts';
import { eventually } from '../support/eventually.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let database: Database;
beforeAll(async () => {
  world = await createWorld();
  database = world.batches.database;
});
afterAll(() => world[Symbol.asyncDispose]());

let limits = 0;
/** A limit of the test's own. @returns its name */
async function limit(options: {
  readonly max?: number;
  readonly perSecond?: number;
  readonly ofKey?: number;
}): Promise<string> {
  const name = `limit ${++limits}`;
  const { max = null, perSecond = null, ofKey = null } = options;
  await upsertLimit(database, {
    name,
    max_concurrent: max,
    per_second: perSecond,
    key_max_concurrent: ofKey,
  });
  return name;
}

function ask(worker: string, ...wishes: (Partial<PermitWish> & { readonly name: string })[]) {
  const whole = wishes.map((wish) => ({
    key: '',
    running: 0,
    waiting: 0,
    permits: 0,
    starts: wish.waiting ?? 0,
    ...wish,
  }));
  return leasePermits(database, worker, whole);
}

async function permitsFor(
  worker: string,
  wish: Partial<PermitWish> & { readonly name: string },
): Promise<number | null> {
  const [grant] = (await ask(worker, wish)) as [PermitGrant];
  return grant.permits;
}

test('no more permits are out than there are, however many workers ask', async () => {
  const name = await limit({ max: 5 });
  expect(await permitsFor('one', { name, waiting: 3 })).toBe(3);
  expect(await permitsFor('two', { name, waiting: 30 })).toBe(2);
  expect(await permitsFor('three', { name, waiting: 30 })).toBe(0);
});

test('what is taken from a worker is free once it has heard of it', async () => {
  const name = await limit({ max: 4 });
  expect(await permitsFor('one', { name, waiting: 10 })).toBe(4);
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(0);
  // Two of its four are to go. It may have started jobs while it asked.
  expect(await permitsFor('one', { name, running: 2, waiting: 8, permits: 4 })).toBe(2);
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(0);
  expect(await permitsFor('one', { name, running: 2, waiting: 8, permits: 2 })).toBe(2);
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(2);
});

test('jobs that run keep their permits until they have ended', async () => {
  const name = await limit({ max: 4 });
  expect(await permitsFor('one', { name, waiting: 10 })).toBe(4);
  await permitsFor('two', { name, waiting: 10 });
  expect(await permitsFor('one', { name, running: 4, waiting: 6, permits: 4 })).toBe(2);
  expect(await permitsFor('one', { name, running: 4, waiting: 6, permits: 2 })).toBe(2);
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(0);
  expect(await permitsFor('one', { name, running: 1, waiting: 9, permits: 2 })).toBe(2);
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(2);
});

test('permits are free when their lease is over, and stay so where their worker wakes up', async () => {
  const name = await limit({ max: 4 });
  expect(await permitsFor('frozen', { name, waiting: 10 })).toBe(4);
  await world.knex
    .withSchema(world.schema)
    .from('limit_permits')
    .where({ name })
    .update({ expires_at: world.knex.raw(`now() - interval '1 ms'`) });
  expect(await permitsFor('two', { name, waiting: 10 })).toBe(4);
  expect(await permitsFor('frozen', { name, waiting: 10, permits: 4 })).toBe(0);
});

test('keys get even parts, and none more than a key may have', async () => {
  const name = await limit({ max: 10, ofKey: 4 });
  const grants = await ask(
    'one',
    { name, key: 'a', waiting: 100 },
    { name, key: 'b', waiting: 1 },
    { name, key: 'c', waiting: 100 },
    { name, waiting: 100 },
  );
  expect(Object.fromEntries(grants.map(({ key, permits }) => [key, permits]))).toEqual({
    a: 3,
    b: 1,
    c: 3,
    '': 3,
  });
  expect(await permitsFor('two', { name, key: 'a', waiting: 100 })).toBe(0);
});

test('starts are reserved one behind the other over all workers, a second of them at most ahead', async () => {
  const name = await limit({ perSecond: 100 });
  const grants = [];
  for (const worker of ['one', 'two', 'one', 'two', 'one'])
    grants.push(...(await ask(worker, { name, waiting: 1_000 })));
  const starts = grants.flatMap((grant) => grant.starts ?? []);
  expect(starts).toEqual(starts.toSorted((a, b) => a - b));
  const pauses = starts.slice(1).map((start, i) => start - starts[i]!);
  expect(Math.min(...pauses)).toBeGreaterThanOrEqual(10.14);
  const ahead = starts.at(-1)! - grants.at(-1)!.clock;
  expect(ahead).toBeLessThanOrEqual(1.5 * waitMs('permitPoll'));
  expect(grants.every(({ permits }) => permits === null)).toBe(true);
});

test('a limit that is set again, the same or with another rate, takes no start that is reserved', async () => {
  const name = await limit({ perSecond: 10 });
  const [first] = await ask('one', { name, waiting: 100 });
  const again = async (perSecond: number) => {
    await world.batches.limits.set(name, { perSecond });
    const [grant] = await ask('two', { name, waiting: 100 });
    return grant!.starts ?? [];
  };
  const last = first!.starts!.at(-1)!;
  for (const start of [...(await again(10)), ...(await again(1_000))]) expect(start).toBeGreaterThan(last);
});

test('a limit that is not there says nothing, beside one that is', async () => {
  const name = await limit({ max: 1 });
  const grants = await ask('one', { name: 'never set', waiting: 1 }, { name, waiting: 1 });
  expect(grants.map((grant) => grant.name)).toEqual([name]);
});

test('a worker that cannot renew its permits says so once a minute, and goes on trying', async () => {
  const errors: unknown[] = [];
  const permits = new Permits({
    database: { ...database, schema: 'nowhere' },
    slots: new Slots(1),
    maxJobs: 1,
    onError: (error) => errors.push(error),
  });
  const leave = permits.group({ name: 'any', key: '' }).join(() => 1);
  await eventually(() => expect(String(errors[0])).toContain('nowhere'));
  await delay(3 * waitMs('permitPoll'));
  leave();
  await permits.close();
  expect(errors).toHaveLength(1);
});

test('the view shows what is used, and nothing of workers that are gone', async () => {
  const name = await limit({ max: 3 });
  await ask('one', { name, key: 'a', waiting: 5 });
  await ask('one', { name, key: 'a', running: 2, waiting: 3, permits: 3 });
  const view = () => world.batches.limits.get(name);
  expect(await view()).toMatchObject({ maxConcurrent: 3, running: 2, permitsOut: 3, waiting: 3 });
  await ask('one', { name, key: 'a' });
  expect(await view()).toMatchObject({ running: 0, permitsOut: 0, waiting: 0 });
});
