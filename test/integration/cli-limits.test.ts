import { afterAll, beforeAll, beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest';
import { runCli, type CliOptions } from '../support/cli.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => (world = await createWorld()));
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(() => world.knex.raw(`delete from ??.named_limits`, [world.schema]));

const NOWHERE = { TEMPORAL_ADDRESS: '127.0.0.1:1' };

function cli(words: string, options: CliOptions = {}) {
  return runCli([...words.split(' '), '--schema', world.schema], {
    ...options,
    env: { ...NOWHERE, ...options.env },
  });
}

async function json(words: string) {
  const { exitCode, stdout, stderr } = await cli(`${words} --json`);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/^.*\n$/);
  return JSON.parse(stdout);
}

interface Held {
  readonly key?: string;
  readonly worker?: string;
  readonly running: number;
  readonly waiting: number;
}

/** Permits as workers hold them, for an hour. */
async function held(name: string, ...permits: Held[]): Promise<void> {
  for (const { key = '', worker = 'w1', running, waiting } of permits) {
    await world.knex.raw(
      `insert into ??.limit_permits (name, key, worker, running, waiting, permits, expires_at)
       values (?, ?, ?, ?, ?, ?, now() + interval '1 hour')`,
      [world.schema, name, key, worker, running, waiting, running + Math.min(waiting, 1)],
    );
  }
}

describe('batch-jobs limits', () => {
  test('says that there is no limit', async () => {
    expect(await cli('limits')).toEqual({ exitCode: 0, stdout: 'No limit.\n', stderr: '' });
    expect(await json('limits')).toEqual({ limits: [] });
  });

  test('lists all limits with their use, by name', async () => {
    const { limits } = world.batches;
    await limits.set('stripe', { maxConcurrent: 20, perSecond: 1_500, perKey: { maxConcurrent: 2 } });
    await limits.set('mail', { perSecond: 0.00025 });
    await held('stripe', { running: 2, waiting: 1_200 }, { worker: 'w2', running: 10, waiting: 0 });
    const { exitCode, stdout, stderr } = await cli('limits');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toBe(
      [
        'name    running / max  per second  per key  permits out  waiting',
        'mail         0 / none     0.00025     none            0        0',
        'stripe        12 / 20       1,500        2           13    1,200',
        '',
      ].join('\n'),
    );
  });

  test('prints the fields of LimitRecord as JSON', async () => {
    await world.batches.limits.set('stripe', { maxConcurrent: 20, perKey: { maxConcurrent: 2 } });
    await world.batches.limits.set('mail', { perSecond: 5 });
    await held('stripe', { running: 3, waiting: 4 });
    const records = await world.batches.limits.list();
    expect(records).toMatchObject([{ name: 'mail' }, { name: 'stripe', running: 3, waiting: 4 }]);
    expect(await json('limits')).toEqual({ limits: JSON.parse(JSON.stringify(records)) });
  });
});

describe('batch-jobs limits <name>', () => {
  test('shows one limit and its busiest keys', async () => {
    await world.batches.limits.set('other', { maxConcurrent: 1 });
    await world.batches.limits.set('stripe', { maxConcurrent: 20, perKey: { maxConcurrent: 2 } });
    await held(
      'stripe',
      { key: 'acme', running: 1, waiting: 140 },
      { key: 'acme', worker: 'w2', running: 1, waiting: 0 },
      { key: 'globex', running: 2, waiting: 1 },
      { running: 8, waiting: 0 },
      { key: 'idle', running: 0, waiting: 0 },
    );
    await held('other', { key: 'elsewhere', running: 1, waiting: 0 });
    const { exitCode, stdout, stderr } = await cli('limits stripe');
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toBe(
      [
        'name    running / max  per second  per key  permits out  waiting',
        'stripe        12 / 20        none        2           14      141',
        '',
        'key       running  waiting',
        'acme            2      140',
        '(no key)        8        0',
        'globex          2        1',
        '',
      ].join('\n'),
    );
    const record = await world.batches.limits.get('stripe');
    expect(await json('limits stripe')).toEqual({
      ...JSON.parse(JSON.stringify(record)),
      keys: [
        { key: 'acme', running: 2, waiting: 140, permitsOut: 3 },
        { key: null, running: 8, waiting: 0, permitsOut: 8 },
        { key: 'globex', running: 2, waiting: 1, permitsOut: 3 },
      ],
      omittedKeys: 0,
    });
  });

  test('shows the busiest 20 keys, and how many more there are', async () => {
    await world.batches.limits.set('tenants', { perKey: { maxConcurrent: 1 } });
    const keys = Array.from({ length: 23 }, (_, i) => ({
      key: `t${String(i).padStart(2, '0')}`,
      running: 1,
      waiting: i,
    }));
    await held('tenants', ...keys);
    const lines = (await cli('limits tenants')).stdout.trimEnd().split('\n');
    expect(lines.slice(3, 5)).toEqual(['key  running  waiting', 't22        1       22']);
    expect(lines.slice(-2)).toEqual(['t03        1        3', 'and 3 more']);
    const { keys: shown, omittedKeys } = await json('limits tenants');
    expect(shown.map(({ key }: { key: string }) => key)).toEqual(
      keys
        .slice(3)
        .map(({ key }) => key)
        .toReversed(),
    );
    expect(omittedKeys).toBe(3);
  });

  test('refuses an unknown name, and names the limit that was meant', async () => {
    await world.batches.limits.set('stripe', { maxConcurrent: 20 });
    const { exitCode, stdout, stderr } = await cli('limits strpe');
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(
      /^error \[UNKNOWN_LIMIT\]: There is no limit "strpe" \(did you mean "stripe"\?\)\. .*"stripe"\. .*\n$/,
    );
  });
});

