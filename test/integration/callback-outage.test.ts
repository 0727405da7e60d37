import { setTimeout as delay } from 'node:timers/promises';
import { expect, inject, test } from 'vitest';
import { startPostgres } from '../../src/dev/index.ts';
import { defineCallback } from '../../src/index.ts';
import { expectConsistent } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { OWN_SERVERS } from '../support/own-servers.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld } from '../support/world.ts';

test('a transactional callback with one attempt is not failed by an outage of Postgres', async () => {
  await using postgres = await startPostgres({ env: OWN_SERVERS, settings: { synchronous_commit: 'on' } });
  await using world = await createWorld({
    servers: { databaseUrl: postgres.databaseUrl, temporalAddress: inject('temporalAddress') },
  });
  let open!: () => void;
  const gate = new Promise<void>((resolve) => (open = resolve));
  let started = 0;
  const callback = defineCallback(
    'Trx',
    async () => {
      started++;
      await gate;
    },
    { transaction: true, retry: { maximumAttempts: 1, initialInterval: '50ms' } },
  );
  await world.startWorker({ callbacks: [callback] });
  const batch = await world.batches.create({ description: 'Transaction in an outage' });
  await batch.on('complete', callback);
  await batch.jobs(() => world.fixtures.jobs.record.performAsync(1));
  await eventually(() => expect(started).toBe(1));
  await postgres.kill();
  open();
  // The outage is the scenario.
  await delay(3_000);
  await postgres.restart();
  await batch.wait({ timeout: PATIENCE });
  // It says how often the handler ran, also in a transaction that was lost.
  expect(started).toBe(2);
  expect(await batch.callbacks()).toMatchObject([{ status: 'completed', attempts: 2, errorClass: null }]);
  await expectConsistent(world, batch);
});
