import { expect, test } from 'vitest';
import { exitCodeOf } from '../../src/cli/exit-code.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { DevServerError } from '../../src/dev/index.ts';
import { BatchNotFoundError } from '../../src/errors.ts';

const COMMANDS = [
  'cancel',
  'completion',
  'dev',
  'doctor',
  'failed',
  'jobs',
  'limits',
  'list',
  'migrate',
  'pause',
  'prune',
  'resume',
  'retry-failed',
  'status',
  'update',
  'wait',
];
const CHANGING = ['cancel', 'pause', 'resume', 'retry-failed', 'update --per-second 5'];
const UNUSED = ['--database-url', 'postgres://127.0.0.1:1/none'];

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
  expect(stdout).toContain('limits [options] [name]');
  expect(stdout).toContain('prune [options]');
  expect(stdout).not.toContain('__complete');
});

test.each(COMMANDS)('shows an example in the help of %s', async (command) => {
  const { exitCode, stdout } = await run([command, '--help']);
  expect(exitCode).toBe(0);
  expect(stdout).toMatch(new RegExp(`Example:\n  \\$ batch-jobs ${command}`));
  expect(stdout).toContain('Exit code: 0');
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
    says: '[INVALID_OPTION]: --idle must be',
  },
  { args: ['prune'], says: "required option '--older-than <duration>' not specified" },
  {
    args: ['prune', '--yes', '--limit', '5'],
    says: "required option '--older-than <duration>' not specified",
  },
  { args: ['prune', '--older-than', '30d'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['prune', '--older-than', 'soon'], says: '[INVALID_OPTION]: --older-than must be' },
  { args: ['prune', '--older-than', '30d', '--limit', 'few'], says: 'Give a whole number of at least 1' },
  { args: ['prune', '--older-than', '30d', '--status', 'running'], says: 'Allowed choices are complete' },
  {
    args: ['prune', '--older-than', '30d', '--schedule', '5s'],
    says: '[INVALID_OPTION]: --schedule must be',
  },
  {
    args: ['prune', '--older-than', '30d', '--schedule', '1 day', '--schema', 'elsewhere'],
    says: "cannot be used with option '--schema <name>'",
  },
  { args: ['prune', '--unschedule', '--older-than', '30d'], says: 'cannot be used with option' },
  { args: ['list'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['list', '--status', 'done'], says: 'Allowed choices are pending, running, complete' },
  { args: ['list', '--limit', '0'], says: 'Give a whole number of at least 1' },
  { args: ['list', '--newer-than', 'soon', ...UNUSED], says: '[INVALID_OPTION]: --newer-than must be' },
  { args: ['list', '--after', 'no/id', ...UNUSED], says: '[INVALID_OPTION]: id must be' },
  { args: ['limits'], says: 'Give --database-url, or set DATABASE_URL' },
  { args: ['limits', '--delete', ...UNUSED], says: 'To set or delete a limit, give its name' },
  { args: ['limits', 'x', '--max-concurrent', '1.5'], says: 'Give a whole number of at least 0, or none.' },
  { args: ['limits', ' ', ...UNUSED], says: '[INVALID_OPTION]: name must be' },
  { args: ['status'], says: "missing required argument 'id'" },
  { args: ['status', 'no/id', ...UNUSED], says: '[INVALID_OPTION]: id must be' },
  { args: ['failed', 'b', '--samples', 'few'], says: 'Give a whole number of at least 1' },
  { args: ['jobs', 'b', '--status', 'running'], says: 'Allowed choices are pending, complete, failed' },
  { args: ['wait', 'b', '--timeout', 'soon', ...UNUSED], says: '[INVALID_OPTION]: --timeout must be' },
  {
    args: ['cancel', 'b', '--yes', '--grace-period', '-1'],
    says: '[INVALID_OPTION]: --grace-period must be',
  },
  { args: ['cancel', 'b', '--yes', '--reason', ' '], says: '[INVALID_OPTION]: --reason must be' },
  { args: ['update', 'b', '--yes'], says: 'Nothing to change: give at least one option.' },
  { args: ['update', 'b', '--yes', '--fail-when', 'later'], says: 'Allowed choices are settled, immediate' },
  { args: ['update', 'b', '--yes', '--fail-when-failed', 'some'], says: 'Give any, all, a count such as 10' },
  { args: ['update', 'b', '--yes', '--deadline', '2026-31-31'], says: 'Give a date such as' },
  {
    args: ['update', 'b', '--yes', '--deadline', '2020-01-01'],
    says: '[INVALID_OPTION]: --deadline must be',
  },
  { args: ['update', 'b', '--yes', '--per-second', 'few'], says: 'Give a number, or none.' },
  {
    args: ['update', 'b', '--yes', '--max-concurrent-jobs', '0'],
    says: '[INVALID_OPTION]: --max-concurrent-jobs must be',
  },
  {
    args: ['update', 'b', '--yes', '--job-limit', 'Score.maxConcurrentJobs=0.5'],
    says: '[INVALID_OPTION]: --job-limit',
  },
  { args: ['update', 'b', '--yes', '--fail-when-failed', '101%'], says: '--fail-when-failed must be' },
  { args: ['list', '--database-url', 'mysql://x'], says: '[INVALID_OPTION]: --database-url must be' },
  { args: ['list', '--database-url', 'postgres://[x'], says: '[INVALID_OPTION]: --database-url must be' },
  { args: ['migrate', '--database-url', 'postgres://h:port/x'], says: '--database-url must be' },
  { args: ['update', 'b', '--yes', '--job-limit', 'Score=5'], says: 'such as SendMail.perSecond=20' },
  {
    args: ['retry-failed', 'b', '--yes', '--task-queue', ''],
    says: '[INVALID_OPTION]: --task-queue must be',
  },
  { args: ['completion', 'tcsh'], says: 'Allowed choices are bash, zsh, fish' },
  { args: ['dev', '--temporal-port', '7233x'], says: 'Give a port between 1 and 65535' },
  { args: ['dev', '--ui-port', '65536'], says: 'Give a port between 1 and 65535' },
])('refuses `$args` as a usage error', async ({ args, says }) => {
  const { exitCode, stdout, stderr } = await run(args);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toContain(says);
});

/** Every option of every command whose value is a duration, or may be one. */
const DURATIONS = [
  'list --newer-than',
  'list --older-than',
  'doctor --idle',
  'wait b --timeout',
  'cancel b --yes --grace-period',
  'update b --yes --deadline',
  'update b --yes --alert-after-idle',
  'retry-failed b --yes --deadline',
  'retry-failed b --yes --alert-after-idle',
  'prune --older-than',
  'prune --yes --older-than',
  'prune --older-than 30d --schedule',
];

test.each(DURATIONS)('refuses a value of `%s` without a unit, and M for minutes or months', async (words) => {
  const option = words.split(' ').at(-1)!;
  const database = words.includes('--schedule') ? [] : UNUSED;
  const given = async (value: string) => run([...words.split(' '), value, ...database]);
  const number = await given('30');
  expect(number).toMatchObject({ exitCode: 2, stdout: '' });
  expect(number.stderr).toMatch(new RegExp(`^error \\[INVALID_OPTION\\]: ${option} must be .*"30"`));
  expect(number.stderr).toContain('It has no unit: write 30ms, 30s, 30m, 30h or 30d.');
  const months = await given('1M');
  expect(months).toMatchObject({ exitCode: 2, stdout: '' });
  expect(months.stderr).toContain('M can be minutes or months: write 1m for minutes');
});

test('there is no other option that takes a duration', () => {
  const silent = { write: () => {} };
  const program = buildProgram({ stdout: silent, stderr: silent, env: {} });
  const found = program.commands.flatMap((command) =>
    command.options
      .filter(({ argChoices, flags }) => !argChoices && /<(duration|time|every)>/.test(flags))
      .map(({ long }) => `${command.name()} ${long}`),
  );
  const tested = DURATIONS.map((words) => `${words.split(' ')[0]} ${words.split(' ').at(-1)}`);
  expect(found.toSorted()).toEqual([...new Set(tested)].toSorted());
});

test('says of a connection string that cannot be read nothing that may be a password', async () => {
  for (const url of ['postgres://u:Qq/Zz@host/x', 'postgres://u:Qq@Zz@[host', 'mysql://u:Qq/Zz@host']) {
    const { exitCode, stderr } = await run(['list', '--database-url', url]);
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^error \[INVALID_OPTION\]: --database-url must be .*\n$/);
    expect(stderr).not.toMatch(/Qq|Zz/);
  }
});

