import knexFactory, { type Knex } from 'knex';
import { migrate } from '../../src/index.ts';

/** Says on a schema that the demo made it, and so may drop it. */
const MARK = 'Made by the leaderboard demo of temporal-batch-jobs; dropped when the demo starts again.';

/** A pool whose unqualified names are those of the demo's schema. */
export function openDatabase(databaseUrl: string, schema: string, poolSize = 10): Knex {
  return knexFactory({
    client: 'pg',
    connection: { connectionString: databaseUrl, application_name: 'leaderboard-demo' },
    searchPath: [schema],
    pool: { min: 0, max: poolSize },
  });
}

/**
 * Makes the schema new, with the tables of the library and of the demo.
 *
 * @throws {Error} when there is a schema of that name that the demo did not make
 */
export async function recreateSchema(knex: Knex, schema: string): Promise<void> {
  const { rows } = await knex.raw<{ rows: { comment: string | null }[] }>(
    `select obj_description(oid, 'pg_namespace') as comment from pg_namespace where nspname = ?`,
    [schema],
  );
  if (rows[0] && rows[0].comment !== MARK) {
    throw new Error(
      `The schema "${schema}" exists and was not made by this demo, so it is left alone. Choose another with --schema.`,
    );
  }
  await knex.raw('drop schema if exists ?? cascade', [schema]);
  await knex.raw('create schema ??', [schema]);
  await knex.raw(`comment on schema ?? is '${MARK}'`, [schema]);
  await migrate(knex, { schema });
  await knex.raw(TABLES);
}

const TABLES = `
create table city_scores (
  batch_id text not null,
  city_id integer not null,
  country text not null,
  name text not null,
  population integer not null,
  score double precision not null,
  primary key (batch_id, city_id)
);

create table population_estimates (
  batch_id text not null,
  city_id integer not null,
  population integer not null,
  primary key (batch_id, city_id)
);

create table leaderboard (
  batch_id text not null,
  country text not null,
  rank integer not null,
  city_id integer not null,
  name text not null,
  population integer not null,
  score double precision not null,
  primary key (batch_id, country, rank)
);

-- No key: a callback that ran twice would show.
create table callback_log (
  batch_id text not null,
  event text not null,
  callback text not null,
  leaderboard_rows integer not null,
  ran_at timestamptz not null default now()
);
`;
