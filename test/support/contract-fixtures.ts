import { ActivityFailure, ApplicationFailure, RetryState } from '@temporalio/common';
import { currentJob, defineCallback, defineJob } from '../../src/index.ts';
import type { Ledger } from './ledger.ts';

class QuotaExceeded extends Error {}

/** What handlers throw, by name: made anew for each attempt, with the attempt's number in the message. */
const THROWN = {
  error: (n: number) => new Error(`plain ${n}`),
  subclass: (n: number) => new QuotaExceeded(`subclass ${n}`),
  cause: (n: number) => new QuotaExceeded(`outer ${n}`, { cause: new TypeError('inner') }),
  aggregate: (n: number) =>
    new AggregateError([new TypeError('one'), new RangeError('two')], `all of them ${n}`),
  failure: (n: number) => ApplicationFailure.create({ type: 'VendorDown', message: `failure ${n}` }),
  failureWithCause: (n: number) =>
    ApplicationFailure.create({ type: 'VendorDown', message: `failure ${n}`, cause: new TypeError('inner') }),
  wrapped: (n: number) =>
    new ActivityFailure(
      'Activity task failed',
      'charge',
      '1',
      RetryState.MAXIMUM_ATTEMPTS_REACHED,
      'worker',
      ApplicationFailure.create({ type: 'CardDeclined', message: `wrapped ${n}` }),
    ),
  number: (n: number) => n,
  text: (n: number) => `text ${n}`,
} as const satisfies Record<string, (attempt: number) => unknown>;

/** Jobs that fail in every way, and callbacks that die late, for workers in this process and of their own. */
export function createContractFixtures(ledger: Ledger) {
  const jobs = {
    throwKind: defineJob(
      'ThrowKind',
      async (kind: keyof typeof THROWN) => {
        // oxlint-disable-next-line typescript/only-throw-error -- what users do is what is tested
        throw THROWN[kind](currentJob().attempt);
      },
      { retry: { initialInterval: '50ms', backoffCoefficient: 1, maximumAttempts: 2 } },
    ),
  };
  const callbacks = {
    /** Is killed with its process when its transaction has committed, before Temporal hears of it. */
    killedAfterCommit: defineCallback(
      'KilledAfterCommit',
      async (batchId, { trx, attempt }) => {
        const entry = { batch_id: batchId, jid: null, attempt, detail: null };
        await ledger.write({ ...entry, what: 'callback' });
        await ledger.write({ ...entry, what: 'effect' }, trx);
        void trx.executionPromise.then(() => process.kill(process.pid, 'SIGKILL'));
      },
      { transaction: true },
    ),
  };
  return { jobs, callbacks };
}
