import { ApplicationFailure } from '@temporalio/common';
import knexFactory, { type Knex } from 'knex';
import { expect, inject, test } from 'vitest';
import { BatchClient, defineCallback, defineJob } from '../../src/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const SETTINGS = [
  'DateStyle=German',
  'IntervalStyle=sql_standard',
  'TimeZone=Asia/Kolkata',
  'bytea_output=escape',
  'default_transaction_isolation=serializable',
  'extra_float_digits=0',
  'lock_timeout=2s',
  'row_security=on',
  'search_path=pg_temp',
  'standard_conforming_strings=off',
  'statement_timeout=2s',
];

/** A connection string whose sessions have these settings, as those of a role or a database have. */
function withSettings(settings: readonly string[]): string {
  const options = settings.map((setting) => `-c ${setting}`).join(' ');
  return `${inject('databaseUrl')}?options=${encodeURIComponent(options)}`;
}

/** Parsers that an app may have set: texts, and classes of its own. */
const APPS_TYPES = {
  getTypeParser: (oid: number) => (text: string) =>
    [16, 20, 21, 23, 114, 700, 701, 1007, 1009, 1082, 1114, 1184, 1700, 3802].includes(oid)
      ? { value: text }
      : text,
};

const toSnake = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The Knex of an app that writes names in camel case, returns rows of its own, and times out early. */
function openAppsKnex(settings: readonly string[]): Knex {
  return knexFactory({
    client: 'pg',
    connection: {
      connectionString: withSettings(settings),
      types: APPS_TYPES,
      query_timeout: 60_000,
    } as object,
    pool: { min: 0, max: 6 },
    asyncStackTraces: true,
    returning: '*',
    postProcessResponse: (result: unknown) => ({ rowsOfTheApp: result }),
    wrapIdentifier: (name: string, wrap: (name: string) => string) => wrap(toSnake(name).toUpperCase()),
  } as Knex.Config);
}

function clientOf({ client, schema, taskQueue }: World, database: Knex): BatchClient {
  return new BatchClient({ client, database, schema, taskQueue });
}

test('a batch runs, is read, fails and is retried under settings of the database, the driver and Knex', async () => {
  await using world = await createWorld();
  const app = openAppsKnex(SETTINGS);
  let mayFail = true;
  const half = defineJob(
    'Half',
    async (value: number) => {
      if (mayFail && value % 50 === 0) throw ApplicationFailure.nonRetryable('no', 'Broken');
      return { half: value / 2 };
    },
    { storeResult: true },
  );
  const seen: unknown[] = [];
  const reads = defineCallback(
    'Reads',
    async (batchId, { batches, trx }) => {
      const { rowsOfTheApp } = await trx.raw<{ rowsOfTheApp: { rows: unknown[] } }>('select 1::int8 as one');
      seen.push((await batches.find(batchId)).status, rowsOfTheApp.rows);
    },
    { transaction: true },
  );
  const worker = await world.startWorker({ database: app, jobs: [half], callbacks: [reads] });
  const batches = clientOf(world, app);
  try {
    const from = Date.now();
    const options = {
      id: `settings-${world.schema}`,
      description: 'Settings',
      context: { a: [1, null, 'x'] },
      deadline: new Date(from + 3_600_000),
      callbacks: { failure: reads, complete: reads },
    };
    const batch = await batches.create(options);
    await batch.jobs(async () => {
      await half.performBulk(Array.from({ length: 199 }, (_, index) => [index + 1] as const));
      await half.set({ key: 'last', startDelay: '200ms' }).performAsync(200);
    });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({
      status: 'failed',
      complete: 196,
      failed: 4,
    });
    expect((await batches.create(options)).id).toBe(batch.id);

    const isRecent = (time: Date | null) => time !== null && Math.abs(time.getTime() - from) < 10 * 60_000;
    const failed = await batch.failedJobs();
    expect(failed.map(({ args, attempts, key }) => ({ args, attempts, key }))).toEqual(
      [50, 100, 150, 200].map((value) => ({
        args: [value],
        attempts: 1,
        key: value === 200 ? 'last' : null,
      })),
    );
    expect(failed.every(({ startedAt, finishedAt }) => isRecent(startedAt) && isRecent(finishedAt))).toBe(
      true,
    );
    const [first] = await batch.results().limit(1);
    expect(first).toMatchObject({ position: 1, args: [1], result: { half: 0.5 } });
    expect([batch.createdAt, batch.completedAt, batch.settledAt].every(isRecent)).toBe(true);
    expect(batch.deadlineAt).toEqual(options.deadline);
    const listed = await batches.list();
    expect(listed).toMatchObject([{ id: batch.id, autoSeal: true, context: options.context }]);
    const callbacks = await batch.callbacks();
    const failure = callbacks.find(({ event }) => event === 'failure');
    expect(failure).toMatchObject({ status: 'completed', attempts: 1 });
    expect(isRecent(failure!.finishedAt)).toBe(true);

    mayFail = false;
    expect(await batch.retryFailed()).toMatchObject({ round: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 200 });
    const rounds = await batch.rounds();
    expect(rounds.map(({ round, complete }) => ({ round, complete }))).toEqual([
      { round: 1, complete: 196 },
      { round: 2, complete: 200 },
    ]);
    expect(rounds.every(({ startedAt, settledAt }) => isRecent(startedAt) && isRecent(settledAt))).toBe(true);
    // The transaction is the app's, with its parsers.
    const rows = [{ one: { value: '1' } }];
    expect(seen).toEqual(['failed', rows, 'complete', rows]);

    const url = withSettings(SETTINGS);
    for (const command of ['status', 'jobs', 'failed', 'doctor']) {
      const args = [command, batch.id, '--schema', world.schema, '--json', '--database-url', url];
      const { exitCode, stdout, stderr } = await runCli(args);
      expect({ command, exitCode, stderr }).toEqual({ command, exitCode: 0, stderr: '' });
      expect(stdout).not.toMatch(/Invalid|NaN|\d\d\.\d\d\.\d{4}/);
    }
    expect(await batches.prune({ olderThan: '1 day', dryRun: true })).toEqual({ batches: 0, jobs: 0 });
    await expectConsistent(world, batch);
  } finally {
    await worker.stop();
    await batches.close();
    await app.destroy();
  }
});

