import { inject, expect, onTestFinished, test } from 'vitest';
import knexFactory from 'knex';
import { defineCallback, defineJob } from '../../src/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { createGates } from '../support/gates.ts';
import { findPgBouncer, startPgBouncer } from '../support/pgbouncer.ts';
import { ownDatabase } from '../support/own-database.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld } from '../support/world.ts';

const pgbouncer = await findPgBouncer();
/** Fewer than the clients have, and more than transactional callbacks hold: half of the worker's ten. */
const CONNECTIONS = 6;

test.skipIf(!pgbouncer)(
  'batches run through PgBouncer in transaction mode, under settings of the role',
  async () => {
    const { url, knex: admin } = await ownDatabase('pgbouncer');
    const settings = { statement_timeout: '2s', timezone: 'Asia/Kolkata', datestyle: 'German' };
    for (const [name, value] of Object.entries(settings))
      await admin.raw(`alter database ?? set ?? = '${value}'`, [new URL(url).pathname.slice(1), name]);
    await using bouncer = await startPgBouncer(pgbouncer!, url, CONNECTIONS);
    await using world = await createWorld({
      servers: { databaseUrl: bouncer.url, temporalAddress: inject('temporalAddress') },
    });

    let mayFail = true;
    const half = defineJob(
      'Half',
      async (value: number) => {
        if (mayFail && value % 100 === 0) throw new Error('Not in this round');
        return value / 2;
      },
      { storeResult: true, retry: { maximumAttempts: 2, initialInterval: '50ms' } },
    );
    const reads = defineCallback(
      'Reads',
      async (batchId, { batches, trx }) => {
        const { status } = await batches.find(batchId);
        await trx.raw('insert into ??.seen values (?, ?)', [world.schema, batchId, status]);
      },
      { transaction: true },
    );
    await world.knex.raw('create table ??.seen (batch_id text, status text)', [world.schema]);
    const { work } = world.fixtures.jobs;
    await world.startWorker({ jobs: [half, work], callbacks: [reads] });

    const run = async () => {
      const batch = await world.batches.create({
        description: 'Pooled',
        callbacks: { failure: reads, complete: reads },
      });
      await batch.jobs(() =>
        half.performBulk(Array.from({ length: 500 }, (_, index) => [index + 1] as const)),
      );
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'failed', failed: 5 });
      return batch;
    };
    const batches = await Promise.all(Array.from({ length: 6 }, run));
    mayFail = false;
    for (const batch of batches) {
      await batch.retryFailed();
      expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', complete: 500 });
      await expectConsistent(world, batch);
      let sum = 0;
      for await (const { result } of batch.eachResult()) sum += result as number;
      expect(sum).toBe((500 * 501) / 4);
      const seen = await world.knex.withSchema(world.schema).from('seen').where('batch_id', batch.id);
      expect(seen.map(({ status }) => status)).toEqual(['failed', 'complete']);
    }
    const cancelled = await world.batches.create({ description: 'Cancelled' });
    await cancelled.jobs(() =>
      work.performBulk(Array.from({ length: 50 }, (_, index) => [index, 60_000] as const)),
    );
    await cancelled.cancel();
    expect(await cancelled.wait({ timeout: PATIENCE })).toMatchObject({ status: 'cancelled' });

    // No session keeps anything of the library.
    const sessions = knexFactory({
      client: 'pg',
      connection: bouncer.url,
      pool: { min: 0, max: CONNECTIONS },
    });
    onTestFinished(() => sessions.destroy());
    // All at once, so that each has a session of its own.
    const asked = createGates().gate('asked');
    const shown = await Promise.all(
      Array.from({ length: CONNECTIONS }, () =>
        sessions.transaction(async (trx) => {
          const { rows } = await trx.raw(
            `select pg_backend_pid() as pid, current_setting('statement_timeout') as statement_timeout,
             current_setting('timezone') as timezone, current_setting('datestyle') as datestyle,
             (select count(*) from pg_prepared_statements)::integer as prepared`,
          );
          void asked.pass();
          await asked.arrivals(CONNECTIONS);
          return rows[0];
        }),
      ),
    );
    expect(new Set(shown.map(({ pid }) => pid)).size).toBe(CONNECTIONS);
    for (const session of shown)
      expect(session).toMatchObject({ ...settings, datestyle: 'German, DMY', prepared: 0 });
  },
);
