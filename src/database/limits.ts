import { waitMs } from '../timeouts.ts';
import type { Database } from './connect.ts';

/** A row of the view `limits`. */
export interface LimitRow {
  readonly name: string;
  readonly max_concurrent: number | null;
  readonly per_second: number | null;
  readonly key_max_concurrent: number | null;
  readonly permits_out: number;
  readonly running: number;
  readonly waiting: number;
  readonly created_at: Date;
  readonly updated_at: Date;
}

/** A worker's request for one limit and key. The key is empty for jobs without one. */
export interface PermitWish {
  readonly name: string;
  readonly key: string;
  readonly running: number;
  readonly waiting: number;
  /** Permits that the worker uses until the answer arrives. */
  readonly permits: number;
  /** Number of reserved starts that it needs. */
  readonly starts: number;
}

/** The answer to a request. A limit that does not exist gets none. */
export interface PermitGrant {
  readonly name: string;
  readonly key: string;
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
  limit: Pick<LimitRow, 'name' | 'max_concurrent' | 'per_second' | 'key_max_concurrent'>,
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
