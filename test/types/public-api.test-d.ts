import type { ClientInterceptors, ClientPlugin } from '@temporalio/client';
import type { Priority } from '@temporalio/common';
import type { BundlerPlugin, BundleOptions, WorkerOptions, WorkerPlugin } from '@temporalio/worker';
import type { Knex } from 'knex';
import { describe, expectTypeOf, test } from 'vitest';
import {
  batchClientInterceptors,
  type BatchClient,
  type BatchError,
  BatchNotFoundError,
  BatchPlugin,
  currentBatch,
  defineCallback,
  defineJob,
  InvalidOptionError,
  migrate,
  migrationSql,
  MigrationsPendingError,
  outsideBlock,
  type Batch,
  type BatchClientOptions,
  type BatchErrorCode,
  type BatchOptions,
  type BatchProgress,
  type BatchStatus,
  type Callback,
  type CallbackContext,
  type CurrentBatch,
  type EnrollmentBlock,
  type EnrolOptions,
  type Job,
  type JobCallOptions,
  type JobCalls,
  type JobContext,
  type JobLimit,
  type JobOptions,
  type JobRecord,
  type JobResult,
  type PruneOptions,
  type PruneResult,
  type PruneScheduleOptions,
  type TransactionCallbackContext,
} from '../../src/index.ts';
import {
  batchWorkerInterceptors,
  createBatchWorker,
  workflowInterceptorModules,
  type BatchWorker,
  type BatchWorkerOptions,
} from '../../src/worker/index.ts';
import {
  executeBatch,
  type ExecuteBatchOptions,
  type ExecuteBatchResult,
  type StepJobOf,
} from '../../workflows/index.ts';

const scoreEntry = defineJob('ScoreEntry', async (_entryId: number, _reason?: string) => 'score');
type ScoreEntry = typeof scoreEntry;
const alertOps = defineCallback('AlertOps', async (_batchId) => {});

test('the plugin, and what it is made of, fit a client', () => {
  expectTypeOf(new BatchPlugin()).toExtend<ClientPlugin>();
  expectTypeOf(batchClientInterceptors()).toExtend<ClientInterceptors>();
});

test('the plugin, and what it is made of, fit a worker and its bundle', () => {
  expectTypeOf(new BatchPlugin()).toExtend<WorkerPlugin & BundlerPlugin>();
  expectTypeOf(batchWorkerInterceptors).returns.toExtend<AsyncDisposable>();
  expectTypeOf<ReturnType<typeof batchWorkerInterceptors>['sinks']>().toExtend<
    NonNullable<WorkerOptions['sinks']>
  >();
  expectTypeOf(workflowInterceptorModules).toEqualTypeOf<
    NonNullable<BundleOptions['workflowInterceptorModules']>
  >();
});

