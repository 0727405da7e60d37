import { WorkflowNotFoundError, type SignalDefinition } from '@temporalio/common';
import pRetry from 'p-retry';
import { enrolledSignal, jobsAddedSignal, sealUpdate, type SealMessage } from '../../workflows/messages.ts';
import {
  BatchSettledError,
  DatabaseUnavailableError,
  TemporalUnavailableError,
  WorkerUnavailableError,
} from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import type { BatchClient } from './batch-client.ts';
import { callBatch, handleOf } from './call-batch.ts';
import type { EnrollmentChannel } from './enrollment.ts';
import { SharedAnnouncements } from './shared-announcements.ts';
import { toBatchError } from './temporal-errors.ts';
import { whyClosed, type Asker } from './why-closed.ts';
import { whyGone } from './why-gone.ts';

/** A Temporal server that is away is waited for about ten minutes: the rows are written, only the seal is missing. */
const SEAL_RETRY = { retries: 40, minTimeout: 500, maxTimeout: 15_000, factor: 2 };

/** Between a batch and who adds jobs to it. */
interface Line {
  readonly batches: BatchClient;
  readonly batchId: string;
  readonly asker: Asker;
}

/** @returns the error if the workflow has ended */
type Tell = (upTo: number, queues: readonly string[]) => Promise<WorkflowNotFoundError | undefined>;

/** Of the one block of a batch, which seals it. */
export function blockChannel(batches: BatchClient, batchId: string, token: string): EnrollmentChannel {
  const line: Line = { batches, batchId, asker: { token } };
  return {
    announce: async (upTo, queues) => {
      const isGone = await isGoneAfter(line, enrolledSignal, { token, upTo, queues });
      if (isGone) throw await closedBy(line, isGone);
    },
    seal: (upTo, queues, error) =>
      persistently(line, 'The batch could not be sealed yet; trying again', () =>
        seal(line, { token, upTo, queues, ...(error === undefined ? {} : { error }) }),
      ),
  };
}

/** Of a block of an open-ended batch, which goes on after it. */
export function openEndedChannel(batches: BatchClient, batchId: string, token: string): EnrollmentChannel {
  const line: Line = { batches, batchId, asker: { token } };
  return addingChannel(line, token, (upTo, queues) =>
    isGoneAfter(line, enrolledSignal, { token, upTo, queues }),
  );
}

/** Of a handler that adds jobs to its own batch. */
export function handlerChannel(batches: BatchClient, batchId: string, runId: string): EnrollmentChannel {
  const line: Line = { batches, batchId, asker: 'handler' };
  return addingChannel(line, `handler/${runId}`, (upTo, queues) =>
    isGoneAfter(line, jobsAddedSignal, { runId, upTo, queues }),
  );
}

/** Seals an open-ended batch. @returns the total; 0 if it was empty, and is gone */
export function sealOpenEnded(batches: BatchClient, batchId: string, token: string): Promise<number> {
  return seal({ batches, batchId, asker: { token } }, { token, upTo: 0, queues: [] });
}

/**
 * Announces, without sealing. Rows of a batch that has ended meanwhile have been run with the others.
 *
 * @param speaker in whose name the batch is told
 */
function addingChannel(line: Line, speaker: string, tell: Tell): EnrollmentChannel {
  const { batches, batchId } = line;
  /** Up to where Temporal has taken an announcement. */
  let told = 0;
  const announce: EnrollmentChannel['announce'] = async (upTo, queues) => {
    const isGone = await tellTogether(line, speaker, tell, { upTo, queues });
    if (!isGone) {
      told = Math.max(told, upTo);
      return;
    }
    const row = await batches.readRow(batchId, CALLS.database);
    if (row?.settled_at && row.stop_reason === null && row.total >= upTo && upTo > 0) return;
    throw await whyGone(batches, batchId, row, line.asker, isGone);
  };
  return {
    announce,
    seal: async (upTo, queues) => {
      if (upTo > 0) {
        const warning = 'Added jobs could not be announced yet; trying again';
        if (upTo > told) await persistently(line, warning, () => announce(upTo, queues));
        return upTo;
      }
      return (await batches.readRow(batchId))?.total ?? 0;
    },
  };
}

