import { fileURLToPath } from 'node:url';
import { getHeapStatistics } from 'node:v8';
import type { Duration } from '@temporalio/common';
import type { NativeConnection, WorkerOptions } from '@temporalio/worker';
import type { Knex } from 'knex';
import type { AnyJob } from '../../activities/dependencies.ts';
import { InvalidOptionError } from '../errors.ts';
import { MAX_JSON_BYTES } from '../json-value.ts';
import { isCallback, type Callback } from '../jobs/define-callback.ts';
import { isJob } from '../jobs/define-job.ts';
import {
  assertKnownKeys,
  assertName,
  assertPlainObject,
  assertWholeNumber,
  DEFAULT_TASK_QUEUE,
  resolveDuration,
} from '../options.ts';
import { byName } from './registry.ts';

/** Options of `createBatchWorker`. */
export interface BatchWorkerOptions {
  /** Callbacks that this worker runs. @default [] */
  readonly callbacks?: readonly Callback[];
  /** A connection to Temporal. Stays open when the worker ends. */
  readonly connection: NativeConnection;
  /**
   * A process whose event loop hangs for so long is killed (SIGKILL): by then its jobs count as lost, and nothing else
   * could end the job that hangs. What starts your workers should start them again. `false` leaves it alone. Debuggers
   * switch it off.
   * @default '30 seconds'
   */
  // oxlint-disable-next-line typescript/no-redundant-type-constituents -- Duration is any where the types of ms are missing
  readonly hungProcessTimeout?: Duration | false;
  /**
   * A Knex instance for Postgres (stays open; no transaction), or a connection string. With callbacks of
   * `transaction: true`: a pool of at least 2.
   */
  readonly database: string | Knex;
  /** Jobs that this worker runs. @default [] */
  readonly jobs?: readonly AnyJob[];
  /**
   * Handlers that run at once in this process, whatever batches they belong to. Raise it for handlers that wait,
   * lower it for handlers that compute.
   * @default 100
   */
  readonly maxConcurrentJobs?: number;
  /**
   * Bound for the bytes of arguments, results and errors that this process holds in memory, over all batches. Jobs whose
   * arguments do not fit are loaded later. Raise it if more large jobs should run at once than fit. At least 65536.
   * @default 67108864 (64 MiB), or a sixteenth of Node's heap limit if that is less
   */
  readonly maxLoadedBytes?: number;
  /** Temporal's namespace. @default 'default' */
  readonly namespace?: string;
  /** Connections of a pool made from a connection string; at least 2 with callbacks of `transaction: true`. @default 10 */
  readonly poolSize?: number;
  /** Schema that holds the tables. @default 'public' */
  readonly schema?: string;
  /**
   * At shutdown no further job starts; handlers that run have this long to end before their `AbortSignal` fires.
   * @default '30 seconds'
   */
  readonly shutdownGraceTime?: Duration;
  /**
   * Whether rows keep the stack of a job's last error, up to 8,192 characters. The log has it in any case.
   * @default true
   */
  readonly storeStacks?: boolean;
  /**
   * Task queue whose batches, jobs and callbacks this worker runs: one for each service, database and schema.
   * @default 'batch-jobs'
   */
  readonly taskQueue?: string;
  /**
   * A bundle made from `workflowsPath` ahead of time, with `failureConverterPath` where the worker has payload codecs;
   * saves about 2 s at start.
   * @default made at start
   */
  readonly workflowBundle?: WorkerOptions['workflowBundle'];
  /**
   * Further options of Temporal's `Worker`. Its data converter, identity, client interceptors and plugins are those of the
   * client that handlers get, too. What this library sets itself is not taken from here.
   * @default {}
   */
  readonly workerOptions?: Partial<WorkerOptions>;
}

export interface ResolvedWorkerOptions {
  readonly callbacks: ReadonlyMap<string, Callback>;
  readonly hungProcessTimeoutMs: number | undefined;
  readonly jobs: ReadonlyMap<string, AnyJob>;
  readonly maxConcurrentJobs: number;
  readonly maxLoadedBytes: number;
  readonly namespace: string;
  readonly shutdownGraceTimeMs: number;
  readonly storesStacks: boolean;
  readonly taskQueue: string;
}

/**
 * Where the workflows are, for `bundleWorkflowCode` and for workers of your own. A directory: the bundler finds
 * `index.ts` in the sources and `index.js` in the package.
 */
export const workflowsPath: string = fileURLToPath(new URL('../../workflows', import.meta.url));

/** Less than that is a pause that every process makes now and then. */
const MIN_HUNG_PROCESS_TIMEOUT_MS = 1_000;

/** Parsed arguments of many small values take several times their size: a small heap holds less of them. */
function defaultLoadedBytes(): number {
  return Math.min(64 * 1024 * 1024, Math.floor(getHeapStatistics().heap_size_limit / 16));
}

const KEYS = [
  'callbacks',
  'connection',
  'database',
  'hungProcessTimeout',
  'jobs',
  'maxConcurrentJobs',
  'maxLoadedBytes',
  'namespace',
  'poolSize',
  'schema',
  'shutdownGraceTime',
  'storeStacks',
  'taskQueue',
  'workflowBundle',
  'workerOptions',
];

/** @throws {@link InvalidOptionError} */
export function resolveWorkerOptions(options: BatchWorkerOptions): ResolvedWorkerOptions {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, KEYS);
  const {
    callbacks = [],
    connection,
    hungProcessTimeout = '30 seconds',
    jobs = [],
    maxConcurrentJobs = 100,
    maxLoadedBytes = defaultLoadedBytes(),
    namespace = 'default',
    shutdownGraceTime = '30 seconds',
    storeStacks = true,
    taskQueue = DEFAULT_TASK_QUEUE,
  } = options;
  if (typeof connection?.ensureConnected !== 'function') {
    throw new InvalidOptionError('connection', 'a NativeConnection of @temporalio/worker', connection);
  }
  assertWholeNumber('maxConcurrentJobs', maxConcurrentJobs, 1);
  assertWholeNumber('maxLoadedBytes', maxLoadedBytes, MAX_JSON_BYTES);
  if (typeof storeStacks !== 'boolean')
    throw new InvalidOptionError('storeStacks', 'true or false', storeStacks);
  assertName('namespace', namespace);
  assertName('taskQueue', taskQueue);
  return {
    callbacks: byName('callbacks', callbacks, isCallback, 'defineCallback'),
    hungProcessTimeoutMs:
      hungProcessTimeout === false ? undefined : resolveHungProcessTimeout(hungProcessTimeout),
    jobs: byName('jobs', jobs, isJob, 'defineJob'),
    maxConcurrentJobs,
    maxLoadedBytes,
    namespace,
    shutdownGraceTimeMs: resolveDuration('shutdownGraceTime', shutdownGraceTime),
    storesStacks: storeStacks,
    taskQueue,
  };
}

function resolveHungProcessTimeout(value: Duration): number {
  const timeoutMs = resolveDuration('hungProcessTimeout', value);
  if (timeoutMs < MIN_HUNG_PROCESS_TIMEOUT_MS) {
    throw new InvalidOptionError('hungProcessTimeout', 'at least 1 second, or false', value);
  }
  return timeoutMs;
}
