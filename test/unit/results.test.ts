import { describe, expect, test } from 'vitest';
import { inPages, resolveEachResult } from '../../src/client/results.ts';
import { defineJob } from '../../src/index.ts';
import { InvalidResultError, resultJson } from '../../src/jobs/result.ts';

const untyped = (value: unknown) => value as never;
const refused = (option: string) => expect.objectContaining({ code: 'INVALID_OPTION', option });

describe('pages', () => {
  /** Rows at these positions, and the reads that were made of them. */
  function rowsAt(positions: readonly number[], pageSize: number) {
    const reads: number[] = [];
    const pages = inPages(async (after) => {
      reads.push(after);
      const left = positions.filter((position) => position > after);
      const rows = left.slice(0, pageSize).map((position) => ({ position }));
      return { rows, isLast: left.length < pageSize };
    });
    return { rows: pages, reads };
  }

  async function all(rows: AsyncIterable<{ position: number }>): Promise<number[]> {
    const found: number[] = [];
    for await (const { position } of rows) found.push(position);
    return found;
  }

  test.each([
    ['no row', [], 2, [0]],
    ['fewer rows than a page', [7], 2, [0]],
    ['a page that is full', [3, 9], 2, [0, 9]],
    ['several pages, the last one short', [1, 2, 5, 8, 9], 2, [0, 2, 8]],
    ['pages of one row', [4, 6], 1, [0, 4, 6]],
  ])('of %s begin behind the last position before', async (_what, positions, pageSize, expected) => {
    const { rows, reads } = rowsAt(positions, pageSize);
    expect(await all(rows)).toEqual(positions);
    expect(reads).toEqual(expected);
  });

  test('are read when the one before is used up, and not ahead: a million rows take the memory of one page', async () => {
    let read = 0;
    let used = 0;
    const rows = inPages(async (after) => {
      expect(used).toBe(read);
      const count = Math.min(1_000, 1_000_000 - after);
      read += count;
      const page = Array.from({ length: count }, (_, i) => ({ position: after + i + 1 }));
      return { rows: page, isLast: count === 0 };
    });
    for await (const { position } of rows)
      if (position !== ++used) throw new Error(`${position} after ${used}`);
    expect(used).toBe(1_000_000);
  });

  test('are not read any more when their reader has stopped', async () => {
    const { rows, reads } = rowsAt([1, 2, 3, 4, 5], 2);
    for await (const { position } of rows) if (position === 2) break;
    expect(reads).toEqual([0]);
  });

  test('that cannot be read throw what the database threw', async () => {
    const rows = inPages(async (after) => {
      if (after === 1) throw new Error('away');
      return { rows: [{ position: 1 }], isLast: false };
    });
    await expect(all(rows)).rejects.toThrow('away');
  });
});

describe('the options of eachResult', () => {
  const score = defineJob('Score', async (_id: number) => 1, { storeResult: true });

  test('are pages of 1,000 results of all jobs by default', () => {
    expect(resolveEachResult({}, {})).toEqual({ pageSize: 1_000 });
    expect(resolveEachResult({ pageSize: 5, workerClass: 'Score' }, {})).toEqual({
      pageSize: 5,
      workerClass: 'Score',
    });
  });

  test('take the name of a job that is given', () => {
    expect(resolveEachResult(score, {})).toEqual({ pageSize: 1_000, workerClass: 'Score' });
    expect(resolveEachResult(score, { pageSize: 5 })).toEqual({ pageSize: 5, workerClass: 'Score' });
  });

  test.each([
    ['job', defineJob('Other', async () => 1), {}],
    ['options.size', { size: 5 }, {}],
    ['pageSize', { pageSize: 0 }, {}],
    ['pageSize', { pageSize: 1.5 }, {}],
    ['pageSize', score, { pageSize: '5' }],
    ['workerClass', { workerClass: '' }, {}],
    ['options.workerClass', score, { workerClass: 'Other' }],
    ['options', null, {}],
    ['options', score, null],
  ])('refuse %s of %o', (option, first, second) => {
    expect(() => resolveEachResult(untyped(first), untyped(second))).toThrow(refused(option));
  });
});

describe('what a handler returned', () => {
  test.each([null, 0, '', false, [], {}, { a: [1, 'b', null] }])('is kept as JSON: %j', (value) => {
    expect(resultJson(value)).toBe(JSON.stringify(value));
  });

  test('is not kept when it is undefined', () => {
    expect(resultJson(undefined)).toBeUndefined();
  });

  test('is refused with the place and the reason', () => {
    expect(() => resultJson({ rows: [{ at: new Date(0) }] })).toThrow(InvalidResultError);
    expect(() => resultJson({ rows: [{ at: new Date(0) }] })).toThrow(
      /^The handler has run, but result\.rows\[0\]\.at is an instance of Date/,
    );
    expect(() => resultJson('x'.repeat(70_000))).toThrow(/result holds 70002 bytes of JSON; at most 65536/);
  });

  test('is refused when reading it throws, whatever it throws', () => {
    const value = {
      get score(): number {
        // oxlint-disable-next-line typescript/only-throw-error -- what users do is what is tested
        throw 'not yet';
      },
    };
    expect(() => resultJson(value)).toThrow(InvalidResultError);
    expect(() => resultJson(value)).toThrow('The handler has run, but not yet');
  });
});
