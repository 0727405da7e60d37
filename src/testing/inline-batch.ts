import type { Knex } from 'knex';
import { Batch, type CallbackRecord } from '../client/batch.ts';
import { inPages, resolveEachResult } from '../client/results.ts';
import type { JobResult } from '../database/results.ts';
import { toBatchRecord, type JobRecord, type JobStatus } from '../database/rows.ts';
import type { RoundRecord } from '../database/rounds.ts';
import type { Callback } from '../jobs/define-callback.ts';
import type { BatchEvent } from '../../workflows/batch-state.ts';
import { InlineUnsupportedError } from './errors.ts';
import type { InlineBatches } from './inline-batches.ts';
import { toJobRecord } from './inline-job.ts';
import { inlineRows } from './inline-rows.ts';
import type { InlineState } from './inline-state.ts';

/** A batch in memory. What is not here is done by `Batch` itself. */
export class InlineBatch extends Batch {
  readonly #batches: InlineBatches;
  readonly #state: InlineState;

  constructor(batches: InlineBatches, state: InlineState) {
    super(batches, toBatchRecord(state.row()));
    this.#batches = batches;
    this.#state = state;
  }

  override async on(event: BatchEvent, callback: Callback): Promise<void> {
    await this.#batches.assertRunnable(callback);
    await super.on(event, callback);
    this.#batches.remember(callback);
  }

  override pendingJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return this.#jobs('pendingJobs', 'pending');
  }

  override failedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return this.#jobs('failedJobs', 'failed');
  }

  override completedJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return this.#jobs('completedJobs', 'complete');
  }

  override cancelledJobs(): Knex.QueryBuilder<object, JobRecord[]> {
    return this.#jobs('cancelledJobs', 'cancelled');
  }

  override results<Result = unknown>(): Knex.QueryBuilder<object, JobResult<Result>[]> {
    return inlineRows('results()', () => this.#results() as JobResult<Result>[]);
  }

  // One signature: the overloads are those of the base class.
  override eachResult(jobOrOptions: object = {}, optionsOfJob: object = {}): never {
    const { workerClass } = resolveEachResult(jobOrOptions, optionsOfJob);
    const rows = this.#results().filter(
      (row) => workerClass === undefined || row.workerClass === workerClass,
    );
    return inPages(async () => ({ rows, isLast: true })) as never;
  }

  override async callbacks(): Promise<CallbackRecord[]> {
    const records = [...this.#state.callbacks.values()].map((callback) => ({ ...callback }));
    return records.sort((a, b) => (a.event < b.event ? -1 : 1));
  }

  override async rounds(): Promise<RoundRecord[]> {
    throw new InlineUnsupportedError('rounds()');
  }

  override async retryCallback(): Promise<{ queued: boolean }> {
    throw new InlineUnsupportedError('retryCallback()');
  }

  override async retryFailed(): Promise<never> {
    throw new InlineUnsupportedError('retryFailed()');
  }

  #jobs(name: string, status: JobStatus): Knex.QueryBuilder<object, JobRecord[]> {
    const { id, jobs } = this.#state;
    return inlineRows(`${name}()`, () =>
      jobs
        .map((job) => toJobRecord(id, job, this.#state.isSettled))
        .filter((record) => record.status === status),
    );
  }

  #results(): JobResult[] {
    return this.#state.jobs.flatMap(({ position, jid, workerClass, argsJson, result }) =>
      result === undefined
        ? []
        : [
            {
              position,
              jid,
              workerClass,
              args: JSON.parse(argsJson) as unknown[],
              result: JSON.parse(result) as unknown,
            },
          ],
    );
  }
}
