import { activityInfo, log } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { describeSchema, isSameSchema, type SchemaRef } from '../src/database/schema-identity.ts';
import { waitMs } from '../src/timeouts.ts';
import type { ForSchema } from '../workflows/schema.ts';
import type { ActivityDependencies } from './dependencies.ts';

type Dependencies = Pick<ActivityDependencies, 'batches'>;

// oxlint-disable-next-line typescript/no-explicit-any -- activities differ in their inputs, of which each is an object
type Activities = Record<string, (input: any) => Promise<any>>;

/** A worker beside one of another database may meet thousands of its activities: it says so once in this time. */
const WARNING_INTERVAL_MS = 60_000;

/**
 * Activities that work for the batches of this worker's schema only. For those of another one its rows are not there,
 * and absence would look like loss: such an activity fails before it does anything, and Temporal offers it again, to a
 * worker that may be the right one.
 */
export function guarded<All extends object>({ batches }: Dependencies, activities: All): All {
  const warnedAt = new Map<SchemaRef, number>();

  async function assertOwn(wanted: SchemaRef): Promise<void> {
    const { identity } = batches;
    if (isSameSchema(await identity.ref(), wanted)) return;
    // It may have been dropped and migrated anew since this worker has read it.
    const own = await identity.reread();
    if (isSameSchema(own, wanted)) return;
    const mismatch = mismatchOf(wanted, own);
    if (Date.now() - (warnedAt.get(wanted) ?? -Infinity) >= WARNING_INTERVAL_MS) {
      warnedAt.set(wanted, Date.now());
      log.warn(mismatch.message, { wanted, own });
    }
    throw mismatch;
  }

  return Object.fromEntries(
    Object.entries(activities as unknown as Activities).map(([name, run]) => [
      name,
      async ({ schema, ...input }: ForSchema) => {
        if (schema !== undefined) await assertOwn(schema);
        return run(input);
      },
    ]),
  ) as All;
}

/** The SDK does not log it (BENIGN): the warning above says it, and not for each attempt. */
function mismatchOf(wanted: SchemaRef, own: SchemaRef): ApplicationFailure {
  const { taskQueue, scheduledTimestampMs } = activityInfo();
  const waitedMs = Date.now() - scheduledTimestampMs;
  return ApplicationFailure.create({
    type: 'DATABASE_MISMATCH',
    message:
      `A worker on task queue "${taskQueue}" has opened schema ${describeSchema(own)}, but was given work for schema ` +
      `${describeSchema(wanted)}. It did nothing. Give each database and schema its own task queue, or start the ` +
      'workers of this task queue with the same database and schema.',
    category: ApplicationFailureCategory.BENIGN,
    nextRetryDelay: Math.min(waitMs('otherSchemaMax'), Math.max(waitMs('otherSchema'), waitedMs / 10)),
  });
}
