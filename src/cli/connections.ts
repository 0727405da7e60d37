import type { Client } from '@temporalio/client';
import type { Command } from 'commander';
import { openDatabase, type Database } from '../database/connect.ts';
import { assertMigrated } from '../database/migrate.ts';
import { toTemporalError } from '../client/temporal-errors.ts';
import { isTransient } from '../database/retry.ts';
import { reasonOf } from '../doctor/gather.ts';
import { quote } from '../doctor/words.ts';
import {
  DatabaseUnavailableError,
  NamespaceUnknownError,
  TemporalAccessDeniedError,
  TemporalUnavailableError,
} from '../errors.ts';
import type { CliContext } from './context.ts';
import { requireDatabaseUrl } from './database-url.ts';
import type { DatabaseFlags } from './flags.ts';
import type { TemporalSettings } from './temporal.ts';

/**
 * Opens the database for a command, and closes it. Who only reads needs no more than this: Temporal is not asked.
 *
 * @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError}
 */
export async function withDatabase<T>(
  context: CliContext,
  flags: DatabaseFlags,
  command: Command,
  run: (database: Database) => Promise<T>,
): Promise<T> {
  const database = openDatabase(requireDatabaseUrl(context, flags, command), {
    poolSize: 1,
    ...(flags.schema === undefined ? {} : { schema: flags.schema }),
  });
  try {
    return await orUnavailable(async () => {
      await assertMigrated(database);
      return run(database);
    });
  } finally {
    await database.close();
  }
}

/** Says in one line that the database is away. @throws {@link DatabaseUnavailableError} */
export async function orUnavailable<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!isTransient(error)) throw error;
    throw new DatabaseUnavailableError(
      'DATABASE_UNAVAILABLE',
      `Postgres does not answer: ${reasonOf(error)}. Check --database-url or DATABASE_URL, and that the server runs.`,
      { cause: error },
    );
  }
}

/** Connects to Temporal for a command. @throws {@link TemporalUnavailableError} */
export async function withTemporal<T>(
  settings: TemporalSettings,
  run: (client: Client) => Promise<T>,
): Promise<T> {
  const connection = await settings.connect().catch((error: unknown) => {
    const known = toTemporalError('the connection', error);
    if (known instanceof TemporalAccessDeniedError) throw known;
    throw new TemporalUnavailableError(
      'TEMPORAL_UNAVAILABLE',
      `Temporal does not answer at ${settings.address}: ${reasonOf(error)}. Check --address, TEMPORAL_ADDRESS and temporal.toml.`,
      { cause: error },
    );
  });
  try {
    return await run(connection.client);
  } catch (error) {
    if (!(toTemporalError('the call', error) instanceof NamespaceUnknownError)) throw error;
    throw new NamespaceUnknownError(
      'NAMESPACE_UNKNOWN',
      `Temporal at ${settings.address} has no namespace ${quote(settings.namespace)}. Check --namespace, TEMPORAL_NAMESPACE and temporal.toml.`,
      { cause: error },
    );
  } finally {
    await connection.close();
  }
}
