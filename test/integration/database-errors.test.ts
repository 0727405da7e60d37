import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import knexFactory from 'knex';
import { expect, inject, test } from 'vitest';
import { BatchClient, defineCallback, migrate, migrationStatus } from '../../src/index.ts';
import { createBatchWorker } from '../../src/worker/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { runCli } from '../support/cli.ts';
import { eventually } from '../support/eventually.ts';
import { ownDatabase } from '../support/own-database.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

const numbers = (count: number) => Array.from({ length: count }, (_, index): [unknown] => [index]);

/** A client of a world that keeps what it warns of. */
function listeningClient(world: World, database: string) {
  const { client, schema, taskQueue } = world;
  const warnings: string[] = [];
  const logger = {
    warn: (message: string, meta?: unknown) => void warnings.push(`${message} ${JSON.stringify(meta)}`),
  };
  const batches = new BatchClient({ client, database, schema, taskQueue, logger });
  return { batches, warnings };
}

test('a block and its jobs wait while the database is read-only, as after a failover', async () => {
  const { url } = await ownDatabase('read_only');
  const name = new URL(url).pathname.slice(1);
  await using world = await createWorld({
    servers: { databaseUrl: url, temporalAddress: inject('temporalAddress') },
  });
  const { noop } = world.fixtures.jobs;
  let called = 0;
  const callback = defineCallback('Counts', () => void called++);
  await world.startWorker({ database: url, callbacks: [callback] });
  const { batches, warnings } = listeningClient(world, url);
  const admin = knexFactory({ client: 'pg', connection: inject('databaseUrl'), pool: { min: 0, max: 1 } });
  try {
    const batch = await batches.create({ description: 'Read-only', callbacks: { complete: callback } });
    const over = new AbortController();
    let started = 0;
    const block = batch.jobs(async () => {
      while (!over.signal.aborted) {
        await noop.performBulk(numbers(20));
        started += 20;
        await delay(50);
      }
    });
    block.catch(() => {});
    await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));

    await admin.raw('alter database ?? set default_transaction_read_only = on', [name]);
    await admin.raw('select pg_terminate_backend(pid) from pg_stat_activity where datname = ?', [name]);
    await eventually(() => expect(warnings.join('\n')).toContain('25006'));
    // The outage is the scenario.
    await delay(3_000);
    // Who is connected stays read-only, as on a server that has become a replica.
    await admin.raw('alter database ?? set default_transaction_read_only = off', [name]);
    const before = started;
    await eventually(() => expect(started).toBeGreaterThan(before + 5_000 / 20));
    over.abort();
    expect(await block).toEqual({ total: started });
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: started });
    expect(batch.enrollmentError).toBeNull();
    expect(called).toBe(1);
    await expectConsistent(world, batch);
  } finally {
    await batches.close();
    await admin.destroy();
  }
});

test.concurrent.each([{ setting: 'statement_timeout' }, { setting: 'lock_timeout' }])(
  'a block waits for a lock on the row of its batch, whatever $setting says',
  async ({ setting }) => {
    await using world = await createWorld();
    const { noop } = world.fixtures.jobs;
    const url = `${inject('databaseUrl')}?options=${encodeURIComponent(`-c ${setting}=300ms`)}`;
    await world.startWorker({ database: url });
    const { batches } = listeningClient(world, url);
    try {
      const batch = await batches.create({ description: 'Locked' });
      const trx = await world.knex.transaction();
      const block = batch.jobs(async () => {
        await noop.performBulk(numbers(500));
        await eventually(async () => expect((await batch.progress()).complete).toBeGreaterThan(0));
        await trx.raw('select from ??.batches where id = ? for update', [world.schema, batch.id]);
        await noop.performBulk(numbers(500));
      });
      block.catch(() => {});
      await eventually(async () => {
        const { rows } = await world.knex.raw(
          `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like ?`,
          [`%${world.schema}%`],
        );
        expect(rows).not.toEqual([]);
      });
      // For longer than the timeout: that is the scenario.
      await delay(1_500);
      await trx.rollback();
      expect(await block).toEqual({ total: 1_000 });
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 1_000 });
      await expectConsistent(world, batch);
    } finally {
      await batches.close();
    }
  },
);