describe('batch-jobs limits <name> with values', () => {
  test('creates a limit and prints it', async () => {
    const { exitCode, stdout, stderr } = await cli(
      'limits stripe --max-concurrent 20 --per-second 100 --max-concurrent-per-key 2',
    );
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
    expect(stdout).toMatch(/^stripe +0 \/ 20 +100 +2 +0 +0$/m);
    expect(await world.batches.limits.get('stripe')).toMatchObject({
      maxConcurrent: 20,
      perSecond: 100,
      perKey: { maxConcurrent: 2 },
    });
  });

  test('changes the given values and keeps the others', async () => {
    await cli('limits stripe --max-concurrent 20 --per-second 100 --max-concurrent-per-key 2');
    const { createdAt, updatedAt } = (await world.batches.limits.get('stripe'))!;
    const changed = await json('limits stripe --per-second 0.5');
    expect(changed).toMatchObject({
      name: 'stripe',
      maxConcurrent: 20,
      perSecond: 0.5,
      perKey: { maxConcurrent: 2 },
      createdAt: createdAt.toISOString(),
      keys: [],
    });
    expect(Date.parse(changed.updatedAt)).toBeGreaterThanOrEqual(updatedAt.getTime());
    expect(await json('limits stripe --max-concurrent 0')).toMatchObject({
      maxConcurrent: 0,
      perSecond: 0.5,
    });
  });

  test('`none` removes a value', async () => {
    await cli('limits stripe --max-concurrent 20 --per-second 100 --max-concurrent-per-key 2');
    const changed = await json('limits stripe --per-second none --max-concurrent-per-key none');
    expect(changed).toMatchObject({ maxConcurrent: 20 });
    expect(changed).not.toHaveProperty('perSecond');
    expect(changed).not.toHaveProperty('perKey');
    expect(await json('limits stripe --max-concurrent none --per-second 3')).toMatchObject({ perSecond: 3 });
  });

  test.each(['limits stripe --max-concurrent none', 'limits new --per-second none'])(
    'refuses to leave a limit without values: `%s`',
    async (words) => {
      await world.batches.limits.set('stripe', { maxConcurrent: 20 });
      const before = await world.batches.limits.list();
      const { exitCode, stdout, stderr } = await cli(words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
      expect(stderr).toMatch(
        /^error: Limit "\w+" needs at least one of --max-concurrent, .* To remove the limit, use --delete\.\n$/,
      );
      expect(await world.batches.limits.list()).toEqual(before);
    },
  );

  test.each([20, undefined])(
    'keeps what concurrent commands set, of a limit with maxConcurrent %s before',
    async (maxConcurrent) => {
      if (maxConcurrent !== undefined) await world.batches.limits.set('busy', { maxConcurrent });
      const results = await Promise.all(
        ['--max-concurrent 5', '--per-second 7', '--max-concurrent-per-key 3'].map((words) =>
          cli(`limits busy ${words}`),
        ),
      );
      expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
      expect(await world.batches.limits.get('busy')).toMatchObject({
        maxConcurrent: 5,
        perSecond: 7,
        perKey: { maxConcurrent: 3 },
      });
    },
  );
});

test('batch-jobs limits <name> --delete deletes a limit, or says that there is none', async () => {
  await world.batches.limits.set('stripe', { maxConcurrent: 20 });
  await held('stripe', { running: 1, waiting: 1 });
  expect(await cli('limits stripe --delete')).toEqual({
    exitCode: 0,
    stdout: 'Deleted limit "stripe".\n',
    stderr: '',
  });
  expect(await world.batches.limits.get('stripe')).toBeUndefined();
  expect(await cli('limits stripe --delete')).toEqual({
    exitCode: 0,
    stdout: 'There is no limit "stripe".\n',
    stderr: '',
  });
  await world.batches.limits.set('mail', { perSecond: 1 });
  expect(await json('limits mail --delete')).toEqual({ name: 'mail', deleted: true });
  expect(await json('limits mail --delete')).toEqual({ name: 'mail', deleted: false });
});

test('a role that may only read the views sees limits, and cannot change them', async () => {
  await world.batches.limits.set('stripe', { maxConcurrent: 20 });
  const role = `limits_reader_${world.schema}`;
  const url = new URL(inject('databaseUrl'));
  Object.assign(url, { username: role, password: 'secret' });
  await world.knex.raw(
    `create role :role: login password 'secret';
     grant usage on schema :schema: to :role:;
     grant select on :schema:.limits, :schema:.limit_keys, :schema:.batch_jobs_migrations to :role:`
      .replaceAll(':role:', role)
      .replaceAll(':schema:', world.schema),
  );
  onTestFinished(() => world.knex.raw(`drop owned by ${role}; drop role ${role}`).then(() => {}));
  const env = { DATABASE_URL: url.href };
  for (const words of ['limits', 'limits stripe'])
    expect(await cli(words, { env })).toMatchObject({ exitCode: 0, stderr: '' });
  expect(await cli('limits strpe', { env })).toMatchObject({
    exitCode: 1,
    stderr: expect.stringMatching(/^error \[UNKNOWN_LIMIT\]: .*\n$/),
  });
  for (const words of ['limits stripe --per-second 5', 'limits stripe --delete']) {
    expect(await cli(words, { env })).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: expect.stringMatching(
        /^error \[DATABASE_REFUSED\]: .*permission denied for table named_limits.*\n$/,
      ),
    });
  }
});

