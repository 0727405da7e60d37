import { Client } from '@temporalio/client';
import { Runtime, Worker } from '@temporalio/worker';
import { AttemptLog, createActivities, SteeringWatch, UnknownNames } from '../../activities/index.ts';
import { BatchClient } from '../client/batch-client.ts';
import { openClients } from '../client/open-clients.ts';
import type { Database } from '../database/connect.ts';
import { assertMigrated } from '../database/migrate.ts';
import { poolMaxOf } from '../database/own-knex.ts';
import { InvalidOptionError } from '../errors.ts';
import type { Callback } from '../jobs/define-callback.ts';
import { observeRunningJobs } from '../telemetry/instruments.ts';
import { CALLS, waitMs } from '../timeouts.ts';
import { ByteBudget } from './byte-budget.ts';
import { assertFailuresEncoded, EncodedFailures } from './encoded-failures.ts';
import { logAttributes } from './log-attributes.ts';
import { Permits } from './permits.ts';
import { Slots } from './slots.ts';
import { startWatchdog } from './watchdog.ts';
import { toWorkerError } from './worker-errors.ts';
import { resolveWorkerOptions, workflowsPath, type BatchWorkerOptions } from './worker-options.ts';

/** Callbacks, and what else is no chunk, find room beside chunks that hold all job slots or wait for permits. */
const EXTRA_ACTIVITIES = 20;

/** A process's worker for batches, jobs and callbacks. */
export interface BatchWorker extends AsyncDisposable {
  /** Temporal's worker beneath. */
  readonly worker: Worker;
  /** Works until `shutdown()`, SIGTERM or SIGINT, then drains, closes what it opened and resolves. */
  run(): Promise<void>;
  /** Runs the worker while the callback runs, then shuts it down. */
  runUntil<T>(run: () => Promise<T>): Promise<T>;
  /** Stops taking work. `run()` resolves once what runs has ended. */
  shutdown(): void;
}

/**
 * Creates a worker that runs batches, their jobs and their callbacks.
 *
 * @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError} when the schema is older than this version
 * @throws {@link TemporalUnavailableError} when Temporal does not answer, has no such namespace, or denies access
 * @example
 * const worker = await createBatchWorker({ connection, database, jobs: [scoreEntry], callbacks: [alertOps] });
 * await worker.run();
 */
export async function createBatchWorker(options: BatchWorkerOptions): Promise<BatchWorker> {
  const resolved = resolveWorkerOptions(options);
  const { callbacks, jobs, maxConcurrentJobs, maxLoadedBytes, namespace, taskQueue } = resolved;
  const batches = new BatchClient({
    client: new Client({ connection: options.connection, namespace }),
    database: options.database,
    taskQueue,
    ...(options.schema === undefined ? {} : { schema: options.schema }),
    ...(options.poolSize === undefined ? {} : { poolSize: options.poolSize }),
  });
  // Handlers get this client by their context. It is not the app's: a plain job elsewhere must not be started with it.
  openClients.delete(batches);
  const slots = new Slots(maxConcurrentJobs);
  const permits = new Permits({
    database: batches.database,
    slots,
    maxJobs: maxConcurrentJobs,
    onError: (error) =>
      Runtime.instance().logger.warn('Could not renew the permits of named limits; will retry.', {
        error: String(error),
      }),
  });
  const { interceptors, plugins = [], ...workerOptions } = options.workerOptions ?? {};
  try {
    assertPoolFor(callbacks.values(), batches.database, options.database);
    await assertMigrated(batches.database);
    await batches.identity.ref();
    const worker: Worker = await Worker.create({
      maxConcurrentActivityTaskExecutions: maxConcurrentJobs + EXTRA_ACTIVITIES,
      // The worker that has a batch in its cache may be dead: others are not to wait 10 s, the default, for it.
      stickyQueueScheduleToStartTimeout: CALLS.stickyQueue,
      ...workerOptions,
      interceptors: { ...interceptors, activity: [logAttributes, ...(interceptors?.activity ?? [])] },
      // The last one: others may bring a codec.
      plugins: [...plugins, new EncodedFailures()],
      ...(options.workflowBundle ? { workflowBundle: options.workflowBundle } : { workflowsPath }),
      connection: options.connection,
      namespace,
      taskQueue,
      shutdownGraceTime: resolved.shutdownGraceTimeMs,
      maxHeartbeatThrottleInterval: waitMs('heartbeatThrottle'),
      activities: createActivities({
        batches,
        callbacks,
        database: batches.database,
        isDraining: () => worker.getState() !== 'RUNNING',
        jobs,
        permits,
        slots,
        storesStacks: resolved.storesStacks,
        attemptLog: new AttemptLog(() => Runtime.instance().logger),
        bytes: new ByteBudget(maxLoadedBytes),
        steering: new SteeringWatch(batches.database),
        unknownNames: new UnknownNames(batches.client, () => worker.options.identity),
      }),
    });
    await assertFailuresEncoded(worker.options, options.workflowBundle);
    // Its client has the data converter, interceptors and identity of the worker, also those that its plugins bring.
    batches.callThrough(() => worker.client!);
    const unobserve = observeRunningJobs({ taskQueue, count: () => slots.used });
    return wrap(worker, resolved.hungProcessTimeoutMs, async () => {
      unobserve();
      await permits.close();
      await batches.close();
    });
  } catch (error) {
    await batches.close();
    throw toWorkerError(namespace, error);
  }
}

/** A transactional callback holds a connection while its handler asks for another one. */
function assertPoolFor(
  callbacks: Iterable<Callback>,
  { app }: Database,
  given: BatchWorkerOptions['database'],
): void {
  const max = poolMaxOf(app);
  const transactional = [...callbacks].find(({ options }) => options.transaction);
  if (!transactional || max === undefined || max >= 2) return;
  const why = `The callback "${transactional.name}" has a transaction of its own, beside which its handler needs a connection for its calls to batches.`;
  if (typeof given === 'string') throw new InvalidOptionError('poolSize', 'at least 2', max, why);
  throw new InvalidOptionError(
    'database',
    'a Knex instance whose pool has at least 2 connections',
    { pool: { max } },
    why,
  );
}

function wrap(
  worker: Worker,
  hungProcessTimeoutMs: number | undefined,
  close: () => Promise<void>,
): BatchWorker {
  const closing = async <T>(run: () => Promise<T>): Promise<T> => {
    const stopWatchdog = hungProcessTimeoutMs === undefined ? undefined : startWatchdog(hungProcessTimeoutMs);
    try {
      return await run();
    } finally {
      await stopWatchdog?.();
      await close();
    }
  };
  return {
    worker,
    run: () => closing(() => worker.run()),
    runUntil: (run) => closing(() => worker.runUntil(run)),
    shutdown: () => worker.shutdown(),
    async [Symbol.asyncDispose]() {
      // A worker that never ran has nothing to drain, only its connections to give back.
      if (worker.getState() === 'RUNNING') worker.shutdown();
      else if (worker.getState() === 'INITIALIZED') await close();
    },
  };
}
