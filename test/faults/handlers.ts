import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import { currentJob, defineCallback, defineJob, type CallbackContext } from '../../src/index.ts';
import type { TransactionCallbackContext } from '../../src/jobs/define-callback.ts';
import type { CallbackEvent, Ledger } from './ledger.ts';
import { MAXIMUM_ATTEMPTS, type CallbackPlan } from './plan.ts';

/** Fails, and would succeed later. */
export class FlakyError extends Error {
  override readonly name = 'FlakyError';
}

const EVENTS: readonly CallbackEvent[] = ['complete', 'failure', 'settled'];

/** The one job and the callbacks of all rounds. What they do comes with their arguments and the batch's context. */
export function createHandlers(ledger: Ledger, schema: string) {
  const work = defineJob(
    'Work',
    async (ms: number, failures: number, isHopeless: boolean) => {
      const { jid, batchId, attempt, signal } = currentJob();
      const job = { batch: batchId!, position: Number(jid.slice(jid.lastIndexOf('/') + 1)), attempt };
      ledger.write({ what: 'job-start', ...job });
      if (ms > 0) await delay(ms, undefined, { signal });
      if (isHopeless) throw ApplicationFailure.nonRetryable('It cannot succeed', 'HopelessError');
      if (attempt <= failures) throw new FlakyError(`Attempt ${attempt} of ${failures} that fail`);
      ledger.write({ what: 'job-end', ...job });
    },
    { retry: { initialInterval: '100ms', backoffCoefficient: 1, maximumAttempts: MAXIMUM_ATTEMPTS } },
  );

  const attend = async (
    event: CallbackEvent,
    batchId: string,
    { batches, attempt }: CallbackContext,
    effect: () => Promise<unknown>,
  ) => {
    const batch = await batches.find(batchId);
    const seen = { ...(await batch.progress()), isSettled: batch.settledAt !== null };
    const { failures, killed } = batch.context as unknown as CallbackPlan;
    ledger.write({ what: 'callback-start', batch: batchId, event, attempt, seen });
    if (killed === 'before' && attempt === 1) process.kill(process.pid, 'SIGKILL');
    await effect();
    if (killed === 'after' && attempt === 1) process.kill(process.pid, 'SIGKILL');
    if (attempt <= failures) throw new FlakyError(`Attempt ${attempt} of ${failures} that fail`);
    ledger.write({ what: 'callback-end', batch: batchId, event, attempt });
  };
  const retry = { initialInterval: '200ms', backoffCoefficient: 1 } as const;
  const plain = (event: CallbackEvent) =>
    defineCallback(`On ${event}`, (id, context) => attend(event, id, context, async () => {}), { retry });
  const transactional = (event: CallbackEvent) =>
    defineCallback(
      `On ${event}, in a transaction`,
      (id: string, context: TransactionCallbackContext) =>
        attend(event, id, context, () =>
          context.trx.withSchema(schema).insert({ batch_id: id, event }).into('effects'),
        ),
      { transaction: true, retry },
    );
  const callbacks = {
    plain: Object.fromEntries(EVENTS.map((event) => [event, plain(event)])),
    transactional: Object.fromEntries(EVENTS.map((event) => [event, transactional(event)])),
  };
  return { work, callbacks };
}

export type Handlers = ReturnType<typeof createHandlers>;

export { EVENTS };
