import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import * as main from '../../src/index.ts';
import { exportedNames, membersOf, type Member } from '../support/api-docs.ts';

// docs/reference.md says what the code says. Its tables stand between `<!-- table: Name -->` and `<!-- end -->`, and are
// made from the comments of that interface or class. After a change of these:
//
//     npx vitest run --project unit test/unit/reference.test.ts --update
const file = fileURLToPath(new URL('../../docs/reference.md', import.meta.url));
const page = readFileSync(file, 'utf8');

const TABLE = /<!-- table: (\w+) -->\n[^]*?<!-- end -->/g;

const code = (text: string) => `\`${text.replaceAll('|', String.raw`\|`)}\``;

/** Text of a comment, for a cell. */
const prose = (text: string) => text.replaceAll('|', String.raw`\|`);

function defaultOf({ isOptional, defaultValue }: Member): string {
  if (!isOptional) return 'required';
  if (defaultValue === undefined) return '';
  const isLiteral = /^('[^']*'|\d+|null|true|false|\[[^[\]]*\]|\{[^{}]*\})$/.test(defaultValue);
  return isLiteral ? code(defaultValue) : prose(defaultValue);
}

function tableOf(name: string): string {
  const members = membersOf(name);
  if (!members) throw new Error(`docs/reference.md has a table of ${name}, which is no interface or class.`);
  const hasDefaults = members.some(({ isOptional }) => isOptional);
  const rows = members.map((member) => [
    code(member.name),
    code(member.type),
    ...(hasDefaults ? [defaultOf(member)] : []),
    prose(member.meaning),
  ]);
  const head = ['name', 'type', ...(hasDefaults ? ['default'] : []), 'meaning'];
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}

test('has the tables that the comments in the code make', async () => {
  const made = page.replaceAll(
    TABLE,
    // Columns of such length are not padded: one changed word would change each line.
    (_, name: string) =>
      `<!-- table: ${name} -->\n\n<!-- prettier-ignore -->\n${tableOf(name)}\n\n<!-- end -->`,
  );
  await expect(made).toMatchFileSnapshot(file);
});

const tables = new Set([...page.matchAll(TABLE)].map(([, name]) => name));

test('has a table for every interface and class that the package exports, but for errors', () => {
  const shapes = exportedNames()
    .map(({ name }) => name)
    .filter((name) => membersOf(name) !== undefined && !name.endsWith('Error'));
  expect(shapes).toContain('BatchOptions');
  expect(shapes).toContain('Batch');
  expect(shapes.filter((name) => !tables.has(name))).toEqual([]);
});

test('names every function and class that the package exports', () => {
  const values = exportedNames().flatMap(({ name, isType }) => (isType ? [] : [name]));
  expect(values).toEqual(
    expect.arrayContaining(['defineJob', 'createBatchWorker', 'startDevServers', 'executeBatch']),
  );
  expect(values.filter((name) => !new RegExp(`\`(?:new )?${name}\\b`).test(page))).toEqual([]);
});

test('says of every option what it means', () => {
  const silent = [...tables].flatMap((name) =>
    membersOf(name!)!.filter(({ isOptional, meaning }) => isOptional && meaning === ''),
  );
  expect(silent).toEqual([]);
});

describe('the tables', () => {
  test('have every member: options, getters, methods, those that are declared over several lines', () => {
    const names = (name: string) => membersOf(name)?.map((member) => member.name);
    expect(names('BatchPolicyOptions')).toEqual([
      'afterDeadline',
      'afterFailure',
      'alertAfterIdle',
      'deadline',
      'failWhen',
      'failWhenFailed',
      'jobLimits',
    ]);
    expect(names('Batch')).toEqual(
      expect.arrayContaining(['id', 'status', 'on', 'jobs', 'eachResult', 'wait']),
    );
    expect(names('Batch')?.filter((name) => name === 'eachResult')).toHaveLength(1);
    expect(names('BatchClient')).not.toContain('createResolved');
    expect(names('NoSuchInterface')).toBeUndefined();
  });
});

describe('errors', () => {
  const source = readFileSync(new URL('../../src/errors.ts', import.meta.url), 'utf8');
  const union = /export type BatchErrorCode =([^;]*);/.exec(source)![1]!;
  const codes = [...union.matchAll(/'(\w+)'/g)].map(([, name]) => name!);
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` +\| `(\w+)` +\|([^|]*)\|([^|]*)\|$/gm)];

  test('has a row for every error code, with what to do', () => {
    expect(rows.map(([, name]) => name)).toEqual(codes);
    expect(rows.filter(([, , , meaning, advice]) => !meaning!.trim() || !advice!.trim())).toEqual([]);
  });

  test('names every class of errors, each beside its codes', () => {
    const classes = Object.keys(main).filter((name) => name.endsWith('Error'));
    expect(new Set(rows.map(([, , name]) => name))).toEqual(new Set(classes));
    // ALREADY_ENROLLED belongs to AlreadyEnrolledError, NO_CLIENT to BatchError.
    for (const [, name, className] of rows) {
      const own = `${name!.toLowerCase().replaceAll(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase())}Error`;
      expect(className, name).toBe(classes.includes(own) ? own : 'BatchError');
    }
  });
});
