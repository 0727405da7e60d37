import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import type { Knex } from 'knex';
import type { BatchClient } from '../../src/index.ts';
import { runsIfAny } from './collect-workflows.ts';
import type { Ledger } from './ledger.ts';
import { codeOf, isPassing, persist } from './persist.ts';
import type { RetryPlan } from './plan-policy.ts';
import { healed, type WorkflowPlan, type WorkflowTask } from './plan-workflows.ts';
import { startOptionsOf } from './start-workflow.ts';

export interface RetryOptions {
  /** Of two processes of the app. */
  readonly apps: readonly BatchClient[];
  readonly ledger: Ledger;
  readonly batchId: string;
  readonly retries: readonly RetryPlan[];
  readonly workflows: readonly WorkflowPlan[];
  /** Direct ways. */
  readonly client: Client;
  readonly knex: Knex;
  readonly schema: string;
  /** Whether the batch has been made by now, if it ever is. */
  readonly isMade: () => boolean;
  /** Told each time that there was an answer. */
  readonly onAnswer: () => void;
  readonly signal: AbortSignal;
}

const POLL_MS = 200;

/** Runs what failed of a batch again, as often as planned, each time that it has settled. */
export async function retryAsPlanned(options: RetryOptions): Promise<void> {
  for (const retry of options.retries) {
    const before = await settledRound(options);
    if (before === undefined) return;
    await startFailedWorkflows(options, before + 1);
    await openRound(options, before + 1, retry);
  }
}

/** Those of which it is planned: `retryFailed` starts none. */
async function startFailedWorkflows(options: RetryOptions, round: number): Promise<void> {
  const { workflows, signal } = options;
  for (const { task } of workflows.filter(({ isStartedAgain }) => isStartedAgain)) {
    while (!signal.aborted) {
      try {
        await startAgain(options, healed(task), round);
        break;
      } catch {
        // The server is away.
        await delay(POLL_MS);
      }
    }
  }
}

async function startAgain(
  { client, ledger, batchId: batch }: RetryOptions,
  task: WorkflowTask,
  round: number,
): Promise<void> {
  const options = startOptionsOf(batch, task);
  const runs = await runsIfAny(client, options.workflowId);
  const status = runs.at(-1)?.status;
  if (status === undefined || status === 'RUNNING' || status === 'COMPLETED') return;
  const earlier = runs.map(({ runId }) => runId);
  ledger.write({ what: 'workflow-started-again', batch, name: task.name, round, earlier });
  await client.workflow.start('act', options);
}

/** Calls until there is an answer, or the round is there: the servers may be away, and a call do its work all the same. */
async function openRound(options: RetryOptions, round: number, retry: RetryPlan): Promise<void> {
  const callers = options.apps.slice(0, retry.callers);
  let last: number | undefined;
  do {
    const answers = await Promise.all(callers.map((batches) => call(options, batches, round, retry)));
    options.onAnswer();
    if (answers.includes(true)) return;
    last = await settledRound(options);
  } while (last !== undefined && last < round);
}

/** @returns whether there was an answer, of whatever kind */
async function call(
  { ledger, batchId: batch }: RetryOptions,
  batches: BatchClient,
  round: number,
  retry: RetryPlan,
): Promise<boolean> {
  const { cancelled, changes } = retry;
  ledger.write({ what: 'retrying', batch, round, retry });
  try {
    const found = await persist(() => batches.find(batch));
    const opened = await found.retryFailed({ cancelled, ...changes });
    ledger.write({ what: 'retried', batch, round: opened.round });
    return true;
  } catch (error) {
    ledger.write({ what: 'not-retried', batch, round, error: codeOf(error) });
    return !isPassing(error);
  }
}

/** Waits until the batch is over. @returns its round; undefined if it never will be, or never was */
async function settledRound(options: RetryOptions): Promise<number | undefined> {
  const { batchId, knex, schema, isMade, signal } = options;
  while (!signal.aborted) {
    const wasMade = isMade();
    try {
      const status = await statusOf(options);
      const row = await knex
        .withSchema(schema)
        .from('batches')
        .where('id', batchId)
        .first('round', 'settled_at');
      if (status !== undefined && status !== 'RUNNING' && row?.settled_at) return row.round;
      // Its enqueuer was killed before it made the batch, or its workflow was terminated by a create() that gave up.
      if (status !== 'RUNNING' && wasMade && !row?.settled_at) return undefined;
    } catch {
      // A server is away.
    }
    await delay(POLL_MS);
  }
  return undefined;
}

async function statusOf({ client, batchId }: RetryOptions): Promise<string | undefined> {
  try {
    return (await client.workflow.getHandle(`batch:${batchId}`).describe()).status.name;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw error;
  }
}
