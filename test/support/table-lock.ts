import type { World } from './world.ts';

/** A lock on a table of a world: whoever writes to it waits. */
export interface TableLock extends AsyncDisposable {
  /** Backends that wait for it, by the number that Postgres knows them by. */
  waiting(): Promise<number[]>;
  /** Lets go; also where the connection that held it is gone. Safe to call twice. */
  release(): Promise<void>;
}

export async function lockTable({ knex, schema }: World, table: string): Promise<TableLock> {
  const trx = await knex.transaction();
  await trx.raw('lock table ??.?? in exclusive mode', [schema, table]);
  let isHeld = true;
  const release = async () => {
    if (!isHeld) return;
    isHeld = false;
    await trx.rollback().catch(() => {});
  };
  return {
    async waiting() {
      const { rows } = await knex.raw(
        `select pid from pg_locks where not granted and relation = format('%I.%I', ?::text, ?::text)::regclass`,
        [schema, table],
      );
      return rows.map(({ pid }: { pid: number }) => pid);
    },
    release,
    [Symbol.asyncDispose]: release,
  };
}