test('a round of many jobs opens, however short the statement timeout is', async () => {
  await using world = await createWorld();
  const JOBS = 20_000;
  let mayFail = true;
  const job = defineJob('MayFail', () => {
    if (mayFail) throw ApplicationFailure.nonRetryable('no', 'Broken');
  });
  const url = withSettings(['statement_timeout=30ms']);
  await world.startWorker({ database: url, jobs: [job] });
  const { client, schema, taskQueue } = world;
  const batches = new BatchClient({ client, database: url, schema, taskQueue });
  try {
    const batch = await batches.create({ description: 'Many' });
    await batch.jobs(() => job.performBulk(Array.from({ length: JOBS }, () => [] as const)));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: JOBS });
    mayFail = false;
    expect(await batch.retryFailed()).toMatchObject({ round: 2 });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: JOBS });
    expect(await batch.failedJobs().then((rows) => rows.length)).toBe(0);
  } finally {
    await batches.close();
  }
});

test('leaves the settings of the session as they are', async () => {
  await using world = await createWorld();
  const settings = ['statement_timeout=200ms', 'lock_timeout=1234ms', 'DateStyle=German'];
  const app = knexFactory({ client: 'pg', connection: withSettings(settings), pool: { min: 0, max: 1 } });
  const batches = clientOf(world, app);
  try {
    await world.startWorker();
    const read = async () => {
      const { rows } = await app.raw(
        `select name, setting from pg_settings where name <> 'application_name' order by 1`,
      );
      return rows as unknown;
    };
    // The timeout holds for it, too, and may cut it off where the machine is slow.
    const before = await eventually(read);
    const batch = await batches.create({ description: 'Session' });
    await batch.jobs(async () => {
      await world.fixtures.jobs.noop.set({ key: 'one' }).performAsync(1);
      // Longer than the timeout: what was cut off goes on without it.
      await batches.database.knex.raw('select pg_sleep(0.5)');
    });
    await batch.wait({ timeout: PATIENCE });
    expect(await eventually(read)).toEqual(before);
  } finally {
    await batches.close();
    await app.destroy();
  }
});
