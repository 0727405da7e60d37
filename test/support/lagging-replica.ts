import knexFactory, { type Knex } from 'knex';
import { inject, onTestFinished } from 'vitest';
import { migrate } from '../../src/index.ts';
import { ownDatabase } from './own-database.ts';
import type { World } from './world.ts';

/** A database behind a proxy that splits reads: what only reads goes to a replica that lags, all else to the primary. */
export interface SplitDatabase {
  readonly knex: Knex;
  /** How many statements the replica has answered. */
  reads(): number;
  /** Copies the rows of batches, as they are now, to the replica. */
  replicateBatches(): Promise<void>;
  /** From now on the replica has everything. */
  catchUp(): void;
}

interface Query {
  readonly sql?: string;
}
type Client = Knex.Client & { _query(connection: object, query: Query): Promise<unknown> };

/**
 * The replica is another database, with the world's schema and its ID, and as it was before the first batch. As usual
 * with such proxies, a transaction and whatever locks or writes is the primary's.
 *
 * @param except reads for which the replica has what the primary has
 */
export async function openSplitDatabase(world: World, except?: RegExp): Promise<SplitDatabase> {
  const { knex: replica, url } = await ownDatabase('replica');
  await migrate(url, { schema: world.schema });
  const { id } = await world.knex.withSchema(world.schema).from('batch_schema').first('id');
  await replica.withSchema(world.schema).from('batch_schema').update({ id });

  let reads = 0;
  let lags = true;
  const inTransaction = new WeakSet<object>();
  const isRead = (connection: object, { sql = '' }: Query) =>
    lags &&
    !inTransaction.has(connection) &&
    /^\s*select\b/i.test(sql) &&
    !/\bfor (key share|update)\b/i.test(sql) &&
    !except?.test(sql);

  const PgClient = replica.client.constructor as new (config: Knex.Config) => Client;
  class SplitClient extends PgClient {
    override async _query(connection: object, query: Query): Promise<unknown> {
      if (/^\s*begin\b/i.test(query.sql ?? '')) inTransaction.add(connection);
      if (/^\s*(commit|rollback)\b(?! to)/i.test(query.sql ?? '')) inTransaction.delete(connection);
      if (!isRead(connection, query)) return super._query(connection, query);
      reads++;
      const other = await replica.client.acquireConnection();
      try {
        return await super._query(other, query);
      } finally {
        await replica.client.releaseConnection(other);
      }
    }
  }
  const knex = knexFactory({
    client: SplitClient as unknown as typeof Knex.Client,
    connection: inject('databaseUrl'),
    pool: { min: 0, max: 10 },
  });
  onTestFinished(() => knex.destroy());
  return {
    knex,
    reads: () => reads,
    async replicateBatches() {
      const { schema } = world;
      const { rows } = await world.knex.raw('select to_jsonb(b) as row from :schema:.batches b', { schema });
      await replica.withSchema(schema).from('batches').delete();
      for (const { row } of rows) {
        await replica.raw(
          'insert into :schema:.batches select * from jsonb_populate_record(null:::schema:.batches, :row::jsonb)',
          { schema, row: JSON.stringify(row) },
        );
      }
    },
    catchUp: () => void (lags = false),
  };
}
