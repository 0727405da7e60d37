import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { deleteBatch, selectBatch } from '../database/batches.ts';
import type { Database } from '../database/connect.ts';
import type { BatchRow } from '../database/rows.ts';
import { BatchExistsError } from '../errors.ts';
import { unlessNotFound } from '../temporal-calls.ts';
import { newestEvents } from '../temporal-history.ts';
import { CALLS } from '../timeouts.ts';
import { batchWorkflowId } from './batch-client.ts';
import { mismatchIn } from './mismatch.ts';
import { toBatchError } from './temporal-errors.ts';

/** By this reason of its end a batch that was given up is told from one that somebody terminated. */
const REASON = 'No worker answered create() in time';

/** A batch that was taken back. */
export interface GivenUp {
  /** What workers of another schema said of it, if some took it up; undefined: none did. */
  readonly mismatch: string | undefined;
}

/** Where batches are. */
interface Place {
  readonly client: Client;
  readonly database: Database;
}

/**
 * Takes back a batch that no worker took up. By the creation's own id: the batch's id may be another's by now, or may
 * have been before.
 *
 * @returns undefined if a worker came up at the last moment and made it
 * @throws {@link BatchExistsError}
 * @throws {@link TemporalUnavailableError} when Temporal does not answer either; if the batch was started all the
 * same, `openTimeout` ends it
 */
export async function giveUp(
  { client, database }: Place,
  id: string,
  creationId: string,
): Promise<GivenUp | undefined> {
  const workflowId = batchWorkflowId(id);
  try {
    return await client.withDeadline(Date.now() + CALLS.giveUp, async () => {
      const { memo, runId, raw } = await client.workflow.getHandle(workflowId).describe();
      if (memo?.['creationId'] !== creationId) throw new BatchExistsError(id);
      const isWritten = async () => (await selectBatch(database, id))?.first_execution_run_id === runId;
      // Others may have found it by its id, and use it.
      if (await isWritten()) return undefined;
      await client.workflow.getHandle(workflowId, runId).terminate(REASON);
      // A worker may have written the row meanwhile. One that writes it after this takes it back: see `createBatch` in
      // activities/mirror.ts. Looked for first: an app's role need not be allowed to delete, and there is hardly ever
      // a row.
      if (await isWritten()) await deleteBatch(database, { batchId: id, firstExecutionRunId: runId });
      return { mismatch: mismatchIn(raw) };
    });
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return { mismatch: undefined };
    throw toBatchError(id, error);
  }
}

/**
 * Whether the row is of a batch that was given up: a worker wrote it too late, and takes it back in a moment, or died
 * before it could.
 *
 * @throws {@link TemporalUnavailableError}
 */
export async function isGivenUp(client: Client, row: BatchRow): Promise<boolean> {
  // Nobody was ever told of it, so that it has no jobs.
  if (row.status !== 'pending' || row.sealed_at !== null || row.total > 0) return false;
  const { id, first_execution_run_id: runId } = row;
  try {
    const lastEvent = () => newestEvents(client, batchWorkflowId(id), runId, 1);
    const events = await unlessNotFound(client, lastEvent, CALLS.giveUp);
    return events?.[0]?.workflowExecutionTerminatedEventAttributes?.reason === REASON;
  } catch (error) {
    throw toBatchError(id, error);
  }
}