describe('a job', () => {
  test('takes the arguments of its handler, and resolves to the jid', () => {
    expectTypeOf(scoreEntry).toEqualTypeOf<Job<[_entryId: number, _reason?: string | undefined], string>>();
    expectTypeOf(scoreEntry).toExtend<Job<[_entryId: number, _reason?: string | undefined]>>();
    expectTypeOf<ScoreEntry['performAsync']>().parameters.toEqualTypeOf<
      [_entryId: number, _reason?: string | undefined]
    >();
    expectTypeOf<ScoreEntry['performAsync']>().returns.resolves.toEqualTypeOf<string>();
  });

  test('refuses other arguments', () => {
    expectTypeOf<ScoreEntry['performAsync']>().toBeCallableWith(1, 'reason');
    // @ts-expect-error -- an argument is missing
    void scoreEntry.performAsync();
    // @ts-expect-error -- an argument of another type
    void scoreEntry.performAsync('1');
    // @ts-expect-error -- an argument too many
    void scoreEntry.performAsync(1, 'reason', true);
  });

  test('takes lists of arguments from arrays, generators and async generators', () => {
    async function* ids(): AsyncGenerator<[number]> {
      yield [1];
    }
    expectTypeOf<ScoreEntry['performBulk']>().toBeCallableWith([[1], [2, 'reason']]);
    expectTypeOf<ScoreEntry['performBulk']>().toBeCallableWith(new Set<[number]>());
    expectTypeOf<ScoreEntry['performBulk']>().toBeCallableWith(ids());
    expectTypeOf<ScoreEntry['performBulk']>().returns.resolves.toEqualTypeOf<string[]>();
    // @ts-expect-error -- lists of arguments, not arguments
    void scoreEntry.performBulk([1, 2]);
  });

  test('keeps its arguments when a call sets options', () => {
    expectTypeOf<ScoreEntry['set']>().parameters.toEqualTypeOf<[options: JobCallOptions]>();
    expectTypeOf(scoreEntry.set({ startDelay: '5s' })).toEqualTypeOf<
      JobCalls<[_entryId: number, _reason?: string | undefined]>
    >();
    // @ts-expect-error -- an argument of another type
    void scoreEntry.set({}).performAsync('1');
  });

  test('knows what its handler returns, with and without a promise', () => {
    const either = defineJob('Either', (n: number) => (n > 0 ? Promise.resolve('late') : n));
    expectTypeOf(either).toEqualTypeOf<Job<[n: number], string | number>>();
    expectTypeOf(defineJob('Nothing', async () => {})).toEqualTypeOf<Job<[], void>>();
    expectTypeOf<ScoreEntry['handler']>().toBeCallableWith(1, 'reason');
  });

  test('stores its result by its definition, not by a call', () => {
    expectTypeOf<'storeResult'>().toExtend<keyof JobOptions>();
    expectTypeOf<'storeResult'>().not.toExtend<keyof JobCallOptions>();
  });

  test('takes the names of Temporal in its options', () => {
    expectTypeOf<{
      retry: { maximumAttempts: 5; initialInterval: '1s'; nonRetryableErrorTypes: ['A'] };
      startToCloseTimeout: '10 minutes';
      scheduleToCloseTimeout: 3_600_000;
      taskQueue: 'gpu';
    }>().toExtend<JobOptions>();
    expectTypeOf<'startDelay'>().not.toExtend<keyof JobOptions>();
    expectTypeOf<'startDelay'>().toExtend<keyof JobCallOptions>();
    // @ts-expect-error -- no such option
    defineJob('Job', async () => {}, { retries: 5 });
    // @ts-expect-error -- a task queue has a name
    defineJob('Job', async () => {}, { taskQueue: 5 });
  });
});

describe('a callback', () => {
  test('gets the batch id and a context', () => {
    defineCallback('Notify', (batchId, context) => {
      expectTypeOf(batchId).toEqualTypeOf<string>();
      expectTypeOf(context).toEqualTypeOf<CallbackContext>();
      expectTypeOf(context.batches).toEqualTypeOf<BatchClient>();
      expectTypeOf(context.signal).toEqualTypeOf<AbortSignal>();
    });
  });

  test('gets a transaction only when it asks for one', () => {
    defineCallback(
      'Notify',
      (_batchId, context) => {
        expectTypeOf(context).toEqualTypeOf<TransactionCallbackContext>();
        expectTypeOf(context.trx).toEqualTypeOf<Knex.Transaction>();
      },
      { transaction: true },
    );
    // @ts-expect-error -- no transaction was asked for
    defineCallback('Notify', (_batchId, { trx }) => trx);
    // @ts-expect-error -- no transaction was asked for
    defineCallback('Notify', (_batchId, { trx }) => trx, { transaction: false });
  });

  test('gets nothing else as its argument', () => {
    expectTypeOf(defineCallback).toBeCallableWith('Notify', (_batchId: string) => {});
    // @ts-expect-error -- a handler with other arguments
    defineCallback('Notify', (_batchId: number) => {});
  });

  test('is registered for one of five events', () => {
    expectTypeOf<Batch['on']>().parameters.toEqualTypeOf<
      [event: 'complete' | 'failure' | 'cancelled' | 'settled' | 'idle', callback: Callback]
    >();
    expectTypeOf<Batch['on']>().returns.resolves.toEqualTypeOf<void>();
    expectTypeOf(alertOps).toEqualTypeOf<Callback>();
    expectTypeOf(scoreEntry).not.toExtend<Callback>();
  });
});

