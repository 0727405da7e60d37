import type { Knex } from 'knex';
import type { RegisterCallbackInput, RetryCallbackInput } from '../../activities/contract.ts';
import type { BatchEvent, CallbackRegistration } from '../../workflows/batch-state.ts';
import { toStorable } from '../json-value.ts';
import type { Database } from './connect.ts';
import { IN_TRANSACTION } from './own-knex.ts';
import type { CallbackRow } from './rows.ts';

interface CallbackKey {
  readonly batchId: string;
  readonly round: number;
  readonly event: BatchEvent;
}

export async function insertCallback(
  { knex, schema }: Database,
  { batchId, round, ...registration }: RegisterCallbackInput,
): Promise<void> {
  const { event, callback } = registration;
  await knex.raw(
    `insert into :schema:.batch_callbacks (batch_id, round, event, callback, registration)
     select id, :round, :event, :callback, :registration::jsonb from :schema:.batches where id = :batchId
     on conflict (batch_id, round, event) do nothing`,
    { schema, batchId, round, event, callback, registration: JSON.stringify(registration) },
  );
}

/** An attempt of a callback. */
export interface CallbackAttempt {
  /** From 1: how many times the handler has run, with this one. */
  readonly attempt: number;
  /** How many of them count against `maximumAttempts`. */
  readonly charged: number;
}

/**
 * Records that an attempt starts, unless there were as many as there may be.
 *
 * @returns undefined if there is none left, or no row
 */
export async function markCallbackRunning(
  { knex, schema }: Database,
  { batchId, round, event, maximumAttempts }: CallbackKey & { maximumAttempts?: number },
): Promise<CallbackAttempt | undefined> {
  const { rows } = await knex.raw(
    `update :schema:.batch_callbacks
     set status = 'running', attempts = attempts + 1, charged = charged + 1, started_at = coalesce(started_at, now())
     where batch_id = :batchId and round = :round and event = :event and status in ('registered', 'scheduled', 'running')
       and charged < coalesce(:maximumAttempts::integer, charged + 1)
     returning attempts as attempt, charged`,
    { schema, batchId, round, event, maximumAttempts: maximumAttempts ?? null },
  );
  return rows[0];
}

/** Takes an attempt back from those charged: the database broke its transaction. Repeating it changes nothing. */
export async function excuseCallbackAttempt(
  database: Database,
  key: CallbackKey,
  { attempt, charged }: CallbackAttempt,
): Promise<void> {
  await rowOf(database, key)
    .where({ status: 'running', attempts: attempt })
    .update({ charged: charged - 1 });
}

/**
 * The callback of an alert is about to run. It may have run for an alert before, and again with `retryCallback`. Late or
 * repeated, this changes nothing.
 */
export async function markAlertCallbackScheduled(
  database: Database,
  { alert, ...key }: Omit<CallbackKey, 'event'> & { alert: number },
): Promise<void> {
  await rowOf(database, { ...key, event: 'idle' })
    .where('alert', '<', alert)
    .update({
      status: 'scheduled',
      alert,
      retries: 0,
      attempts: 0,
      charged: 0,
      error_class: null,
      error_message: null,
      scheduled_at: database.knex.fn.now(),
      started_at: null,
      finished_at: null,
    });
}

/**
 * Records that the handler returned.
 *
 * @param trx of the app, to do it in
 * @returns whether this call decided it: false if it had completed before
 */
export async function markCallbackCompleted(
  database: Database,
  key: CallbackKey,
  trx?: Knex.Transaction,
): Promise<boolean> {
  const query = rowOf(database, key).whereIn('status', ['registered', 'scheduled', 'running']).update({
    status: 'completed',
    finished_at: database.knex.fn.now(),
    error_class: null,
    error_message: null,
  });
  if (trx) query.connection(await trx.client.acquireConnection()).options(IN_TRANSACTION);
  return (await query) > 0;
}

/** Records why an attempt failed; `final` when no further one follows. */
export async function markCallbackFailure(
  database: Database,
  key: CallbackKey,
  error: { errorClass: string; errorMessage: string; final: boolean },
): Promise<void> {
  await rowOf(database, key)
    .whereNot('status', 'completed')
    .update({
      // A text that Postgres refuses would make the workflow repeat this write for ever.
      error_class: toStorable(error.errorClass),
      error_message: toStorable(error.errorMessage),
      ...(error.final ? { status: 'failed', finished_at: database.knex.fn.now() } : {}),
    });
}

