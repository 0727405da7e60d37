import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/common';
import {
  currentBatch,
  currentJob,
  defineCallback,
  defineJob,
  type CallbackOptions,
} from '../../src/index.ts';
import type { Ledger } from './ledger.ts';

export class BrokenError extends Error {
  override readonly name = 'BrokenError';
}

/** Jobs and callbacks that write what they do to a ledger. Used in this process, and by worker processes. */
export function createFixtures(ledger: Ledger) {
  const note = async (detail: unknown) => {
    const { jid, batchId, attempt } = currentJob();
    await ledger.write({ what: 'job', batch_id: batchId ?? null, jid, attempt, detail });
  };
  const fast = { initialInterval: '50ms', backoffCoefficient: 1 } as const;

  const jobs = {
    noop: defineJob('Noop', async (_value: unknown) => {}),
    record: defineJob('Record', note),
    /** Takes a while; stops early when asked to. */
    work: defineJob('Work', async (value: unknown, ms: number) => {
      await note(value);
      await delay(ms, undefined, { signal: currentJob().signal });
    }),
    /** Waits until it is asked to stop, and then so long; returns. */
    endsWhenAsked: defineJob('EndsWhenAsked', async (value: unknown, ms: number) => {
      await note(value);
      const { signal } = currentJob();
      if (!signal.aborted) await once(signal, 'abort');
      await delay(ms);
    }),
    failsAfter: defineJob('FailsAfter', async (value: unknown, ms: number) => {
      await note(value);
      await delay(ms);
      throw ApplicationFailure.nonRetryable(`${String(value)} cannot succeed`, 'HopelessError');
    }),
    failTimes: defineJob(
      'FailTimes',
      async (value: unknown, times: number) => {
        await note(value);
        if (currentJob().attempt <= times) throw new BrokenError(`${String(value)} failed`);
      },
      { retry: { ...fast, maximumAttempts: 3 } },
    ),
    failForGood: defineJob('FailForGood', async (value: unknown) => {
      await note(value);
      throw ApplicationFailure.nonRetryable(`${String(value)} cannot succeed`, 'HopelessError');
    }),
    failByType: defineJob(
      'FailByType',
      async (value: unknown) => {
        await note(value);
        throw new BrokenError(`${String(value)} is broken`);
      },
      { retry: { ...fast, maximumAttempts: 10, nonRetryableErrorTypes: ['BrokenError'] } },
    ),
    throwValue: defineJob(
      'ThrowValue',
      async (value: unknown) => {
        await note(value);
        // oxlint-disable-next-line typescript/only-throw-error -- what users do is what is tested
        throw value;
      },
      { retry: { maximumAttempts: 1 } },
    ),
    throwLong: defineJob(
      'ThrowLong',
      async (length: number) => {
        throw new RangeError('x'.repeat(length));
      },
      { retry: { maximumAttempts: 1 } },
    ),
    hang: defineJob(
      'Hang',
      async (value: unknown) => {
        await note(value);
        await new Promise(() => {});
      },
      { startToCloseTimeout: '300ms', retry: { ...fast, maximumAttempts: 2 } },
    ),
    /** Adds so many jobs to its batch. */
    adds: defineJob('Adds', async (value: unknown, count: number) => {
      await note(value);
      await currentBatch().jobs(async () => {
        for (let i = 1; i <= count; i++)
          await jobs.record.set({ key: `${String(value)}-${i}` }).performAsync(i);
      });
    }),
    /** Starts another job while it runs. */
    parent: defineJob('Parent', async (value: unknown) => {
      await note(value);
      await jobs.record.performAsync(`child of ${String(value)}`);
    }),
    exitProcess: defineJob('ExitProcess', async (value: unknown) => {
      await note(value);
      process.exit(1);
    }),
  };

  const recording = (name: string, options?: CallbackOptions) =>
    defineCallback(
      name,
      async (batchId, { batches, attempt }) => {
        const batch = await batches.find(batchId);
        const detail = { name, ...(await batch.progress()), completedAt: batch.completedAt };
        await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail });
      },
      options,
    );
  const callbacks = {
    onComplete: recording('OnComplete'),
    onFailure: recording('OnFailure'),
    onSettled: recording('OnSettled'),
    another: recording('Another'),
    failsTwice: defineCallback(
      'FailsTwice',
      async (batchId, { attempt }) => {
        await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null });
        if (attempt < 3) throw new BrokenError(`attempt ${attempt}`);
      },
      { retry: fast },
    ),
    failsForGood: defineCallback(
      'FailsForGood',
      async (batchId, { attempt }) => {
        await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null });
        // With a character that Postgres refuses: it must not keep the batch from ending.
        throw new BrokenError('never works\0');
      },
      { retry: { ...fast, maximumAttempts: 2 } },
    ),
    /** Writes its effect with the transaction, and dies with its process the first time, before the commit. */
    transactional: defineCallback(
      'Transactional',
      async (batchId, { trx, attempt }) => {
        await ledger.write({ what: 'effect', batch_id: batchId, jid: null, attempt, detail: null }, trx);
        await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null });
        if (attempt === 1) process.kill(process.pid, 'SIGKILL');
      },
      { transaction: true, retry: fast },
    ),
    /** Is killed with its process the first time. */
    killedOnce: defineCallback(
      'KilledOnce',
      async (batchId, { attempt }) => {
        await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null });
        if (attempt === 1) process.kill(process.pid, 'SIGKILL');
      },
      { retry: fast },
    ),
    /** Opens the next batch. */
    chain: defineCallback('Chain', async (batchId, { batches, attempt }) => {
      const next = await batches.create({ id: `${batchId}-next`, description: 'The next batch' });
      await next.on('complete', callbacks.onComplete);
      await next.jobs(async () => jobs.record.performAsync('from the callback'));
      await ledger.write({ what: 'callback', batch_id: batchId, jid: null, attempt, detail: null });
    }),
  };
  return { jobs, callbacks };
}

export type Fixtures = ReturnType<typeof createFixtures>;
