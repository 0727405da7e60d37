import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { openDatabase } from '../../src/database/connect.ts';
import { passingOf, sqlstateOf, toDatabaseError } from '../../src/database/database-errors.ts';
import { ruleOf, SQLSTATE_RULES } from '../../src/database/sqlstates.ts';
import { parseArray, parseIsoTime } from '../../src/database/values.ts';
import { BatchError } from '../../src/errors.ts';
import { tableRows } from '../support/tables.ts';

const withCode = (code: string, message = 'x') => Object.assign(new Error(message), { code });

describe('the table of docs/contract.md', () => {
  const page = readFileSync(new URL('../../docs/contract.md', import.meta.url), 'utf8');
  const section = page.slice(page.indexOf('### Errors of Postgres'), page.indexOf('## Duplicates and order'));
  const cells = tableRows(section);
  const ACTIONS = { waits: 'wait', retries: 'retry', refuses: 'refuse' } as const;
  const actionIn = (cell: string | undefined) => ACTIONS[cell as keyof typeof ACTIONS];

  test('has every rule of the code, and no other', () => {
    const documented = cells
      .map(([sqlstate, , action]) => [/^`(\w+)`$/.exec(sqlstate!)?.[1], actionIn(action)] as const)
      .filter(([sqlstate]) => sqlstate !== undefined);
    expect(documented).toEqual(SQLSTATE_RULES.map(({ sqlstate, action }) => [sqlstate, action]));
  });

  test('says what becomes of all others, and without an answer', () => {
    const rows = new Map(cells.map(([sqlstate, , action]) => [sqlstate, actionIn(action)]));
    expect(rows.get('others')).toBe(ruleOf('22012').action);
    expect(rows.get('none')).toBe(passingOf(withCode('ECONNREFUSED')));
  });

  test('says of each action what it means for a block, a chunk, a callback and a command', () => {
    const meanings = cells.filter(([action]) => actionIn(action) !== undefined);
    expect(meanings.map(([action]) => actionIn(action))).toEqual(['wait', 'retry', 'refuse']);
    for (const row of meanings) {
      expect(row).toHaveLength(5);
      expect(row.every((cell) => cell.length > 0)).toBe(true);
    }
  });
});

describe('an error of the driver', () => {
  test.each([
    ['53300', 'DATABASE_UNAVAILABLE', /max_connections/],
    ['25006', 'DATABASE_UNAVAILABLE', /read-only/],
    ['57014', 'DATABASE_UNAVAILABLE', /pg_locks/],
    ['28P01', 'DATABASE_REFUSED', /password/],
    ['3D000', 'DATABASE_REFUSED', /database name/],
    ['42501', 'DATABASE_REFUSED', /Grant/],
    ['42P01', 'MIGRATIONS_PENDING', /batch-jobs migrate --schema s/],
    ['23505', 'DATABASE_REFUSED', /cause/],
    ['ECONNREFUSED', 'DATABASE_UNAVAILABLE', /cannot be reached/],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'DATABASE_REFUSED', /certificates/],
  ])('%s becomes %s with the next step, and keeps its cause', (code, expected, says) => {
    const raw = withCode(code, 'what Postgres says');
    const error = toDatabaseError(raw, 's');
    expect(error).toBeInstanceOf(BatchError);
    expect(error).toMatchObject({ code: expected, cause: raw, message: expect.stringMatching(says) });
    expect(error.message).toContain('what Postgres says');
    if (/^\d/.test(code) && expected !== 'MIGRATIONS_PENDING') expect(sqlstateOf(error)).toBe(code);
  });

  test('says what is in it where it has no message of its own', () => {
    const raw = new AggregateError([
      withCode('ECONNREFUSED', 'connect ::1'),
      withCode('ECONNREFUSED', 'connect 127.0.0.1'),
    ]);
    expect(toDatabaseError(raw, 's').message).toContain('connect ::1; connect 127.0.0.1');
  });

  test('keeps its reason when Knex puts the statement before it', () => {
    const raw = withCode('57P03', 'starting up');
    toDatabaseError(raw, 's');
    raw.message = `select $1 - ${raw.message}`;
    expect(toDatabaseError(raw, 's').message).toContain('now: starting up (SQLSTATE 57P03)');
  });

  test('passes as one of the library as long as its cause does', () => {
    expect(passingOf(toDatabaseError(withCode('40P01'), 's'))).toBe('retry');
    expect(passingOf(toDatabaseError(withCode('57P01'), 's'))).toBe('wait');
    expect(passingOf(toDatabaseError(withCode('28P01'), 's'))).toBeUndefined();
  });

  test('is left as it is where it is one of the library', () => {
    const error = new BatchError('EMPTY_BATCH', 'x');
    expect(toDatabaseError(error, 's')).toBe(error);
  });

  test('never has the password of the connection string', async () => {
    const database = openDatabase('postgres://someone:hush-hush@127.0.0.1:1/db');
    const error = await database.knex.raw('select ?::text', ['secret']).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    await database.close();
    expect(error).toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
      message: expect.stringContaining('127.0.0.1:1'),
    });
    for (let each: unknown = error; each instanceof Error; each = each.cause)
      expect(`${each.message} ${JSON.stringify(each)}`).not.toContain('hush-hush');
  });
});

describe('values are read', () => {
  test.each([
    ['2026-11-30 08:00:00.123456+00', '2026-11-30T08:00:00.123Z'],
    ['2026-11-30 13:30:00+05:30', '2026-11-30T08:00:00.000Z'],
    ['2026-11-30 00:00:00.5-03', '2026-11-30T03:00:00.500Z'],
    ['2026-11-30T08:00:00.1+00:00', '2026-11-30T08:00:00.100Z'],
  ])('from the time %s', (text, iso) => {
    expect((parseIsoTime(text) as Date).toISOString()).toBe(iso);
  });

  test.each(['30.11.2026 08:00:00 UTC', '11/30/2026 08:00:00 UTC', 'Mon Nov 30 08:00:00 2026 UTC', 'x'])(
    'not from a time of another style: %s',
    (text) => expect(parseIsoTime(text)).toBeUndefined(),
  );

  test('from an infinite time', () => {
    expect(['infinity', '-infinity'].map(parseIsoTime)).toEqual([Infinity, -Infinity]);
  });

  test.each<[string, (string | null)[]]>([
    ['{}', []],
    ['{a}', ['a']],
    ['{a,"b c",NULL,"NULL",""}', ['a', 'b c', null, 'NULL', '']],
    [String.raw`{"q\"x","back\\slash","{,}"}`, ['q"x', String.raw`back\slash`, '{,}']],
  ])('from the array %s', (text, items) => {
    expect(parseArray(text)).toEqual(items);
  });
});
