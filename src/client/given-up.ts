import type { Client, WorkflowExecutionDescription } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { deleteBatch, selectBatch } from '../database/batches.ts';
import type { Database } from '../database/connect.ts';
import { preferPrimary } from '../database/primary.ts';
import type { BatchRow } from '../database/rows.ts';
import { withRetry } from '../database/retry.ts';
import { BatchExistsError, CodecMismatchError, DatabaseUnavailableError } from '../errors.ts';
import { unlessNotFound } from '../temporal-calls.ts';
import { newestEvents } from '../temporal-history.ts';
import { encodingIn, encodingOf, readPayload } from '../temporal-payloads.ts';
import { CALLS } from '../timeouts.ts';
import { batchWorkflowId } from './batch-client.ts';
import { toBatchError } from './temporal-errors.ts';

/** By this reason of its end a batch that was given up is told from one that somebody terminated. */
const REASON = 'No worker answered create() in time';

/** Where batches are. */
interface Place {
  readonly client: Client;
  readonly database: Database;
}

/** What became of a creation that was given up. */
export interface GivenUp {
  /** Not if a worker came up at the last moment and made the batch. */
  readonly isTakenBack: boolean;
  /** Set where it was taken back while Postgres did not answer. */
  readonly databaseError?: unknown;
}

/**
 * Takes back a batch that no worker took up, or whose row no worker could write. By the creation's own id: the batch's
 * id may be another's by now, or may have been before.
 *
 * @throws {@link BatchExistsError}
 * @throws {@link CodecMismatchError} when workers took it up and could not read it; it was taken back
 * @throws {@link TemporalUnavailableError} when Temporal does not answer either; if the batch was started all the
 * same, `openTimeout` ends it
 */
export async function giveUp({ client, database }: Place, id: string, creationId: string): Promise<GivenUp> {
  const workflowId = batchWorkflowId(id);
  try {
    const described = await client.withDeadline(Date.now() + CALLS.giveUp, () =>
      client.workflow.getHandle(workflowId).describe(),
    );
    const { memo, runId } = described;
    if (memo?.['creationId'] !== creationId) throw new BatchExistsError(id);
    let databaseError: unknown;
    const isWritten = async (): Promise<boolean> => {
      if (databaseError !== undefined) return !isUnwritten(described);
      try {
        const read = () => preferPrimary((lock) => selectBatch(database, id, lock));
        const row = await withRetry(read, { timeoutMs: CALLS.giveUp });
        return row?.first_execution_run_id === runId;
      } catch (error) {
        if (!(error instanceof DatabaseUnavailableError)) throw error;
        databaseError = error.cause;
        return !isUnwritten(described);
      }
    };
    // Others may have found it by its id, and use it.
    if (await isWritten()) return { isTakenBack: false };
    const encoding = await client.withDeadline(Date.now() + CALLS.giveUp, () =>
      unreadEncoding(client, workflowId, runId),
    );
    await client.withDeadline(Date.now() + CALLS.giveUp, () =>
      client.workflow.getHandle(workflowId, runId).terminate(REASON),
    );
    // A worker may have written the row meanwhile. One that writes it after this takes it back: see `createBatch` in
    // activities/mirror.ts. Looked for first: an app's role need not be allowed to delete, and there is hardly ever
    // a row.
    if (databaseError === undefined && (await isWritten()) && databaseError === undefined)
      await deleteBatch(database, { batchId: id, firstExecutionRunId: runId });
    if (encoding !== undefined) throw unread(id, encoding);
    return { isTakenBack: true, ...(databaseError === undefined ? {} : { databaseError }) };
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return { isTakenBack: true };
    throw toBatchError(id, error);
  }
}

/** More events than a run has before its first task is done: its start, and the task, which may have failed. */
const FIRST_EVENTS = 4;

/** Whether the workflow has not written its row yet, as far as Temporal tells: for when Postgres cannot be asked. */
function isUnwritten({ raw, historyLength }: WorkflowExecutionDescription): boolean {
  const isWriting = raw.pendingActivities?.some(({ activityType }) => activityType?.name === 'createBatch');
  return isWriting === true || (raw.pendingWorkflowTask != null && historyLength <= FIRST_EVENTS);
}

/** The encoding of the batch's payloads, if workers took it up and could not read them. */
async function unreadEncoding(
  client: Client,
  workflowId: string,
  runId: string,
): Promise<string | undefined> {
  // The first failure of a task is in the history, and those of its repetitions are not.
  const events = await newestEvents(client, workflowId, runId, 10);
  const failure = events.find((event) => event.workflowTaskFailedEventAttributes)
    ?.workflowTaskFailedEventAttributes?.failure;
  const encoding = encodingIn(failure?.message ?? '');
  if (encoding !== undefined || !failure?.encodedAttributes) return encoding;
  // Workers with a codec encode what went wrong. Where this client cannot read that, their codecs or keys differ.
  const { encodedAttributes } = failure;
  const isReadable = await readPayload(client, { kind: 'workflow', id: workflowId }, encodedAttributes).then(
    () => true,
    () => false,
  );
  return isReadable ? undefined : encodingOf(encodedAttributes);
}

function unread(id: string, encoding: string): CodecMismatchError {
  return new CodecMismatchError(
    'CODEC_MISMATCH',
    `Batch "${id}" was not created: its workers cannot read the payloads of this client, which are encoded as ` +
      `${encoding}. Give createBatchWorker the dataConverter of the client, with its keys: workerOptions: { dataConverter }.`,
  );
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