describe('a block', () => {
  const block = {} as EnrollmentBlock;
  const start = () => [
    block.perform(scoreEntry, 1),
    block.perform(scoreEntry, 1, 'reason'),
    block.perform(scoreEntry.set({ key: 'one' }), 1),
    block.performBulk(scoreEntry, [[1], [2, 'reason']]),
    block.performBulk(scoreEntry.set({ startDelay: '5s' }), new Set<[number]>()),
  ];

  test('takes the arguments of the job that it starts, and resolves to jids', () => {
    expectTypeOf(start).toBeFunction();
    expectTypeOf(block.perform(scoreEntry, 1)).resolves.toEqualTypeOf<string>();
    expectTypeOf(block.performBulk(scoreEntry, [[1]])).resolves.toEqualTypeOf<string[]>();
    const generic = <Args extends readonly unknown[]>(job: Job<Args>, ...args: Args) =>
      block.perform(job, ...args);
    expectTypeOf(generic(scoreEntry, 1)).resolves.toEqualTypeOf<string>();
  });

  test('refuses other arguments, and what is no job', () => {
    expectTypeOf(block.perform).toBeCallableWith(scoreEntry, 1, 'reason');
    // @ts-expect-error -- an argument is missing
    void block.perform(scoreEntry);
    // @ts-expect-error -- an argument of another type
    void block.perform(scoreEntry, '1');
    // @ts-expect-error -- an argument of another type
    void block.perform(scoreEntry.set({}), '1');
    // @ts-expect-error -- an argument too many
    void block.perform(scoreEntry, 1, 'reason', true);
    // @ts-expect-error -- lists of arguments, not arguments
    void block.performBulk(scoreEntry, [1, 2]);
    // @ts-expect-error -- a callback is no job
    void block.perform(alertOps, 'id');
  });

  test('can be given to a batch that is to be a job', () => {
    expectTypeOf<Batch['enrol']>().parameters.toEqualTypeOf<[block?: EnrollmentBlock | undefined]>();
  });

  test('can be left for what is no part of it', () => {
    expectTypeOf(outsideBlock(() => 1)).toEqualTypeOf<number>();
  });
});

