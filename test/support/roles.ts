import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import knexFactory, { type Knex } from 'knex';
import { inject } from 'vitest';

/** The roles of docs/operations.md, under names of a test's own, for a schema of its own. */
export interface Roles extends AsyncDisposable {
  /** Connection string of a role, by its name in the page. */
  urlOf(role: string): string;
  /** Runs the page's SQL that grants something beyond the defaults: the block that has this text. */
  grant(text: string): Promise<void>;
}

const NAMES = ['batch_owner', 'batch_worker', 'batch_enqueuer', 'batch_reader'];

/**
 * Runs the page's SQL, in its order.
 *
 * @param migrate between the creation of the roles and the grants, as the page says
 */
export async function createRoles(
  schema: string,
  migrate: (ownerUrl: string) => Promise<unknown>,
): Promise<Roles> {
  const page = await readFile(new URL('../../docs/operations.md', import.meta.url), 'utf8');
  const blocks = [...page.matchAll(/^ *```sql\n(.*?)^ *```$/gms)].map(([, sql]) => sql!);
  const [creation, grants] = ['create role batch_owner', 'grant usage on schema'].map((text) =>
    blocks.find((sql) => sql.includes(text))!,
  );
  const suffix = randomBytes(6).toString('hex');
  const url = new URL(inject('databaseUrl'));
  const renamed = (sql: string) =>
    sql
      .replaceAll(/\bbatch_(owner|worker|enqueuer|reader)\b/g, (role) => `${role}_${suffix}`)
      .replaceAll(/\bdatabase app\b/g, `database ${url.pathname.slice(1)}`)
      .replaceAll(/\b(schema|search_path to) batch_jobs\b/g, `$1 ${schema}`)
      .replaceAll('batch_jobs.', `${schema}.`);
  const urlOf = (role: string) => {
    const own = new URL(url);
    [own.username, own.password] = [`${role}_${suffix}`, suffix];
    return own.href;
  };
  const admin = knexFactory({ client: 'pg', connection: url.href, pool: { min: 0, max: 1 } });
  await admin.raw(renamed(creation!));
  for (const name of NAMES) await admin.raw(`alter role ${name}_${suffix} password '${suffix}'`);
  await migrate(urlOf('batch_owner'));
  await admin.raw(renamed(grants!));
  return {
    urlOf,
    async grant(text) {
      await admin.raw(renamed(blocks.find((sql) => sql.includes(text))!));
    },
    async [Symbol.asyncDispose]() {
      for (const name of NAMES) {
        await admin.raw(`drop owned by ${name}_${suffix} cascade; drop role ${name}_${suffix}`);
      }
      await admin.destroy();
    },
  };
}

/** A pool of a role. */
export function openAs(roles: Roles, role: string): Knex {
  return knexFactory({ client: 'pg', connection: roles.urlOf(role), pool: { min: 0, max: 5 } });
}
