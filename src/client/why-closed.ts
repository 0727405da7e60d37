import type { BatchRow } from '../database/rows.ts';
import {
  AlreadyEnrolledError,
  BatchCancelledError,
  BatchFailedError,
  BatchNotFoundError,
  BatchSealedError,
  BatchSettledError,
  EnrollmentBrokenError,
  EnrollmentTimedOutError,
  type BatchError,
} from '../errors.ts';

/** Who wanted to add jobs: an enqueuer, by the token of its block, or a handler. */
export type Asker = { readonly token: string } | 'handler';

/** Why the batch's block cannot be opened, as its row says. */
export function whyNotOpened(batchId: string, row: BatchRow | undefined): BatchError {
  // Then it does not matter who asks.
  if (!row || row.stop_reason !== null) return whyClosed(batchId, row, 'handler');
  if (row.enrollment_token === null) {
    return new EnrollmentTimedOutError(
      'ENROLLMENT_TIMED_OUT',
      `Batch "${batchId}" has closed itself: no block of it was opened for openTimeout. Create another batch.`,
    );
  }
  return new AlreadyEnrolledError(
    'ALREADY_ENROLLED',
    `jobs() was called for batch "${batchId}" before. A batch has one enrollment block. If this is the same work once ` +
      'more, as in a retried job, pass { once: true }. Otherwise create another batch.',
  );
}

/**
 * How many jobs a batch has whose enrollment is over, as its row says.
 *
 * @returns undefined while it is not over
 * @throws why it did not come to its proper end
 */
export function totalOnceEnrolled(batchId: string, row: BatchRow | undefined): number | undefined {
  if (!row || wasStoppedBefore(row)) throw whyClosed(batchId, row, 'handler');
  if (row.enrollment_error !== null) {
    throw new EnrollmentBrokenError(
      'ENROLLMENT_BROKEN',
      `The enrollment of batch "${batchId}" broke before: ${row.enrollment_error}. ` +
        'Jobs enrolled until then run, and the batch ends failed. Create another batch, with another id.',
    );
  }
  return row.sealed_at === null ? undefined : row.total;
}

/** Whether a batch was stopped before all its jobs were enrolled. One that was stopped later has them. */
function wasStoppedBefore(row: BatchRow): boolean {
  const { auto_seal, enrollment_token, sealed_at, stop_reason, stopped_at } = row;
  if (stop_reason === null) return false;
  const wasOpened = !auto_seal || enrollment_token !== null;
  return !(wasOpened && sealed_at !== null && stopped_at !== null && sealed_at < stopped_at);
}

/** Why the batch takes no jobs any more, as its row says. */
export function whyClosed(
  batchId: string,
  row: BatchRow | undefined,
  asker: Asker,
  cause?: unknown,
): BatchError {
  const options = cause === undefined ? undefined : { cause };
  if (!row) return new BatchNotFoundError(batchId, options);
  if (row.stop_reason !== null) {
    const message = `Batch "${batchId}" was stopped: ${row.stop_reason}. Nothing can be enrolled any more.`;
    return row.stop_outcome === 'failed'
      ? new BatchFailedError('BATCH_FAILED', message, options)
      : new BatchCancelledError('BATCH_CANCELLED', message, options);
  }
  if (asker === 'handler') {
    return new BatchSettledError(
      'BATCH_SETTLED',
      `Batch "${batchId}" is ${row.status}, or its workflow was stopped from outside: no job can be added to it.`,
      options,
    );
  }
  if (row.enrollment_token !== null && row.enrollment_token !== asker.token) {
    return new AlreadyEnrolledError(
      'ALREADY_ENROLLED',
      `Another process has taken over the block of batch "${batchId}". What this one had enrolled before stays.`,
      options,
    );
  }
  if (!row.auto_seal && row.sealed_at !== null && row.enrollment_error === null) {
    return new BatchSealedError(
      'BATCH_SEALED',
      `Batch "${batchId}" was sealed. Nothing can be added from outside any more.`,
      options,
    );
  }
  return new EnrollmentTimedOutError(
    'ENROLLMENT_TIMED_OUT',
    `Batch "${batchId}" has closed while this process enrolled: nothing was heard of it for ` +
      `${row.auto_seal ? 'enrollmentTimeout' : 'openTimeout'}, or its workflow was stopped from outside. ` +
      'Jobs enrolled until then run.',
    options,
  );
}
