import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Client, Connection } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, type RuntimeOptions } from '@temporalio/worker';
import { execa } from 'execa';
import knexFactory, { type Knex } from 'knex';
import { inject } from 'vitest';
import type { DevServers } from '../../src/dev/index.ts';
import { BatchClient, migrate } from '../../src/index.ts';
import { createBatchWorker, type BatchWorker, type BatchWorkerOptions } from '../../src/worker/index.ts';
import { createFixtures, type Fixtures } from './fixtures.ts';
import { Ledger } from './ledger.ts';
import { compiledScript } from './processes.ts';

/** A schema, a task queue, a client and workers of a test file's own, on the shared servers. */
export interface World extends AsyncDisposable {
  readonly batches: BatchClient;
  readonly client: Client;
  readonly connection: NativeConnection;
  readonly fixtures: Fixtures;
  readonly knex: Knex;
  readonly ledger: Ledger;
  readonly schema: string;
  readonly taskQueue: string;
  /** A second client, as another process would have it. */
  openClient(): BatchClient;
  /** Starts a worker in this process with all fixtures. It stops with the world, or before by its `stop`. */
  startWorker(options?: Partial<BatchWorkerOptions>): Promise<BatchWorker & { stop(): Promise<void> }>;
  /** Starts a worker in a process of its own, to be killed. */
  spawnWorker(options?: ProcessOptions): Promise<WorkerProcess>;
  /** Kills all worker processes and waits until they are gone. */
  stopProcesses(): Promise<void>;
}

export interface WorldOptions {
  /** Servers of the test file's own, to be stopped and killed. @default the servers that all tests share */
  readonly servers?: Pick<DevServers, 'databaseUrl' | 'temporalAddress'>;
  /** Options of Temporal's runtime, of the first world of a test file. @default errors are logged */
  readonly runtime?: RuntimeOptions;
}

/** What a worker process gets beside all fixtures. */
export interface ProcessOptions extends Pick<
  BatchWorkerOptions,
  'hungProcessTimeout' | 'maxConcurrentJobs' | 'taskQueue' | 'workerOptions'
> {
  /** Flags for Node. */
  readonly nodeFlags?: readonly string[];
  /** What it prints as it dies is expected, and is not shown. */
  readonly isQuiet?: boolean;
  /** Names of jobs and callbacks that it does not know, as if it were of an older release. */
  readonly without?: readonly string[];
}

export interface WorkerProcess {
  readonly pid: number;
  kill(signal: NodeJS.Signals): void;
  /** Resolves once the process is gone, with its exit code (undefined: by a signal). */
  readonly exited: Promise<number | undefined>;
}

let isRuntimeInstalled = false;

export async function createWorld({ servers, runtime }: WorldOptions = {}): Promise<World> {
  if (!isRuntimeInstalled) Runtime.install({ logger: new DefaultLogger('ERROR'), ...runtime });
  isRuntimeInstalled = true;
  const schema = `test_${randomBytes(6).toString('hex')}`;
  const taskQueue = schema;
  const database = servers?.databaseUrl ?? inject('databaseUrl');
  const address = servers?.temporalAddress ?? inject('temporalAddress');
  const workflowBundle = { codePath: inject('workflowBundlePath') };
  await migrate(database, { schema });
  const knex = knexFactory({
    client: 'pg',
    connection: database,
    pool: { min: 0, max: 10 },
    // Servers of a test's own are killed: what Knex prints about that is no news.
    ...(servers ? { log: { error: () => {}, warn: () => {} } } : {}),
  });
  const ledger = new Ledger(knex, schema);
  await ledger.create();
  const fixtures = createFixtures(ledger);
  const connection = await NativeConnection.connect({ address });
  const clientConnection = await Connection.connect({
    address,
    // After an outage gRPC waits for up to two minutes before it tries again: no test should.
    channelArgs: { 'grpc.max_reconnect_backoff_ms': 1_000 },
  });
  const client = new Client({ connection: clientConnection });
  const cleanup: (() => unknown)[] = [];
  const processes: (PromiseLike<unknown> & { kill(signal: NodeJS.Signals): boolean })[] = [];
  const stopProcesses = async () => {
    for (const child of processes) child.kill('SIGKILL');
    await Promise.all(processes);
  };

  const openClient = () => {
    const batches = new BatchClient({
      client,
      database: knex,
      schema,
      taskQueue,
      ...(servers ? { logger: { warn: () => {} } } : {}),
    });
    cleanup.push(() => batches.close());
    return batches;
  };
  const startWorker: World['startWorker'] = async ({ workerOptions, ...options } = {}) => {
    const worker = await createBatchWorker({
      connection,
      database: knex,
      schema,
      taskQueue,
      workflowBundle,
      jobs: Object.values(fixtures.jobs),
      callbacks: Object.values(fixtures.callbacks),
      shutdownGraceTime: '5s',
      // Workflows run in this thread: one of their own takes 0.6 s of CPU to start.
      workerOptions: { debugMode: true, ...workerOptions },
      ...options,
    });
    const running = worker.run();
    const stop = async () => {
      if (worker.worker.getState() === 'RUNNING') worker.shutdown();
      await running;
    };
    cleanup.push(stop);
    return Object.assign(worker, { stop });
  };
  const spawnWorker: World['spawnWorker'] = async ({ nodeFlags = [], isQuiet = false, ...options } = {}) => {
    const child = execa('node', [...nodeFlags, compiledScript('test/support/worker-process.ts')], {
      env: {
        DATABASE_URL: database,
        TEMPORAL_ADDRESS: address,
        SCHEMA: schema,
        TASK_QUEUE: taskQueue,
        WORKFLOW_BUNDLE: workflowBundle.codePath,
        OPTIONS: JSON.stringify(options),
      },
      reject: false,
      stdout: 'pipe',
      stderr: isQuiet ? 'ignore' : 'inherit',
    });
    processes.push(child);
    const ready = await Promise.race([once(child.stdout, 'data'), child.then(() => undefined)]);
    if (!ready) throw new Error('The worker process ended before it was ready.');
    return {
      pid: child.pid!,
      kill: (signal) => void child.kill(signal),
      exited: child.then((r) => r.exitCode),
    };
  };

  return {
    batches: openClient(),
    client,
    connection,
    fixtures,
    knex,
    ledger,
    schema,
    taskQueue,
    openClient,
    startWorker,
    spawnWorker,
    stopProcesses,
    async [Symbol.asyncDispose]() {
      await stopProcesses();
      for (const clean of cleanup.toReversed()) await clean();
      await connection.close();
      await clientConnection.close();
      await knex.raw('drop schema ?? cascade', [schema]);
      await knex.destroy();
    },
  };
}
