import { selectCallbacks } from '../database/callbacks.ts';
import type { Database } from '../database/connect.ts';
import { selectNested } from '../database/members.ts';
import type { CallbackRow } from '../database/rows.ts';
import { counted, digits, oneLine, quote } from '../doctor/words.ts';

/** What a row says of a batch that has not ended. */
export interface WaitingBatch {
  readonly id: string;
  readonly status: string;
  readonly total: number;
  readonly pending: number;
  readonly isSealed: boolean;
  readonly settledAt: Date | null;
  readonly pausedAt: Date | null;
  readonly stopReason: string | null;
}

/** Nested batches and workflows that are named. */
const NAMED = 3;

/** What a batch that has not ended waits for, as far as its rows tell, in one sentence. */
export async function whatItWaitsFor(database: Database, batch: WaitingBatch): Promise<string> {
  if (batch.settledAt === null) return explainPending(batch, await selectNested(database, batch.id, NAMED));
  return explainCallbacks(batch, await selectCallbacks(database, batch.id));
}

/** The rules for a batch whose jobs have not all ended. */
export function explainPending(batch: WaitingBatch, nested: readonly string[]): string {
  const { status, pending, total, isSealed, pausedAt, stopReason } = batch;
  const jobs = `${digits(pending)} of ${counted(total, 'job')} ${pending === 1 ? 'is' : 'are'} pending`;
  const more = nested.length === NAMED ? ' and maybe others' : '';
  const which = nested.length > 0 ? `, among them ${nested.join(', ')}${more}` : '';
  if (stopReason !== null) return `it was stopped (${oneLine(stopReason)}) and waits for jobs that still run`;
  if (pausedAt !== null) return `it is paused, and ${jobs}; resume() lets it go on`;
  if (!isSealed) return `jobs() has not ended or seal() was not called, and ${jobs}${which}`;
  if (pending === 0) return `it is ${status}, all of its jobs have ended, and a worker has to write its end`;
  return `it is ${status}, ${jobs}${which}`;
}

/** The rules for a batch that waits for its callbacks. */
export function explainCallbacks({ status }: WaitingBatch, callbacks: readonly CallbackRow[]): string {
  const open =
    callbacks.find((row) => row.status === 'running') ?? callbacks.find((row) => row.status === 'scheduled');
  const ended = `it is ${status}, all of its jobs have ended`;
  if (!open) return `${ended}, and its workflow is about to close`;
  const { event, callback, attempts, error_class: errorClass, error_message: message } = open;
  const name = `its callback ${quote(callback)} on ${event}`;
  if (errorClass === 'UnknownCallbackError')
    return `${ended}, and it waits for ${name}, which no worker that was asked knows. Give it to createBatchWorker({ callbacks })`;
  if (errorClass !== null)
    return `${ended}, and it waits for ${name}, which failed ${counted(attempts, 'attempt')}: ${oneLine(`${errorClass}: ${message ?? ''}`)}`;
  if (attempts === 0) return `${ended}, and it waits for ${name}, which no worker has started`;
  return `${ended}, and it waits for ${name}, which runs (attempt ${attempts})`;
}