test.each(['limits', 'limits stripe', 'limits stripe --per-second 5', 'limits stripe --delete'])(
  '`%s` says in one line that migrations are missing',
  async (words) => {
    const { exitCode, stdout, stderr } = await runCli([...words.split(' '), '--schema', 'not_migrated']);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: '' });
    expect(stderr).toMatch(
      /^error \[MIGRATIONS_PENDING\]: .*npx batch-jobs migrate --schema not_migrated\n$/,
    );
  },
);

test.each([
  {
    args: ['--max-concurrent', '5'],
    says: 'To set or delete a limit, give its name: batch-jobs limits <name>.',
  },
  { args: ['--delete'], says: 'To set or delete a limit, give its name: batch-jobs limits <name>.' },
  {
    args: ['x', '--delete', '--per-second', '5'],
    says: "'--delete' cannot be used with option '--per-second",
  },
  { args: ['x', '--max-concurrent', '1', '--delete'], says: 'cannot be used with option' },
  { args: ['x', '--max-concurrent-per-key', '1', '--delete'], says: 'cannot be used with option' },
  { args: ['x', '--max-concurrent', '-1'], says: 'Give a whole number of at least 0, or none.' },
  { args: ['x', '--max-concurrent', '1.5'], says: 'Give a whole number of at least 0, or none.' },
  { args: ['x', '--max-concurrent-per-key', 'few'], says: 'Give a whole number of at least 0, or none.' },
  { args: ['x', '--per-second', '-0.5'], says: 'Give a number, or none.' },
  { args: ['x', '--per-second', 'null'], says: 'Give a number, or none.' },
  { args: ['x', '--per-second', '9'.repeat(400)], says: '[INVALID_OPTION]: --per-second must be' },
  { args: [' '], says: '[INVALID_OPTION]: name must be a non-empty string of at most 200 characters' },
  { args: ['x', 'y'], says: 'too many arguments' },
])('refuses `limits $args` as a usage error', async ({ args, says }) => {
  const { exitCode, stdout, stderr } = await runCli(['limits', ...args, '--schema', world.schema]);
  expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: '' });
  expect(stderr).toContain(says);
  expect(await world.batches.limits.list()).toEqual([]);
});
