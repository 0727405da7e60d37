import { setTimeout as delay } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import type { Batch, BatchClient, BatchOptions } from '../../src/index.ts';
import { randomFrom } from '../support/random.ts';
import { optionsOf } from './batch-options.ts';
import type { Handlers } from './handlers.ts';
import type { CallbackEvent, Ledger } from './ledger.ts';
import { codeOf, persist } from './persist.ts';
import {
  blocksOf,
  jobNameOf,
  jobOf,
  workflowsOf,
  type BatchPlan,
  type BlockPlan,
  type JobPlan,
} from './plan-batch.ts';
import { secondQueue, SHARED_LIMIT } from './settings.ts';
import { startWorkflow } from './start-workflow.ts';

export interface EnqueueOptions {
  readonly batches: BatchClient;
  /** With the plugin. */
  readonly client: Client;
  readonly handlers: Handlers;
  readonly ledger: Ledger;
  readonly plan: BatchPlan;
  readonly batchId: string;
  /** Of the arguments of each job. */
  readonly argsBytes: number;
  /** Whether to go on where an enqueuer was killed. */
  readonly isResuming: boolean;
}

/** How many of the jobs with keys are started a second time. */
const REPEATED = 0.1;

/** The planned error of a block. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
}

/** Makes a batch, registers its callbacks and runs its blocks; the ledger gets what came of it. Does not throw. */
export async function enqueue(options: EnqueueOptions): Promise<void> {
  const { batches, ledger, plan, batchId: batch, isResuming } = options;
  const callbacks = callbacksOf(options);
  try {
    const created = await persist(() => batches.create(creationOf(options)));
    ledger.write({ what: 'created', batch });
    for (const event of eventsOf(plan)) {
      if (!isGiven(plan)) await persist(() => created.on(event, callbacks[event]!));
      ledger.write({ what: 'registered', batch, event });
    }
    const { total } =
      plan.enqueuer.openEnded === null
        ? await runBlock(options, created, blocksOf(plan)[0]!, isResuming ? { resume: true } : {})
        : await fillAndSeal(options, created);
    ledger.write({ what: 'closed', batch, total });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    ledger.write({ what: 'broken', batch, error: codeOf(error), message });
  }
}

/** Creates the batch once more, as a second process of the app would; the ledger gets what came of it. Does not throw. */
export async function createAgain(options: EnqueueOptions): Promise<void> {
  const { batches, ledger, batchId: batch } = options;
  try {
    const { createdAt } = await persist(() => batches.create(creationOf(options)));
    ledger.write({ what: 'created-again', batch, createdAt: createdAt.getTime() });
  } catch (error) {
    ledger.write({ what: 'not-created-again', batch, error: codeOf(error) });
  }
}

function callbacksOf({ handlers, plan }: EnqueueOptions) {
  return handlers.callbacks[plan.callbacks.isTransactional ? 'transactional' : 'plain'];
}

/** Whether `create` is given the callbacks: that of every second batch. */
function isGiven({ index }: BatchPlan): boolean {
  return index % 2 === 0;
}

function creationOf(options: EnqueueOptions): BatchOptions {
  const { batchId, plan } = options;
  const callbacks = callbacksOf(options);
  const given = Object.fromEntries(eventsOf(plan).map((event) => [event, callbacks[event]!]));
  return { ...optionsOf(plan, batchId), ...(isGiven(plan) ? { callbacks: given } : {}) };
}

/** Events that get a callback. */
export function eventsOf({ alertAfterIdleMs }: BatchPlan): CallbackEvent[] {
  return [
    'complete',
    'failure',
    'cancelled',
    'settled',
    ...(alertAfterIdleMs === null ? [] : ['idle' as const]),
  ];
}

async function fillAndSeal(options: EnqueueOptions, batch: Batch): Promise<{ total: number }> {
  const blocks = blocksOf(options.plan);
  if (options.plan.enqueuer.openEnded === 'at once') {
    const results = await Promise.allSettled(blocks.map((block) => fill(options, batch, block)));
    const broken = results.find(({ status }) => status === 'rejected');
    if (broken) throw (broken as PromiseRejectedResult).reason;
  } else {
    for (const block of blocks) await fill(options, batch, block);
  }
  return persist(() => batch.seal());
}

/** Runs one of several blocks. One that throws as planned leaves the batch as open as it was. */
async function fill(options: EnqueueOptions, batch: Batch, block: BlockPlan): Promise<void> {
  try {
    await runBlock(options, batch, block);
  } catch (error) {
    if (!(error instanceof BlockError)) throw error;
  }
}

/** Calls `jobs()` again as long as it could not call its block. */
async function runBlock(
  options: EnqueueOptions,
  batch: Batch,
  block: BlockPlan,
  jobsOptions: { readonly resume?: true } = {},
): Promise<{ total: number }> {
  let hasBegun = false;
  const run = () =>
    batch.jobs(() => {
      hasBegun = true;
      return enrol(options, block);
    }, jobsOptions);
  return persist(run, () => !hasBegun);
}

async function enrol(options: EnqueueOptions, block: BlockPlan): Promise<void> {
  const { plan } = options;
  const { from, to, throws } = block;
  const { burst, pauseMs, keyedFrom } = plan.enqueuer;
  const random = randomFrom(plan.seed + from);
  const workflows = workflowsOf(plan, block);
  const starting: Promise<void>[] = [];
  for (let index = from; index < to; index++) {
    for (const workflow of workflows.filter(({ before }) => before === index)) {
      const started = startWorkflow(options, workflow);
      // The block may have broken before it comes to wait for it.
      started.catch(() => {});
      if (workflow.isAwaited) await started;
      else starting.push(started);
    }
    await enrolled(options, index);
    const isKeyed = keyedFrom !== null && index >= keyedFrom;
    if (isKeyed && random.chance(REPEATED))
      await enrolled(options, random.int(Math.max(from, keyedFrom), index));
    if (pauseMs > 0 && (index + 1) % burst === 0) await delay(pauseMs);
  }
  await Promise.all(starting);
  if (throws) throw new BlockError(`The block was planned to break at ${to}`);
}

/** Starts a job; where the plan says so, as code does that forgets to await it. */
async function enrolled(
  { handlers, ledger, plan, batchId: batch, argsBytes }: EnqueueOptions,
  index: number,
): Promise<void> {
  const { isAwaited, keyedFrom } = plan.enqueuer;
  const job = jobOf(plan, index);
  const { task } = job;
  const set = {
    ...callOptions(job, batch),
    ...limitOf(plan),
    ...(keyedFrom !== null && index >= keyedFrom ? { key: task.name } : {}),
  };
  const work = handlers.work[jobNameOf(plan, job.isSide)];
  const large = argsBytes > 0 ? { ...task, filler: 'x'.repeat(argsBytes) } : task;
  const jid = (Object.keys(set).length > 0 ? work.set(set) : work).performAsync(large);
  const noted = jid.then((given) => ledger.write({ what: 'enrolled', batch, jid: given, name: task.name }));
  if (isAwaited) await noted;
}

function limitOf({ shared }: BatchPlan) {
  if (shared === null) return {};
  return { limit: { name: SHARED_LIMIT, ...(shared.key === null ? {} : { key: shared.key }) } };
}

function callOptions({ startDelayMs, isSecondQueue }: JobPlan, batch: string) {
  return {
    ...(startDelayMs > 0 ? { startDelay: startDelayMs } : {}),
    ...(isSecondQueue ? { taskQueue: secondQueue(batch.slice(0, batch.lastIndexOf('-'))) } : {}),
  };
}
