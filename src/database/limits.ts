import { waitMs } from '../timeouts.ts';
import type { Database } from './connect.ts';

/** A named limit, with the key of a job. The key is empty for jobs without one. */
export interface LimitRef {
  readonly name: string;
  readonly key: string;
}

/** The maximums of a limit; null for any number. */
export interface LimitValues {
  readonly max_concurrent: number | null;
  readonly per_second: number | null;
  readonly key_max_concurrent: number | null;
}

/** A row of the view `limits`. */
export interface LimitRow extends LimitValues {
  readonly name: string;
  readonly permits_out: number;
  readonly running: number;
  readonly waiting: number;
  readonly created_at: Date;
  readonly updated_at: Date;
}

/** A worker's request for one limit and key. */
export interface PermitWish extends LimitRef {
  readonly running: number;
  readonly waiting: number;
  /** Permits that the worker uses until the answer arrives. */
  readonly permits: number;
  /** Number of reserved starts that it needs. */
  readonly starts: number;
}

/** The answer to a request. A limit that does not exist gets none. */
export interface PermitGrant extends LimitRef {
  /** Most jobs that may run at once; null for any number. */
  readonly permits: number | null;
  /** Reserved start times by the database's clock, in epoch milliseconds, one per job; null without a rate. */
  readonly starts: readonly number[] | null;
  /** That clock's time at the answer. */
  readonly clock: number;
}

/** Starts are reserved a little further ahead than the next request. */
function startsAheadMs(): number {
  return waitMs('permitPoll') * 1.5;
}

export async function upsertLimit(
  { knex, schema }: Pick<Database, 'knex' | 'schema'>,
  limit: LimitValues & Pick<LimitRow, 'name'>,
): Promise<void> {
  await knex.raw(
    `insert into :schema:.named_limits as l (name, max_concurrent, per_second, key_max_concurrent)
     values (:name, :max_concurrent, :per_second, :key_max_concurrent)
     on conflict (name) do update set max_concurrent = excluded.max_concurrent, per_second = excluded.per_second,
       key_max_concurrent = excluded.key_max_concurrent, updated_at = now(),
       -- Workers hold reserved starts up to this time. With a slow rate, the next start may be much later.
       next_start_at = case when l.per_second is distinct from excluded.per_second
         then least(l.next_start_at, now() + :aheadMs * interval '1 ms') else l.next_start_at end`,
    { schema, ...limit, aheadMs: startsAheadMs() },
  );
}

export async function selectLimits({ knex, schema }: Database, name?: string): Promise<LimitRow[]> {
  const limits = knex.withSchema(schema).from<LimitRow>('limits').orderBy('name');
  return name === undefined ? limits : limits.where({ name });
}

export async function selectLimitNames({ knex, schema }: Database): Promise<string[]> {
  const rows = await knex.withSchema(schema).from('named_limits').select<{ name: string }[]>('name');
  return rows.map(({ name }) => name);
}

/**
 * Reads the values of a limit and locks its row until the transaction ends, so that concurrent commands keep each other's
 * values. It creates a missing row: a lock on a row that does not exist would not hold a second creator back.
 */
export async function lockLimit({ knex, schema }: Database, name: string): Promise<LimitValues> {
  const { rows } = await knex.raw(
    `insert into :schema:.named_limits (name) values (:name)
     on conflict (name) do update set updated_at = now()
     returning max_concurrent, per_second, key_max_concurrent`,
    { schema, name },
  );
  return rows[0];
}

/** The use of a limit by the jobs of one key. */
export interface LimitKey {
  /** Null: jobs without a key. */
  readonly key: string | null;
  readonly running: number;
  readonly waiting: number;
  readonly permitsOut: number;
}

/** The busiest keys of a limit, and how many keys have jobs. Keys that only had jobs lately are left out. */
export async function selectLimitKeys(
  { knex, schema }: Database,
  name: string,
  most: number,
): Promise<{ readonly keys: readonly LimitKey[]; readonly total: number }> {
  const { rows } = await knex.raw(
    `select nullif(key, '') as key, running, waiting, permits_out as "permitsOut", (count(*) over ())::int as total
     from :schema:.limit_keys
     where name = :name and running + waiting > 0
     order by running + waiting desc, limit_keys.key
     limit :limit`,
    { schema, name, limit: most },
  );
  return {
    keys: rows.map(({ total: _total, ...key }: LimitKey & { total: number }) => key),
    total: rows[0]?.total ?? 0,
  };
}

/** @returns whether there was one */
export async function deleteLimit({ knex, schema }: Database, name: string): Promise<boolean> {
  return (await knex.withSchema(schema).from('named_limits').where({ name }).delete()) > 0;
}

/** Renews the worker's leases: see `lease_permits` in the migration. */
export async function leasePermits(
  { knex, schema }: Database,
  worker: string,
  wishes: readonly PermitWish[],
): Promise<PermitGrant[]> {
  const { rows } = await knex.raw(
    `select limit_name as name, limit_key as key, given as permits, starts, clock
     from :schema:.lease_permits(:worker, :wishes::jsonb, :leaseMs, :horizonMs, :turnMs)`,
    {
      schema,
      worker,
      wishes: JSON.stringify(wishes),
      leaseMs: waitMs('permitLease'),
      horizonMs: startsAheadMs(),
      turnMs: waitMs('permitTurn'),
    },
  );
  return rows;
}

/** Gives back all permits of a worker that stops. */
export async function releasePermits({ knex, schema }: Database, worker: string): Promise<void> {
  await knex.withSchema(schema).from('limit_permits').where({ worker }).delete();
}