test('takes an empty DATABASE_URL as none', async () => {
  expect(await run(['migrate'], { DATABASE_URL: '' })).toMatchObject({ exitCode: 2 });
});

test('reports a schema name that the library refuses as a usage error', async () => {
  const { exitCode, stderr } = await run(['migrate', '--print-sql', '--schema', 'Not Plain']);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/^error \[INVALID_OPTION\]: --schema must be/);
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

test.each(CHANGING)(
  'refuses `%s` in one line where there is no terminal to ask on, and no --yes',
  async (words) => {
    const [command, ...flags] = words.split(' ');
    const { exitCode, stdout, stderr } = await run([command!, 'some-batch', ...flags, ...UNUSED]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
    expect(stderr).toBe('error: This changes something, and there is no terminal to ask on. Add --yes.\n');
  },
);

test.each([
  'list',
  'status b',
  'status b --watch',
  'failed b',
  'jobs b',
  'limits',
  'wait b',
  'cancel b --yes',
  'migrate',
])('says in one line that the database does not answer to `%s`', async (words) => {
  const { exitCode, stdout, stderr } = await run([...words.split(' '), ...UNUSED]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
  expect(stderr).toMatch(/^error \[DATABASE_UNAVAILABLE\]: Postgres does not answer: .*127\.0\.0\.1:1.*\n$/);
});

test('prints what Postgres says without the statement that it refused', async () => {
  const refused = Object.assign(new Error('select *\nfrom "t" where a = $1 - permission denied for view t'), {
    severity: 'ERROR',
    code: '42501',
  });
  expect((await exit(refused)).stderr).toBe('error [42501]: permission denied for view t\n');
});
