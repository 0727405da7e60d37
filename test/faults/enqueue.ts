import { setTimeout as delay } from 'node:timers/promises';
import type { Batch, BatchClient } from '../../src/index.ts';
import { EVENTS, type Handlers } from './handlers.ts';
import type { Ledger } from './ledger.ts';
import { jobOf, type BatchPlan } from './plan.ts';
import { secondQueue } from './settings.ts';

export interface EnqueueOptions {
  readonly batches: BatchClient;
  readonly handlers: Handlers;
  readonly ledger: Ledger;
  readonly plan: BatchPlan;
  readonly batchId: string;
}

/** What an app would do with an error that says: try again later. */
const PATIENCE_MS = 60_000;
const PAUSE_MS = 500;
const PASSING = ['WORKER_UNAVAILABLE', 'TEMPORAL_UNAVAILABLE', 'DATABASE_UNAVAILABLE'];

/** The planned error of a block. */
export class BlockError extends Error {
  override readonly name = 'BlockError';
}

/** Makes a batch, registers its callbacks and runs its block; the ledger gets what came of it. Does not throw. */
export async function enqueue(options: EnqueueOptions): Promise<void> {
  const { ledger, plan, batchId: batch, handlers } = options;
  const callbacks = plan.callbacks.isTransactional
    ? handlers.callbacks.transactional
    : handlers.callbacks.plain;
  try {
    const created = await create(options);
    ledger.write({ what: 'created', batch });
    for (const event of EVENTS) {
      await persist(() => created.on(event, callbacks[event]!));
      ledger.write({ what: 'registered', batch, event });
    }
    const { total } = await created.jobs(() => enrolAll(options));
    ledger.write({ what: 'closed', batch, total });
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    ledger.write({ what: 'broken', batch, error: codeOf(error), message });
  }
}

async function create({ batches, plan, batchId }: EnqueueOptions): Promise<Batch> {
  return persist(async (attempt) => {
    try {
      return await batches.create({
        id: batchId,
        description: `Batch ${plan.index} of a round with faults`,
        context: { ...plan.callbacks },
        failWhen: plan.failWhen,
        enrollmentTimeout: plan.enrollmentTimeoutMs,
        // For a batch whose enqueuer was lost before its block.
        openTimeout: '30 seconds',
        ...(plan.continueAsNewAfterEvents === null
          ? {}
          : { continueAsNewAfterEvents: plan.continueAsNewAfterEvents }),
      });
    } catch (error) {
      // An earlier call, whose answer was lost, had made it.
      if (attempt > 1 && codeOf(error) === 'BATCH_EXISTS') return batches.find(batchId);
      throw error;
    }
  });
}

async function enrolAll({ handlers, ledger, plan, batchId: batch }: EnqueueOptions): Promise<void> {
  const { burst, pauseMs, throwsAt } = plan.enqueuer;
  for (let index = 0; index < plan.size; index++) {
    if (index === throwsAt) throw new BlockError(`The block was planned to break at ${index}`);
    const { ms, failures, isHopeless, startDelayMs, isSecondQueue } = jobOf(plan, index);
    const set = {
      ...(startDelayMs > 0 ? { startDelay: startDelayMs } : {}),
      ...(isSecondQueue ? { taskQueue: secondQueue(batch.slice(0, batch.lastIndexOf('-'))) } : {}),
    };
    const job = Object.keys(set).length > 0 ? handlers.work.set(set) : handlers.work;
    const jid = await job.performAsync(ms, failures, isHopeless);
    ledger.write({ what: 'enrolled', batch, jid });
    if (pauseMs > 0 && (index + 1) % burst === 0) await delay(pauseMs);
  }
}

/** Repeats what can be repeated while the servers or the workers are away. */
async function persist<T>(run: (attempt: number) => Promise<T>): Promise<T> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let attempt = 1; ; attempt++) {
    try {
      return await run(attempt);
    } catch (error) {
      if (!PASSING.includes(codeOf(error)) || Date.now() > deadline) throw error;
      await delay(PAUSE_MS);
    }
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as { code?: unknown };
  return typeof code === 'string' ? code : error.name;
}