describe('a batch', () => {
  test('is created from a description and what else is known', () => {
    expectTypeOf<BatchClient['create']>().parameters.toEqualTypeOf<[options: BatchOptions]>();
    expectTypeOf<BatchClient['create']>().returns.resolves.toEqualTypeOf<Batch>();
    expectTypeOf<{ description: string }>().toExtend<BatchOptions>();
    expectTypeOf<{ context: { id: number } }>().not.toExtend<BatchOptions>();
    expectTypeOf<BatchOptions['maxConcurrentJobs']>().toEqualTypeOf<number | null | undefined>();
    expectTypeOf<BatchOptions['jobLimits']>().toEqualTypeOf<Readonly<Record<string, JobLimit>> | undefined>();
    expectTypeOf<BatchOptions['failWhen']>().toEqualTypeOf<'settled' | 'immediate' | undefined>();
  });

  test('takes a block that returns anything, and resolves to its total', () => {
    expectTypeOf<Batch['jobs']>().parameter(0).toEqualTypeOf<(block: EnrollmentBlock) => unknown>();
    expectTypeOf<CurrentBatch['jobs']>().parameter(0).toEqualTypeOf<(block: EnrollmentBlock) => unknown>();
    expectTypeOf<() => Promise<string>>().toExtend<Parameters<Batch['jobs']>[0]>();
    expectTypeOf<Batch['jobs']>().returns.resolves.toEqualTypeOf<{ total: number }>();
  });

  test('can be taken over, sealed by hand, and be added to by its handlers', () => {
    expectTypeOf<Batch['jobs']>().parameter(1).toEqualTypeOf<EnrolOptions | undefined>();
    expectTypeOf<Batch['seal']>().returns.resolves.toEqualTypeOf<{ total: number }>();
    expectTypeOf(currentBatch).returns.toEqualTypeOf<CurrentBatch>();
    expectTypeOf<CurrentBatch['jobs']>().returns.resolves.toEqualTypeOf<{ total: number }>();
    expectTypeOf<'key'>().toExtend<keyof JobCallOptions>();
    expectTypeOf<'key'>().not.toExtend<keyof JobOptions>();
  });

  test('has progress in numbers and one of five statuses', () => {
    expectTypeOf<Batch['progress']>().returns.resolves.toEqualTypeOf<BatchProgress>();
    expectTypeOf<BatchProgress>().toEqualTypeOf<{
      readonly status: BatchStatus;
      readonly total: number;
      readonly complete: number;
      readonly failed: number;
      readonly cancelled: number;
      readonly pending: number;
      readonly reason?: string;
    }>();
    expectTypeOf<BatchStatus>().toEqualTypeOf<'pending' | 'running' | 'complete' | 'failed' | 'cancelled'>();
  });

  test('lists jobs as query builders that resolve to records', () => {
    for (const method of ['pendingJobs', 'failedJobs', 'completedJobs', 'cancelledJobs'] as const) {
      expectTypeOf<Awaited<ReturnType<Batch[typeof method]>>>().toEqualTypeOf<JobRecord[]>();
    }
    expectTypeOf<ReturnType<Batch['failedJobs']>['limit']>().toBeFunction();
    expectTypeOf<JobRecord['status']>().toEqualTypeOf<'pending' | 'complete' | 'failed' | 'cancelled'>();
    expectTypeOf<JobRecord['errorMessage']>().toEqualTypeOf<string | null>();
  });

  test('has results of unknown types, of a given one, or of a job', () => {
    type Score = { score: number };
    const maybe = defineJob(
      'Maybe',
      async (_id: number) => (Math.random() > 0.5 ? { score: 1 } : undefined),
      {
        storeResult: true,
      },
    );
    const read = (batch: Batch) => ({
      unknown: batch.eachResult({ pageSize: 10 }),
      given: batch.eachResult<Score>(),
      ofJob: batch.eachResult(scoreEntry, { pageSize: 10 }),
      ofMaybe: batch.eachResult(maybe),
      rows: batch.results<Score>().limit(5),
    });
    type Read = ReturnType<typeof read>;
    type Item<Key extends keyof Read> = Read[Key] extends AsyncIterable<infer Each> ? Each : never;
    expectTypeOf<Item<'unknown'>>().toEqualTypeOf<JobResult>();
    expectTypeOf<Item<'given'>>().toEqualTypeOf<JobResult<Score>>();
    expectTypeOf<Item<'ofJob'>['result']>().toEqualTypeOf<string>();
    expectTypeOf<Item<'ofJob'>['args'][0]>().toEqualTypeOf<number>();
    expectTypeOf<Item<'ofMaybe'>['result']>().toEqualTypeOf<Score>();
    expectTypeOf<Awaited<Read['rows']>>().toEqualTypeOf<JobResult<Score>[]>();
    // @ts-expect-error -- the job says which name
    void ((batch: Batch) => batch.eachResult(scoreEntry, { workerClass: 'Other' }));
  });

  test('has a priority in the names of Temporal', () => {
    expectTypeOf<Priority>().toExtend<NonNullable<BatchOptions['priority']>>();
    expectTypeOf<keyof NonNullable<BatchOptions['priority']>>().toEqualTypeOf<keyof Priority>();
  });

  test('cannot be changed by its properties', () => {
    const change = (batch: Batch) => {
      // @ts-expect-error -- read-only
      batch.status = 'complete';
      // @ts-expect-error -- read-only
      batch.id = 'other';
    };
    expectTypeOf(change).parameter(0).toEqualTypeOf<Batch>();
  });
});

describe('an error', () => {
  test('has a code from a closed list', () => {
    expectTypeOf<BatchError['code']>().toEqualTypeOf<BatchErrorCode>();
    expectTypeOf<string>().not.toExtend<BatchErrorCode>();
    expectTypeOf<'ALREADY_ENROLLED' | 'WAIT_TIMED_OUT'>().toExtend<BatchErrorCode>();
  });

  test('carries fields of its own', () => {
    expectTypeOf(BatchNotFoundError).instance.toExtend<BatchError & { readonly batchId: string }>();
    expectTypeOf(InvalidOptionError).instance.toExtend<BatchError & { readonly option: string }>();
    expectTypeOf(MigrationsPendingError).instance.toExtend<
      BatchError & { readonly pending: readonly string[] }
    >();
  });
});

