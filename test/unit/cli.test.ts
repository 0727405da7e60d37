import { expect, test } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { DevServerError } from '../../src/dev/index.ts';
import { BatchNotFoundError } from '../../src/errors.ts';

async function run(args: string[], env: NodeJS.ProcessEnv = {}) {
  const output = { stdout: '', stderr: '' };
  const program = buildProgram({
    stdout: { write: (text) => (output.stdout += text) },
    stderr: { write: (text) => (output.stderr += text) },
    env,
  });
  const exitCode = await exitCodeOf(() => program.parseAsync(args, { from: 'user' }), {
    write: (text) => (output.stderr += text),
  });
  return { exitCode, ...output };
}

async function exit(error: unknown) {
  let stderr = '';
  const exitCode = await exitCodeOf(() => Promise.reject(error), { write: (text) => (stderr += text) });
  return { exitCode, stderr };
}

test('prints help on standard output and exits with 0', async () => {
  const { exitCode, stdout, stderr } = await run(['--help']);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toContain('migrate [options]');
  expect(stdout).toContain('dev [options]');
  expect(stdout).toContain('doctor [options] [id]');
  expect(stdout).toContain('prune [options]');
});

test.each(['dev', 'doctor', 'migrate', 'prune'])('shows an example in the help of %s', async (command) => {
  const { exitCode, stdout } = await run([command, '--help']);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(new RegExp(`Example:\n  \\$ batch-jobs ${command}`));
});

test('prints the version of the package', async () => {
  expect(await run(['--version'])).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
  });
});

test.each([
  { args: ['nonsense'], says: "unknown command 'nonsense'" },
  { args: ['migrat'], says: 'Did you mean migrate?' },
  { args: ['migrate', '--nonsense'], says: "unknown option '--nonsense'" },
  { args: ['migrate', '--schema'], says: "option '--schema <name>' argument missing" },
  { args: ['migrate', '--status', '--print-sql'], says: 'cannot be used with option' },
  { args: ['migrate'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['doctor'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['doctor', '--status'], says: "unknown option '--status'" },
  { args: ['doctor', 'one', 'another'], says: 'too many arguments' },
  { args: ['doctor', 'no/id', '--database-url', 'postgres://unused'], says: '[INVALID_OPTION]: id must be' },
  {
    args: ['doctor', '--idle', 'soon', '--database-url', 'postgres://unused'],
    says: '[INVALID_OPTION]: idle must be',
  },
  { args: ['prune'], says: "required option '--older-than <duration>' not specified" },
  {
    args: ['prune', '--yes', '--limit', '5'],
    says: "required option '--older-than <duration>' not specified",
  },
  { args: ['prune', '--older-than', '30d'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['prune', '--older-than', 'soon'], says: '[INVALID_OPTION]: olderThan must be' },
  { args: ['prune', '--older-than', '30d', '--limit', 'few'], says: '[INVALID_OPTION]: limit must be' },
  { args: ['prune', '--older-than', '30d', '--status', 'running'], says: 'Allowed choices are complete' },
  { args: ['prune', '--older-than', '30d', '--schedule', '5s'], says: '[INVALID_OPTION]: every must be' },
  {
    args: ['prune', '--older-than', '30d', '--schedule', '1 day', '--schema', 'elsewhere'],
    says: "cannot be used with option '--schema <name>'",
  },
  { args: ['prune', '--unschedule', '--older-than', '30d'], says: 'cannot be used with option' },
  { args: ['dev', '--temporal-port', '7233x'], says: 'Give a port between 1 and 65535' },
  { args: ['dev', '--ui-port', '65536'], says: 'Give a port between 1 and 65535' },
])('refuses `$args` as a usage error', async ({ args, says }) => {
  const { exitCode, stdout, stderr } = await run(args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toContain(says);
});

test('takes an empty DATABASE_URL as none', async () => {
  expect(await run(['migrate'], { DATABASE_URL: '' })).toMatchObject({ exitCode: 2 });
});

test('reports a schema name that the library refuses as a usage error', async () => {
  const { exitCode, stderr } = await run(['migrate', '--print-sql', '--schema', 'Not Plain']);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error \[INVALID_OPTION\]: schema/);
});

test('prefers --database-url to DATABASE_URL', async () => {
  const env = { DATABASE_URL: 'postgres://127.0.0.1:1/environment' };
  const { exitCode, stderr } = await run(['migrate', '--database-url', 'http://flag'], env);
  expect(exitCode).toBe(2);
  expect(stderr).toContain('http://flag');
});

test('prints the SQL of the migrations for the given schema without a database', async () => {
  const { exitCode, stdout } = await run(['migrate', '--print-sql', '--schema', 'elsewhere']);
  expect(exitCode).toBe(0);
  expect(stdout).toContain('create schema if not exists "elsewhere"');
});

test('prints one line of JSON on request', async () => {
  const { stdout } = await run(['migrate', '--print-sql', '--json']);
  expect(stdout.trimEnd()).not.toContain('\n');
  expect(JSON.parse(stdout)).toEqual({ sql: expect.stringContaining('create table') });
});

test('exits with 1 and names the code when the database does not answer', async () => {
  const { exitCode, stderr } = await run(['migrate', '--database-url', 'postgres://127.0.0.1:1/none']);
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^error \[[A-Z_]+\]: .*127\.0\.0\.1:1/);
});

test('prints the code and message of a library error', async () => {
  const { exitCode, stderr } = await exit(new BatchNotFoundError('b-1'));
  expect(exitCode).toBe(1);
  expect(stderr).toMatch(/^error \[BATCH_NOT_FOUND\]: Batch "b-1" does not exist/);
});

test('prints every error of an aggregate that has no message of its own', async () => {
  const error = new AggregateError([new DevServerError('no Postgres'), new Error('no Temporal')]);
  expect((await exit(error)).stderr).toBe('error [DEV_SERVER]: no Postgres\nerror: no Temporal\n');
});
