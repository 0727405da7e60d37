import type { Database } from './connect.ts';
import { sqlstateOf } from './database-errors.ts';

/**
 * Reads by which absence decides something that nobody takes back. The transaction begins with a weak lock on the
 * batch's row. A replica refuses that, and a proxy that splits reads sends the rest to the primary, too.
 */
export async function atPrimary<T>(
  { knex, schema }: Database,
  batchId: string,
  read: (database: Pick<Database, 'knex' | 'schema'>) => Promise<T>,
): Promise<T> {
  return knex.transaction(async (trx) => {
    await trx.raw('select from :schema:.batches where id = :batchId for key share', { schema, batchId });
    return read({ knex: trx, schema });
  });
}

/** SQLSTATE: the role may not lock rows, or the session or server is read-only. */
const MAY_NOT_LOCK: readonly unknown[] = ['42501', '25006'];

/** Reads with a lock, so that the primary answers; as it is where this role or server only reads. */
export async function preferPrimary<T>(
  read: (options: { readonly isLocking: boolean }) => Promise<T>,
): Promise<T> {
  try {
    return await read({ isLocking: true });
  } catch (error) {
    if (!MAY_NOT_LOCK.includes(sqlstateOf(error))) throw error;
    return read({ isLocking: false });
  }
}