describe('a worker', () => {
  test('takes jobs of any arguments together', () => {
    const other = defineJob('Other', async (_name: string) => {});
    expectTypeOf([scoreEntry, other]).toExtend<NonNullable<BatchWorkerOptions['jobs']>>();
    expectTypeOf([alertOps]).toExtend<NonNullable<BatchWorkerOptions['callbacks']>>();
    expectTypeOf([alertOps]).not.toExtend<NonNullable<BatchWorkerOptions['jobs']>>();
    expectTypeOf(createBatchWorker).returns.resolves.toEqualTypeOf<BatchWorker>();
  });

  test('needs a connection and a database', () => {
    expectTypeOf<Pick<BatchWorkerOptions, 'connection'>>().not.toExtend<BatchWorkerOptions>();
    expectTypeOf<Pick<BatchWorkerOptions, 'database'>>().not.toExtend<BatchWorkerOptions>();
    expectTypeOf<Pick<BatchWorkerOptions, 'connection' | 'database'>>().toExtend<BatchWorkerOptions>();
  });

  test('can be disposed, and so can a client', () => {
    expectTypeOf<BatchWorker>().toExtend<AsyncDisposable>();
    expectTypeOf<BatchClient>().toExtend<AsyncDisposable>();
  });
});

test('takes a connection string or the Knex instance of the app as database', () => {
  expectTypeOf<BatchClientOptions['database']>().toEqualTypeOf<string | Knex>();
  expectTypeOf<BatchWorkerOptions['database']>().toEqualTypeOf<string | Knex>();
  expectTypeOf(migrate).parameter(0).toEqualTypeOf<string | Knex>();
});

test('tells a plain job from a member of a batch', () => {
  expectTypeOf<JobContext['batchId']>().toEqualTypeOf<string | undefined>();
});

test('migrates and tells what it did', () => {
  expectTypeOf(migrate).returns.resolves.toEqualTypeOf<{ applied: string[] }>();
  expectTypeOf(migrationSql).returns.resolves.toEqualTypeOf<string>();
});

describe('pruning', () => {
  test('needs an age, and takes one outcome or several', () => {
    expectTypeOf<BatchClient['prune']>().toEqualTypeOf<(options: PruneOptions) => Promise<PruneResult>>();
    expectTypeOf<{ olderThan: '30 days' }>().toExtend<PruneOptions>();
    expectTypeOf<{ olderThan: 1_000; status: 'failed'; limit: 5; dryRun: true }>().toExtend<PruneOptions>();
    expectTypeOf<{ olderThan: '1 day'; status: ['failed', 'complete'] }>().toExtend<PruneOptions>();
    expectTypeOf<{ dryRun: true }>().not.toExtend<PruneOptions>();
    expectTypeOf<{ olderThan: '1 day'; status: 'running' }>().not.toExtend<PruneOptions>();
    expectTypeOf<{ olderThan: '1 day'; every: '6 hours' }>().toExtend<PruneScheduleOptions>();
  });
});

describe('a step of a workflow', () => {
  test('takes the options of create, jobs by name, and resolves to how the batch ended', () => {
    expectTypeOf(executeBatch).toBeCallableWith({
      description: 'A',
      deadline: new Date(),
      failWhenFailed: { moreThan: '5%' },
      jobs: [{ name: 'ScoreEntry', args: [1] }],
    });
    expectTypeOf(executeBatch).returns.resolves.toEqualTypeOf<ExecuteBatchResult>();
    expectTypeOf<ExecuteBatchResult>().toExtend<BatchProgress & { batchId: string }>();
    expectTypeOf<keyof BatchOptions>()
      .exclude<'autoSeal' | 'callbacks'>()
      .toExtend<keyof ExecuteBatchOptions>();
    expectTypeOf<ExecuteBatchOptions>().not.toHaveProperty('autoSeal');
    expectTypeOf<ExecuteBatchOptions>().not.toHaveProperty('callbacks');
  });

  test('has jobs whose arguments are those of a definition, of which only the type is imported', () => {
    const jobs = [1, 2].map((id): StepJobOf<ScoreEntry> => ({ name: 'ScoreEntry', args: [id, 'reason'] }));
    expectTypeOf(executeBatch).toBeCallableWith({ description: 'A', jobs });
    // @ts-expect-error -- an argument of another type
    const wrong: StepJobOf<ScoreEntry> = { name: 'ScoreEntry', args: ['1'] };
    void wrong;
  });
});
