import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import type { Command } from 'commander';
import type { BatchEvent } from '../../../workflows/batch-state.ts';
import { describePolicy as policyText, isFailurePolicy } from '../../../workflows/failure-policy.ts';
import type { Batch, SteerResult } from '../../client/batch.ts';
import { BatchClient, batchWorkflowId } from '../../client/batch-client.ts';
import { assertBatchId, resolveBatchChanges, type BatchPolicyOptions } from '../../client/batch-options.ts';
import { toBatchError } from '../../client/temporal-errors.ts';
import { assertReadable } from '../readable.ts';
import { selectOverview, type BatchOverview } from '../../database/overview.ts';
import { counted, digits } from '../../doctor/words.ts';
import { BatchNotFoundError } from '../../errors.ts';
import { assertName, DEFAULT_TASK_QUEUE, resolveDuration } from '../../options.ts';
import type { CancelFlags } from '../commands/cancel.ts';
import type { RetryCallbackFlags } from '../commands/retry-callback.ts';
import type { RetryFailedFlags } from '../commands/retry-failed.ts';
import type { UpdateFlags } from '../commands/update.ts';
import { assertConfirmable, confirm } from '../confirm.ts';
import { withDatabase, withTemporal } from '../connections.ts';
import type { CliContext } from '../context.ts';
import { named } from '../describe.ts';
import { UsageError } from '../exit-code.ts';
import type { ChangeFlags } from '../flags.ts';
import { policyOf } from '../policy-options.ts';
import { print } from '../print.ts';
import { temporalSettings } from '../temporal.ts';

export async function runCancel(
  context: CliContext,
  id: string,
  flags: CancelFlags,
  command: Command,
): Promise<void> {
  const { reason, gracePeriod } = flags;
  if (reason !== undefined) assertName('reason', reason, 500);
  if (gracePeriod !== undefined) resolveDuration('gracePeriod', gracePeriod);
  await change(context, id, flags, command, {
    question: (batch) => `Cancel batch ${named(batch)}? ${unfinished(batch)}, and never will.`,
    make: async (batch) => {
      const result = await batch.cancel({
        ...(reason === undefined ? {} : { reason }),
        ...(gracePeriod === undefined ? {} : { gracePeriod }),
      });
      const done = `Batch ${id} is cancelled: nothing of it starts any more.`;
      return told(result, { done, later: `Batch ${id} will be cancelled` }, { action: 'cancel' });
    },
  });
}

/** Pauses a batch, or lets it go on. */
export async function runHold(
  context: CliContext,
  action: 'pause' | 'resume',
  id: string,
  flags: ChangeFlags,
  command: Command,
): Promise<void> {
  const texts = {
    pause: {
      verb: 'Pause',
      effect: '; those that have not started wait',
      done: `Batch ${id} is paused.`,
      later: `Batch ${id} will be paused`,
    },
    resume: {
      verb: 'Resume',
      effect: '',
      done: `Batch ${id} goes on.`,
      later: `Batch ${id} will be resumed`,
    },
  };
  const { verb, effect, ...texted } = texts[action];
  await change(context, id, flags, command, {
    question: (batch) => `${verb} batch ${named(batch)}? ${unfinished(batch)}${effect}.`,
    make: async (batch) => told(await batch[action](), texted, { action }),
  });
}

export async function runUpdate(
  context: CliContext,
  id: string,
  flags: UpdateFlags,
  command: Command,
): Promise<void> {
  const policy = policyOf(flags);
  if (Object.keys(policy).length === 0) throw new UsageError('Nothing to change: give at least one option.');
  resolveBatchChanges(policy);
  await change(context, id, flags, command, {
    question: (batch) => `Change batch ${named(batch)} to ${describePolicy(policy)}?`,
    make: async (batch) => {
      const texts = {
        done: `Batch ${id} has ${describePolicy(policy)}.`,
        later: `Batch ${id} will have ${describePolicy(policy)}`,
      };
      return told(await batch.update(policy), texts, { action: 'update', changes: policy });
    },
  });
}

export async function runRetryFailed(
  context: CliContext,
  id: string,
  flags: RetryFailedFlags,
  command: Command,
): Promise<void> {
  const { cancelled = false, taskQueue } = flags;
  const policy = policyOf(flags);
  if (Object.keys(policy).length > 0) resolveBatchChanges(policy);
  if (taskQueue !== undefined) assertName('taskQueue', taskQueue);
  await change(context, id, flags, command, {
    question: (batch) =>
      // Those that are pending run, too, where an operator terminated the batch's workflow; otherwise it is refused.
      `Run ${counted(batch.failed + batch.pending + (cancelled ? batch.cancelled : 0), 'job')} of batch ${named(batch)} again?`,
    taskQueueFor: (client) => knownTaskQueue(client, id, taskQueue),
    make: async (batch) => {
      const { round, ...result } = await batch.retryFailed({ ...policy, cancelled });
      const texts = {
        done: `Round ${round} of batch ${id} has begun.`,
        later: `Round ${round} of batch ${id} will begin`,
      };
      return told(result, texts, { action: 'retry-failed', round });
    },
  });
}