/** A role of the test's own, with what the SQL grants it. */
async function ownRole(world: World, options: string, grants: readonly string[]) {
  const role = `role_${randomBytes(6).toString('hex')}`;
  await world.knex.raw(`create role ?? login password 'x' ${options}`, [role]);
  for (const grant of grants) await world.knex.raw(`grant ${grant} to ??`, [world.schema, role]);
  const url = new URL(inject('databaseUrl'));
  [url.username, url.password] = [role, 'x'];
  return {
    url: url.href,
    async [Symbol.asyncDispose]() {
      await world.knex.raw('drop owned by ?? cascade', [role]);
      await world.knex.raw('drop role ??', [role]);
    },
  };
}

test.concurrent('a call waits for a free connection when the role has too many', async () => {
  await using world = await createWorld();
  await world.startWorker();
  await using role = await ownRole(world, 'connection limit 1', [
    'usage on schema ??',
    'select on all tables in schema ??',
  ]);
  const batch = await world.batches.create({ description: 'Too many' });
  const taken = knexFactory({ client: 'pg', connection: role.url, pool: { min: 0, max: 1 } });
  await taken.raw('select 1');
  const { batches, warnings } = listeningClient(world, role.url);
  try {
    const found = batches.find(batch.id);
    found.catch(() => {});
    await eventually(() => expect(warnings.join('\n')).toContain('53300'));
    await taken.destroy();
    expect((await found).id).toBe(batch.id);
  } finally {
    await batches.close();
    await taken.destroy();
  }
});

test.concurrent.each([
  { what: 'database', sqlstate: '3D000', change: (url: URL) => (url.pathname = '/nowhere') },
  { what: 'user', sqlstate: '28', change: (url: URL) => (url.username = 'nobody_at_all') },
])(
  'a wrong $what is refused by client, worker, migrate and command, with the next step',
  async ({ sqlstate, change }) => {
    await using world = await createWorld();
    const url = new URL(inject('databaseUrl'));
    change(url);
    const refusal = {
      code: 'DATABASE_REFUSED',
      sqlstate: expect.stringMatching(new RegExp(`^${sqlstate}`)),
      message: expect.stringMatching(/^Postgres refused access: .* Check /),
    };
    const { batches } = listeningClient(world, url.href);
    await expect(batches.create({ description: 'd' })).rejects.toMatchObject(refusal);
    await expect(batches.list()).rejects.toMatchObject(refusal);
    await batches.close();
    const worker = createBatchWorker({ connection: world.connection, database: url.href });
    await expect(worker).rejects.toMatchObject(refusal);
    await expect(migrate(url.href)).rejects.toMatchObject(refusal);
    await expect(migrationStatus(url.href)).rejects.toMatchObject(refusal);
    for (const command of ['list', 'doctor', 'migrate', 'status b']) {
      const { exitCode, stderr } = await runCli(command.split(' '), { env: { DATABASE_URL: url.href } });
      expect({ command, exitCode }).toEqual({ command, exitCode: 1 });
      expect(stderr).toMatch(/^error \[DATABASE_REFUSED\]: .*\n$/);
    }
  },
);

test.concurrent(
  'a table or a grant that is missing is named, and rows of a query builder have the same error',
  async () => {
    await using world = await createWorld();
    await world.startWorker();
    const batch = await world.batches.create({ description: 'Grants' });
    await batch.jobs(() => world.fixtures.jobs.noop.performAsync(1));
    await batch.wait({ timeout: PATIENCE });
    await using role = await ownRole(world, '', ['usage on schema ??', 'select on ??.batch_jobs_migrations']);
    const { batches } = listeningClient(world, role.url);
    const denied = {
      code: 'DATABASE_REFUSED',
      sqlstate: '42501',
      message: expect.stringMatching(/denied.*Grant/),
    };
    await expect(batches.find(batch.id)).rejects.toMatchObject(denied);
    await batches.close();

    await world.knex.raw('drop view ??.jobs cascade', [world.schema]);
    const missing = {
      code: 'MIGRATIONS_PENDING',
      message: expect.stringContaining(`npx batch-jobs migrate --schema ${world.schema}`),
      cause: { code: '42P01' },
    };
    await expect(batch.failedJobs().then()).rejects.toMatchObject(missing);
    await expect(batch.results().first()).rejects.toMatchObject(missing);
    await expect(batch.eachResult().next()).rejects.toMatchObject(missing);
  },
);