/**
 * Makes a callback that has failed for good due once more, with new attempts; also one that its workflow left behind.
 * Repeating it gives the same answer. The batch's row is locked: no round is opened, and no prune begins, meanwhile.
 *
 * @returns whether it is this retry's to run: not if another one has it, or if the batch is gone or has another round
 */
export async function markCallbackRetried(
  { knex, schema }: Database,
  { batchId, round, event, retry, isAbandoned }: RetryCallbackInput,
): Promise<boolean> {
  const { rows } = await knex.raw(
    `with batch as materialized (
       select id from :schema:.batches
       where id = :batchId and round = :round and pruned_at is null for share
     ), callback as materialized (
       -- Reads what a repetition that ran just before has written: an update that waited for it would find nothing to do.
       select status, retries from :schema:.batch_callbacks
       where batch_id = (select id from batch) and round = :round and event = :event for update
     ), retried as (
       update :schema:.batch_callbacks
       set status = 'scheduled', retries = :retry, attempts = 0, charged = 0, error_class = null, error_message = null,
         scheduled_at = now(), started_at = null, finished_at = null
       where batch_id = (select id from batch) and round = :round and event = :event and exists (
         select 1 from callback where retries = :retry - 1
           and (status = 'failed' or :isAbandoned and status in ('scheduled', 'running')))
       returning 1
     )
     select exists (select 1 from retried) or exists (
       select 1 from callback where retries = :retry and status in ('scheduled', 'running')) as ours`,
    { schema, batchId, round, event, retry, isAbandoned },
  );
  return rows[0].ours;
}

/** What a retry of a callback is made from. */
export interface RetryBasis {
  readonly round: number;
  readonly status: CallbackRow['status'];
  readonly retries: number;
  readonly alert: number;
  readonly registration: CallbackRegistration;
}

/** The callback of the newest round; undefined if the event has none. */
export async function selectRetryBasis(
  { knex, schema }: Database,
  batchId: string,
  event: BatchEvent,
): Promise<RetryBasis | undefined> {
  const { rows } = await knex.raw(
    `select c.round, c.status, c.retries, c.alert, c.registration
     from :schema:.batch_callbacks c join :schema:.batches b on b.id = c.batch_id and b.round = c.round
     where c.batch_id = :batchId and c.event = :event and b.pruned_at is null`,
    { schema, batchId, event },
  );
  return rows[0];
}

/** Events of the newest round whose callbacks run again after they had failed for good. */
export async function selectRetriedEvents(
  { knex, schema }: Database,
  batchId: string,
): Promise<BatchEvent[]> {
  const { rows } = await knex.raw(
    `select c.event
     from :schema:.batch_callbacks c join :schema:.batches b on b.id = c.batch_id and b.round = c.round
     where c.batch_id = :batchId and c.retries > 0 and c.status in ('scheduled', 'running')`,
    { schema, batchId },
  );
  return rows.map(({ event }: { event: BatchEvent }) => event);
}

/** How the callback stands; undefined if it has no row. By a lock, so that no replica answers: it may run by that. */
export async function selectCallbackStatus(
  database: Database,
  key: CallbackKey,
): Promise<CallbackRow['status'] | undefined> {
  return (await rowOf(database, key).forKeyShare().first('status'))?.status;
}

/** Those of the newest round. */
export async function selectCallbacks({ knex, schema }: Database, batchId: string): Promise<CallbackRow[]> {
  return knex
    .withSchema(schema)
    .from('batch_callbacks')
    .where('batch_id', batchId)
    .where('round', knex.withSchema(schema).from('batches').where('id', batchId).select('round'))
    .orderBy('event')
    .select<CallbackRow[]>(
      'event',
      'callback',
      'status',
      'attempts',
      'error_class',
      'error_message',
      'scheduled_at',
      'started_at',
      'finished_at',
    );
}

function rowOf({ knex, schema }: Database, { batchId, round, event }: CallbackKey) {
  return knex.withSchema(schema).from('batch_callbacks').where({ batch_id: batchId, round, event });
}