/** What a change came to: it has its effect, or Temporal keeps it for a worker. */
function told(
  { queued, reason }: SteerResult,
  { done, later }: { readonly done: string; readonly later: string },
  json: object,
): { text: string; json: object } {
  const text = queued ? `${later} once a worker runs; Temporal keeps the request. ${reason}` : done;
  return { text, json: { ...json, queued, ...(queued ? { reason } : {}) } };
}

export async function runRetryCallback(
  context: CliContext,
  id: string,
  event: string,
  flags: RetryCallbackFlags,
  command: Command,
): Promise<void> {
  const { taskQueue } = flags;
  if (taskQueue !== undefined) assertName('taskQueue', taskQueue);
  await change(context, id, flags, command, {
    question: (batch) => `Run the callback of batch ${named(batch)} on ${event} again?`,
    taskQueueFor: (client) => knownTaskQueue(client, id, taskQueue),
    make: async (batch) => {
      const { queued } = await batch.retryCallback(event as BatchEvent);
      return {
        text: queued
          ? `The callback of batch ${id} on ${event} is queued: no worker has answered. It runs once one starts.`
          : `The callback of batch ${id} on ${event} runs again.`,
        json: { action: 'retry-callback', event, queued },
      };
    },
  });
}

/** Another queue would leave what is started waiting for a worker that never comes. */
async function knownTaskQueue(client: Client, batchId: string, given: string | undefined): Promise<string> {
  const found = given ?? (await taskQueueOf(client, batchId));
  if (found !== undefined) return found;
  throw new UsageError(
    `Temporal keeps no workflow of batch ${batchId} any more, so that its task queue is not known. Give --task-queue.`,
  );
}

interface Change {
  readonly question: (batch: BatchOverview) => string;
  /** @default the one of its workflow; only named in messages */
  readonly taskQueueFor?: (client: Client) => Promise<string>;
  readonly make: (batch: Batch) => Promise<{ text: string; json: object }>;
}

/** Finds the batch, asks the person, and only then asks Temporal. */
async function change(
  context: CliContext,
  id: string,
  flags: ChangeFlags,
  command: Command,
  { question, taskQueueFor, make }: Change,
): Promise<void> {
  assertBatchId(id);
  assertConfirmable(context, flags);
  const settings = temporalSettings(context.env, flags);
  await withDatabase(context, flags, command, async (database) => {
    const overview = await selectOverview(database, id);
    if (!overview) throw new BatchNotFoundError(id);
    await confirm(context, flags, question(overview));
    await withTemporal(settings, async (client) => {
      await assertReadable(client, id);
      const taskQueue =
        (await taskQueueFor?.(client)) ?? (await taskQueueOf(client, id)) ?? DEFAULT_TASK_QUEUE;
      const batches = new BatchClient({
        client,
        database: database.knex,
        schema: database.schema,
        taskQueue,
        logger: { warn: (message) => void context.stderr.write(`${message}\n`) },
      });
      try {
        const { text, json } = await make(await batches.find(id));
        print(context, flags, `${text}\n`, { id, ...json });
      } finally {
        await batches.close();
      }
    });
  });
}

/** Where the batch's workflow runs, or ran last; undefined once Temporal has forgotten it. */
async function taskQueueOf(client: Client, batchId: string): Promise<string | undefined> {
  try {
    return (await client.workflow.getHandle(batchWorkflowId(batchId)).describe()).taskQueue;
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return undefined;
    throw toBatchError(batchId, error);
  }
}

function unfinished({ pending, total }: BatchOverview): string {
  return `${digits(pending)} of ${counted(total, 'job')} have not ended`;
}

/** `maxConcurrentJobs 20, perSecond none`. */
function describePolicy(policy: BatchPolicyOptions): string {
  return Object.entries(policy)
    .map(([name, value]) => `${name} ${isFailurePolicy(value) ? policyText(value) : describeValue(value)}`)
    .join(', ');
}

function describeValue(value: unknown): string {
  if (value === null) return 'none';
  if (value instanceof Date) return value.toISOString();
  return typeof value === 'string' ? value : JSON.stringify(value);
}
