import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import {
  currentBatch,
  currentJob,
  defineCallback,
  defineJob,
  type CallbackContext,
  type Job,
} from '../../src/index.ts';
import type { TransactionCallbackContext } from '../../src/jobs/define-callback.ts';
import type { CallbackEvent, JobResult, Ledger } from './ledger.ts';
import { codeOf, persist } from './persist.ts';
import { MAXIMUM_ATTEMPTS, type CallbackPlan, type JobName, type Task } from './plan-batch.ts';

/** Fails, and would succeed later. */
export class FlakyError extends Error {
  override readonly name = 'FlakyError';
}

const EVENTS: readonly CallbackEvent[] = ['complete', 'failure', 'cancelled', 'settled', 'idle'];

/** The jobs and the callbacks of all rounds. What they do comes with their arguments and the batch's context. */
export function createHandlers(ledger: Ledger, schema: string) {
  const perform = async (task: Task, work: () => Job<[Task]>): Promise<JobResult> => {
    const { jid, batchId, attempt } = currentJob();
    const job = { batch: batchId!, position: Number(jid.slice(jid.lastIndexOf('/') + 1)), attempt };
    ledger.write({ what: 'job-start', ...job });
    try {
      await toil(task, work);
      const result = { name: task.name, attempt, nonce: randomUUID() };
      ledger.write({ what: 'job-end', ...job, result });
      return result;
    } catch (error) {
      ledger.write({ what: 'job-stop', ...job });
      throw error;
    }
  };
  const toil = async (task: Task, work: () => Job<[Task]>): Promise<void> => {
    const { ms, failures, isHopeless, isHealing, healingMs, children } = task;
    const { batchId, attempt, signal } = currentJob();
    if (ms > 0) await delay(ms, undefined, { signal });
    if (children.length > 0) await add(children, work());
    const isWell = isHealing && (await roundOf(batchId!)) > 1;
    if (isWell) await delay(healingMs, undefined, { signal });
    if (isHopeless && !isWell) throw ApplicationFailure.nonRetryable('It cannot succeed', 'HopelessError');
    if (attempt <= failures && !isWell) throw new FlakyError(`Attempt ${attempt} of ${failures} that fail`);
  };
  const retry = {
    initialInterval: '100ms',
    backoffCoefficient: 1,
    maximumAttempts: MAXIMUM_ATTEMPTS,
  } as const;
  const define = (name: JobName, storeResult: boolean) => {
    const job: Job<[Task]> = defineJob(name, (task: Task) => perform(task, () => job), {
      retry,
      ...(storeResult ? { storeResult } : {}),
    });
    return job;
  };
  const work: Readonly<Record<JobName, Job<[Task]>>> = {
    Work: define('Work', false),
    'Work with a result': define('Work with a result', true),
    'Side work': define('Side work', false),
    'Side work with a result': define('Side work with a result', true),
  };

  const attend = async (
    event: CallbackEvent,
    batchId: string,
    { batches, attempt }: CallbackContext,
    effect: (runId: string) => Promise<unknown>,
  ) => {
    const { runId } = activityInfo().workflowExecution!;
    const batch = await batches.find(batchId);
    const seen = { ...(await batch.progress()), isSettled: batch.settledAt !== null };
    const { failures, killed } = batch.context as unknown as CallbackPlan;
    // Alerts may be many, and each would take a worker with it.
    const isKilled = killed !== null && attempt === 1 && event !== 'idle';
    ledger.write({ what: 'callback-start', batch: batchId, event, runId, attempt, seen });
    if (isKilled && killed === 'before') process.kill(process.pid, 'SIGKILL');
    await effect(runId);
    if (isKilled && killed === 'after') process.kill(process.pid, 'SIGKILL');
    if (attempt <= failures) throw new FlakyError(`Attempt ${attempt} of ${failures} that fail`);
    ledger.write({ what: 'callback-end', batch: batchId, event, runId, attempt });
  };
  const callbackRetry = { initialInterval: '200ms', backoffCoefficient: 1 } as const;
  const plain = (event: CallbackEvent) =>
    defineCallback(`On ${event}`, (id, context) => attend(event, id, context, async () => {}), {
      retry: callbackRetry,
    });
  const transactional = (event: CallbackEvent) =>
    defineCallback(
      `On ${event}, in a transaction`,
      (id: string, context: TransactionCallbackContext) =>
        attend(event, id, context, (runId) =>
          context.trx.withSchema(schema).insert({ batch_id: id, run_id: runId, event }).into('effects'),
        ),
      { transaction: true, retry: callbackRetry },
    );
  const callbacks = {
    plain: Object.fromEntries(EVENTS.map((event) => [event, plain(event)])),
    transactional: Object.fromEntries(EVENTS.map((event) => [event, transactional(event)])),
  };
  return { work, callbacks };
}

export type Handlers = ReturnType<typeof createHandlers>;

/** Adds jobs to the batch of the job that runs. It may have done so before, in an attempt that failed or was lost. */
async function add(children: readonly Task[], work: Job<[Task]>): Promise<void> {
  const { signal } = currentJob();
  try {
    await currentBatch().jobs(async () => {
      for (const child of children) await work.set({ key: child.name }).performAsync(child);
    });
  } catch (error) {
    // The batch was stopped, and this job is about to hear so: no attempt of it has failed.
    const isStopped = ['BATCH_CANCELLED', 'BATCH_FAILED'].includes(codeOf(error));
    if (isStopped && !signal.aborted) await once(signal, 'abort');
    throw error;
  }
}

/** A database that is away is no failure of the job. */
async function roundOf(batchId: string): Promise<number> {
  const { batches } = currentJob();
  const { round } = await persist(() => batches.find(batchId));
  return round;
}
