import { Client } from '@temporalio/client';
import knexFactory, { type Knex } from 'knex';
import { describe, expect, test } from 'vitest';
import { openDatabase } from '../../src/database/connect.ts';
import { BatchClient, InvalidOptionError } from '../../src/index.ts';

const CONNECTION = 'postgres://u:p@127.0.0.1:1/none';

function refusal(database: Knex): InvalidOptionError {
  try {
    openDatabase(database);
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidOptionError);
    expect(error).toMatchObject({ code: 'INVALID_OPTION', option: 'database' });
    return error as InvalidOptionError;
  }
  throw new Error('The Knex instance was accepted.');
}

describe('a Knex instance is taken', () => {
  test.each([
    ['with the driver pg', knexFactory({ client: 'pg', connection: CONNECTION })],
    ['with the driver of another name for it', knexFactory({ client: 'postgres', connection: CONNECTION })],
    ['with user parameters', knexFactory({ client: 'pg', connection: CONNECTION }).withUserParams({ a: 1 })],
    ['that was never connected', knexFactory({ client: 'pg' })],
  ])('%s', (_, knex) => {
    expect(openDatabase(knex).app).toBe(knex);
  });
});

describe('a Knex instance is refused', () => {
  test.each(['mysql2', 'better-sqlite3', 'mssql'])('of another database: %s', (client) => {
    const { message } = refusal(knexFactory({ client, useNullAsDefault: true }));
    expect(message).toMatch(/^database must be a Knex instance for Postgres and not for \w+, but was/);
  });

  test('whose pool was destroyed', async () => {
    const knex = knexFactory({ client: 'pg', connection: CONNECTION });
    await knex.destroy();
    expect(refusal(knex).message).toContain('before you call knex.destroy()');
  });

  test('by the client, too', () => {
    const client = Object.create(Client.prototype, { workflow: { value: { start() {} } } }) as Client;
    expect(() => new BatchClient({ client, database: knexFactory({ client: 'mysql2' }) })).toThrow(
      InvalidOptionError,
    );
  });
});
