import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import type { Knex } from 'knex';
import type { BatchEvidence, Evidence, ExpectedJob, Expectation, RunEvidence } from './evidence.ts';
import type { CallbackEvent } from './ledger.ts';
import { childrenOf, decoded, runsOf, type Run } from '../support/histories.ts';
import { jobOf, type BatchPlan, type RoundPlan } from './plan.ts';
import { batchIdOf } from './settings.ts';

/** Reads what a round left in Temporal and in the mirror, beside what was gathered while it went on. */
export async function collectEvidence(
  round: Omit<Evidence, 'batches'> & {
    readonly client: Client;
    readonly knex: Knex;
    readonly schema: string;
    readonly plan: RoundPlan;
  },
): Promise<Evidence> {
  const { client, knex, schema, plan, ...gathered } = round;
  const batches: BatchEvidence[] = [];
  for (const batch of plan.batches) {
    const id = batchIdOf(schema, batch);
    const runs = await allRunsOf(client, id);
    batches.push({
      id,
      expected: expectationOf(plan, batch, gathered.maximumAttempts),
      ...(await readMirror(knex, schema, id)),
      runs: runs.map(toEvidence),
    });
  }
  return { batches, ...gathered };
}

function expectationOf(plan: RoundPlan, batch: BatchPlan, maximumAttempts: number): Expectation {
  const jobs = Array.from({ length: batch.size }, (_, index): ExpectedJob => {
    const { failures, isHopeless } = jobOf(batch, index);
    if (isHopeless) return { end: 'failed', attempts: 1, errorClass: 'HopelessError' };
    if (failures >= maximumAttempts)
      return { end: 'failed', attempts: maximumAttempts, errorClass: 'FlakyError' };
    return { end: 'complete', attempts: failures + 1, errorClass: null };
  });
  return {
    jobs,
    failWhen: batch.failWhen,
    throwsAt: batch.enqueuer.throwsAt,
    isEnqueuerDoomed: batch.enqueuer.isProcess,
    isTransactional: batch.callbacks.isTransactional,
    mayBeCancelled: plan.faults.some(
      ({ fault }) => fault.kind === 'cancel-batch' && fault.batch === batch.index,
    ),
  };
}

async function readMirror(knex: Knex, schema: string, id: string) {
  const from = (table: string) => knex.withSchema(schema).from(table);
  const row = await from('batches').where({ id }).first();
  const jobs = await from('batch_jobs').where('batch_id', id).orderBy('position');
  const callbacks = await from('batch_callbacks').where('batch_id', id);
  const effects = await from('effects').where('batch_id', id).select<{ event: CallbackEvent }[]>('event');
  return {
    row: row
      ? {
          status: row.status,
          total: row.total,
          complete: row.completed_count,
          failed: row.failed_count,
          enrollmentError: row.enrollment_error,
          isSealed: row.sealed_at !== null,
          isCompleted: row.completed_at !== null,
          isSettled: row.settled_at !== null,
          isStopped: row.stopped_at !== null,
        }
      : null,
    jobs: jobs.map((job) => ({
      position: job.position,
      status: job.status,
      attempts: job.attempts,
      errorClass: job.error_class,
      createdAt: job.created_at.getTime(),
    })),
    callbacks: callbacks.map(({ event, status, attempts }) => ({ event, status, attempts })),
    effects: effects.map(({ event }) => event),
  };
}

/** Ids of the workflows of a batch that exist: its own, and those that it started. Empty where it has none. */
export async function workflowsOf(client: Client, batchId: string): Promise<string[]> {
  return [...new Set((await allRunsOf(client, batchId)).map(({ workflowId }) => workflowId))];
}

/** Saves what Temporal knows of the batches, one file a run, for people: payloads are shown as what they hold. */
export async function saveHistories(client: Client, evidence: Evidence, folder: string): Promise<void> {
  const histories = path.join(folder, 'histories');
  await mkdir(histories, { recursive: true });
  for (const { id } of evidence.batches) {
    for (const { workflowId, runId, history } of await allRunsOf(client, id)) {
      const file = `${workflowId.replaceAll(/[:/]/g, '_')}.${runId}.json`;
      await writeFile(path.join(histories, file), JSON.stringify(history, readable, 1));
    }
  }
}

/** Every run of every workflow of a batch. Empty where it has none. */
async function allRunsOf(client: Client, batchId: string): Promise<Run[]> {
  const own = await runsIfAny(client, `batch:${batchId}`);
  const children = await Promise.all(childrenOf(own).map((workflowId) => runsIfAny(client, workflowId)));
  return [...own, ...children.flat()];
}

async function runsIfAny(client: Client, workflowId: string): Promise<Run[]> {
  try {
    return await runsOf(client, workflowId);
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return [];
    throw error;
  }
}

/** For `JSON.stringify`: bytes as text, and no fields that are not there. */
function readable(this: Record<string, unknown>, key: string, value: unknown): unknown {
  // What a Buffer has become by its own toJSON is of no use.
  const original = this[key];
  if (original instanceof Uint8Array) return Buffer.from(original).toString('utf8');
  return value === null ? undefined : value;
}

function toEvidence({ workflowId, runId, status, history }: Run): RunEvidence {
  const events = history.events!;
  const completed = events.at(-1)?.workflowExecutionCompletedEventAttributes;
  return {
    workflowId,
    runId,
    status,
    result: completed ? (decoded(completed.result?.payloads)[0] ?? null) : null,
    scheduled: events.flatMap(({ activityTaskScheduledEventAttributes: activity }) =>
      activity?.activityType?.name === 'runCallback'
        ? [(decoded(activity.input?.payloads)[0] as { event: CallbackEvent }).event]
        : [],
    ),
  };
}
