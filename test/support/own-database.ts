import { randomBytes } from 'node:crypto';
import knexFactory, { type Knex } from 'knex';
import { inject, onTestFinished } from 'vitest';

/**
 * A database of the test's own, until it has finished: tables of examples are in the schema `public`.
 *
 * @param prefix of its name
 */
export async function ownDatabase(prefix: string): Promise<{ url: string; knex: Knex }> {
  const name = `${prefix}_${randomBytes(6).toString('hex')}`;
  const admin = knexFactory({ client: 'pg', connection: inject('databaseUrl') });
  const url = new URL(inject('databaseUrl'));
  url.pathname = name;
  const knex = knexFactory({ client: 'pg', connection: url.href });
  onTestFinished(async () => {
    await knex.destroy();
    await admin.raw('drop database if exists ?? with (force)', [name]);
    await admin.destroy();
  });
  await admin.raw('create database ??', [name]);
  return { url: url.href, knex };
}
