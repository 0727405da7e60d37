import { describe, expect, test } from 'vitest';
import { cyclesOver } from '../../src/database/members.ts';
import { currentBatch, currentJob, defineCallback, defineJob, type Batch } from '../../src/index.ts';
import { createInlineBatches, enrolledJobs } from '../../src/testing/index.ts';
import { codeOf } from '../support/codes.ts';

const owners = (edges: Record<string, string[]>) => new Map(Object.entries(edges));

describe('the way from a batch to another that it waits for', () => {
  test('is the shortest, over any number of batches', () => {
    // c waits for d, which waits for a; c waits for b, which waits for d.
    const graph = owners({ a: ['d'], d: ['c', 'b'], b: ['c'] });
    expect(cyclesOver('a', ['c', 'x'], graph)).toEqual(new Map([['c', ['a', 'c', 'd', 'a']]]));
  });

  test('may be no way at all, or that to itself', () => {
    expect(cyclesOver('a', ['a', 'b'], owners({ b: ['a'] }))).toEqual(new Map([['a', ['a', 'a']]]));
    expect(cyclesOver('a', [], owners({ a: ['b'] })).size).toBe(0);
  });

  test('is found once where many ways lead to it', () => {
    const layers = 40;
    const graph = new Map<string, string[]>([['a', ['l0', 'r0']]]);
    for (let i = 0; i < layers; i++) {
      graph.set(`l${i}`, [`l${i + 1}`, `r${i + 1}`]);
      graph.set(`r${i}`, [`l${i + 1}`, `r${i + 1}`]);
    }
    expect(cyclesOver('a', [`r${layers}`], graph).get(`r${layers}`)).toHaveLength(layers + 3);
  });
});

/** Waits for a batch, and keeps what it is refused with. */
const codes: (string | undefined)[] = [];
const waits = defineJob('Waits', async (id: string) => {
  const batch = await currentJob().batches.find(id);
  codes.push(await codeOf(batch.wait({ timeout: '1s' })));
});
const addsOwn = defineJob('AddsOwn', async (id: string) => {
  const batch = await currentJob().batches.find(id);
  codes.push(await codeOf(currentBatch().jobs(() => batch.enrol())));
});
const waitsToo = defineCallback('WaitsToo', async (batchId, { batches }) => {
  codes.push(await codeOf((await batches.find(batchId)).wait()));
});

function setup() {
  codes.length = 0;
  const batches = createInlineBatches({ jobs: [waits, addsOwn] });
  let created = 0;
  const create = () => batches.create({ id: `b${created++}`, description: 'A test' });
  return { batches, create, [Symbol.asyncDispose]: () => batches.close() };
}

const membersOf = async (batch: Batch) => (await enrolledJobs(batch)).map(({ args: [id] }) => id);

describe('batches in memory', () => {
  test('refuse to wait for each other, and name the way', async () => {
    await using world = setup();
    const [a, b, c] = [await world.create(), await world.create(), await world.create()];
    await a.jobs(() => b.enrol());
    await b.jobs(() => c.enrol());
    await expect(c.jobs(() => a.enrol())).rejects.toMatchObject({
      code: 'BATCH_CYCLE',
      path: [c.id, a.id, b.id, c.id],
      message: expect.stringContaining(`"${c.id}" → "${a.id}" → "${b.id}" → "${c.id}"`),
    });
    const own = await world.create();
    await expect(own.jobs(() => own.enrol())).rejects.toMatchObject({ path: [own.id, own.id] });
  });

  test('may be jobs of two others, and are one job of each', async () => {
    await using world = setup();
    const [a, b, c] = [await world.create(), await world.create(), await world.create()];
    await c.jobs(() => waits.performAsync('none'));
    for (const outer of [a, b]) {
      const jids = await new Promise<string[]>((resolve, reject) => {
        outer.jobs(async () => resolve([await c.enrol(), await c.enrol()])).catch(reject);
      });
      expect(new Set(jids).size).toBe(1);
    }
    expect([await membersOf(a), await membersOf(b)]).toEqual([[c.id], [c.id]]);
  });

  test('refuse to be waited for by their own jobs, callbacks and blocks', async () => {
    await using world = setup();
    const [batch, outer] = [await world.create(), await world.create()];
    await batch.on('settled', waitsToo);
    await batch.jobs(async () => {
      expect(await codeOf(batch.wait())).toBe('BATCH_CYCLE');
      await waits.performAsync(batch.id);
      await waits.performAsync(outer.id);
      await addsOwn.performAsync(outer.id);
      await addsOwn.performAsync(batch.id);
    });
    await outer.jobs(() => batch.enrol());
    await world.batches.drain();
    expect(codes).toEqual(Array.from({ length: 5 }, () => 'BATCH_CYCLE'));
    expect(await outer.progress()).toMatchObject({ status: 'complete', complete: 1 });
  });
});