/** Announcements of each client that wait for an answer, by batch and speaker. */
const SHARED = new WeakMap<BatchClient, Map<string, SharedAnnouncements<Awaited<ReturnType<Tell>>>>>();

async function tellTogether(
  { batches, batchId }: Line,
  speaker: string,
  tell: Tell,
  { upTo, queues }: { readonly upTo: number; readonly queues: readonly string[] },
): ReturnType<Tell> {
  let ofClient = SHARED.get(batches);
  if (!ofClient) SHARED.set(batches, (ofClient = new Map()));
  const key = `${batchId}/${speaker}`;
  let shared = ofClient.get(key);
  if (!shared) ofClient.set(key, (shared = new SharedAnnouncements(tell)));
  try {
    return await shared.announce(upTo, queues);
  } finally {
    if (shared.isIdle) ofClient.delete(key);
  }
}

/** Sends a signal. @returns the error if the workflow has ended */
async function isGoneAfter<T>(
  { batches, batchId }: Line,
  signal: SignalDefinition<[T]>,
  message: T,
): Promise<WorkflowNotFoundError | undefined> {
  try {
    await batches.client.withDeadline(Date.now() + CALLS.announce, () =>
      handleOf(batches, batchId).signal(signal, message),
    );
    return undefined;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return error;
    throw toBatchError(batchId, error);
  }
}

async function seal(line: Line, message: SealMessage): Promise<number> {
  const { batches, batchId } = line;
  try {
    const { total } = await callBatch(batches, batchId, 'The batch is not sealed yet', (handle, updateId) =>
      handle.executeUpdate(sealUpdate, { args: [message], updateId }),
    );
    return total;
  } catch (error) {
    if (error instanceof BatchSettledError) return sealedBefore(line, message.upTo, message.error, error);
    if (!(error instanceof WorkerUnavailableError)) throw error;
  }
  // An update needs a worker; a signal is durable without one. The jobs run once a worker is up.
  const isGone = await isGoneAfter(line, enrolledSignal, { ...message, sealed: true });
  if (isGone) return sealedBefore(line, message.upTo, message.error, isGone);
  const row = await batches.readRow(batchId).catch((error: unknown) => {
    // The seal is durable: its total is what was enrolled.
    if (message.upTo > 0 && error instanceof DatabaseUnavailableError) return undefined;
    throw error;
  });
  if (row?.stop_reason != null) throw whyClosed(batchId, row, line.asker);
  return message.upTo > 0 ? message.upTo : (row?.total ?? 0);
}

/** The workflow has ended: by a seal of ours whose answer was lost, or because it closed the block itself. */
async function sealedBefore(
  line: Line,
  upTo: number,
  error: string | undefined,
  cause: unknown,
): Promise<number> {
  const row = await line.batches.readRow(line.batchId, CALLS.database);
  // An empty block without an error leaves no row.
  if (!row && upTo === 0 && error === undefined) return 0;
  const isOurs = row && row.stop_reason === null && (row.enrollment_error ?? undefined) === error;
  if (isOurs && row.sealed_at !== null && row.total >= upTo) return row.total;
  throw await whyGone(line.batches, line.batchId, row, line.asker, cause);
}

async function closedBy({ batches, batchId, asker }: Line, cause: unknown): Promise<Error> {
  return whyGone(batches, batchId, await batches.readRow(batchId, CALLS.database), asker, cause);
}

function persistently<T>({ batches, batchId }: Line, warning: string, run: () => Promise<T>): Promise<T> {
  return pRetry(run, {
    ...SEAL_RETRY,
    shouldRetry: (failure) => failure instanceof TemporalUnavailableError,
    onFailedAttempt: (failure) => {
      // Asked before `shouldRetry` is.
      if (!(failure instanceof TemporalUnavailableError)) return;
      batches.logger.warn(warning, { batchId, attempt: failure.attemptNumber, error: failure.message });
    },
  });
}
