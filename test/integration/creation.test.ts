import { Client, Connection } from '@temporalio/client';
import knexFactory from 'knex';
import { expect, inject, test } from 'vitest';
import { resolveBatchOptions } from '../../src/client/batch-options.ts';
import { insertBatch } from '../../src/database/batches.ts';
import { BatchClient } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { expectCode } from '../support/codes.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

test.concurrent(
  'create that gave up leaves nothing behind, also when the write of the row arrives after that',
  async () => {
    await using world = await createWorld();
    const url = new URL(inject('databaseUrl'));
    await using proxy = await TcpProxy.open(url.host);
    url.host = proxy.address;
    await world.startWorker({ database: url.href });
    // Opens the worker's connections: what is written to them while they are frozen arrives later.
    await runBatch(world, ({ record }) => record.performAsync(1));
    const id = `given-up-${world.schema}`;
    await world.knex.raw(
      `create table :schema:.writes (batch_id text);
     create function :schema:.note_write() returns trigger language plpgsql as
       $$ begin insert into ${world.schema}.writes values (new.id); return new; end $$;
     create trigger note_write after insert on :schema:.batches
       for each row execute function :schema:.note_write()`,
      { schema: world.schema },
    );

    proxy.freeze();
    await expectCode(world.batches.create({ id, description: 'given up' }), 'WORKER_FAILING');
    proxy.thaw();

    const written = () => world.knex.withSchema(world.schema).from('writes').where('batch_id', id);
    await eventually(async () => expect(await written()).not.toEqual([]));
    await eventually(() => expectCode(world.batches.find(id), 'BATCH_NOT_FOUND'));
    // Several tries of the write may have been on their way.
    const again = await eventually(() => createBatch(world, { id }));
    await again.jobs(() => world.fixtures.jobs.record.performAsync(2));
    expect(await again.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
  },
);

test.concurrent(
  'create by the id of a batch that was given up, whose row a worker wrote too late, makes a batch',
  async () => {
    await using world = await createWorld();
    const { batches, fixtures } = world;
    const options = { id: `given-up-${world.schema}`, description: 'given up' };
    const creating = expectCode(batches.create(options), 'WORKER_UNAVAILABLE');
    const { runId } = await eventually(() => workflowOf(world, options.id).describe());
    await creating;
    // As a worker does that is killed before it takes the row back.
    await writeRow(world, options, runId);

    await world.startWorker();
    const batch = await batches.create(options);

    await batch.on('complete', fixtures.callbacks.onComplete);
    await batch.jobs(() => fixtures.jobs.record.performAsync(1));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  },
);

test.concurrent(
  'create whose worker wrote the row and was lost before it could answer returns the batch',
  async () => {
    await using world = await createWorld();
    const { batches, fixtures } = world;
    const options = { id: `made-${world.schema}`, description: 'made' };
    const creating = batches.create(options);
    const { runId } = await eventually(() => workflowOf(world, options.id).describe());
    await writeRow(world, options, runId);

    const batch = await creating;

    // Others who create it get the same one.
    expect(await batches.create(options)).toMatchObject({ id: batch.id, createdAt: batch.createdAt });
    await world.startWorker();
    await batch.jobs(() => fixtures.jobs.record.performAsync(1));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete', total: 1 });
  },
);

function workflowOf(world: World, id: string) {
  return world.client.workflow.getHandle(`batch:${id}`);
}

/** The row that a worker writes for a batch of this run. */
async function writeRow(
  world: World,
  options: { id: string; description: string },
  runId: string,
): Promise<void> {
  const resolved = resolveBatchOptions(options, () => options.id);
  const { id, description, context, definition, callbacks, settings } = resolved;
  await insertBatch(world.batches.database, {
    batchId: id,
    firstExecutionRunId: runId,
    parentBatchId: null,
    description,
    context,
    definition,
    callbacks,
    settings,
  });
}

test.concurrent(
  'create that Temporal did not answer in time leaves the batch alone that has the id',
  async () => {
    await using world = await createWorld();
    await world.startWorker();
    const { fixtures } = world;
    const batch = await createBatch(world, { id: `taken-${world.schema}` });
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    const connection = await Connection.connect({ address: proxy.address });
    // The network is back just when the client looks whether it has left anything behind.
    const thawFirst = <I, R>(input: I, next: (input: I) => R): R => {
      proxy.thaw();
      return next(input);
    };
    const interceptors = { workflow: [{ describe: thawFirst, terminate: thawFirst }] };
    const client = new Client({ connection, interceptors });
    // A client with rows of its own does not see that the id is taken.
    await using apart = await createWorld();
    const { taskQueue } = world;
    const other = new BatchClient({ client, database: apart.knex, schema: apart.schema, taskQueue });
    await other.list();

    proxy.freeze();
    await expectCode(other.create({ id: batch.id, description: 'the same id' }), 'BATCH_EXISTS');

    await batch.jobs(() => fixtures.jobs.record.performAsync(1));
    expect(await batch.wait({ timeout: PATIENCE })).toMatchObject({ status: 'complete' });
    await other.close();
    await connection.close();
  },
);

test.concurrent(
  'create whose connection to Postgres breaks when the batch is made returns the batch',
  async () => {
    await using world = await createWorld();
    await world.startWorker();
    const url = new URL(inject('databaseUrl'));
    await using proxy = await TcpProxy.open(url.host);
    url.host = proxy.address;
    const knex = knexFactory({ client: 'pg', connection: url.href, log: { warn: () => {} } });
    const { client, schema, taskQueue } = world;
    const warnings: string[] = [];
    const logger = { warn: (message: string) => warnings.push(message) };
    const batches = new BatchClient({ client, database: knex, logger, schema, taskQueue });
    await batches.list();
    knex.once('query', () => proxy.dropAll());

    const { id, status } = await batches.create({ description: 'made' });

    expect(warnings).toEqual(['The database did not answer; reading again']);
    expect(status).toBe('pending');
    expect((await world.batches.find(id)).description).toBe('made');
    await batches.close();
    await knex.destroy();
  },
);
