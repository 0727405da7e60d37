import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker';
import { BatchPlugin } from '../src/index.ts';
import { inEnvironment, type Environment } from './environment.ts';
import { median, rounded } from './figures.ts';
import { done } from './jobs.ts';
import type { noopWorkflow } from './noop-workflow.ts';
import { report, type BenchOptions } from './report.ts';
import { checkCount } from './rivals/rival.ts';

/** Starts under way at once, in both ways. */
const STARTING = 20;
const WARM_UP = 50;

/** Starts so many workflows, and waits for their ends. */
type Run = (environment: Environment, app: App, jobs: number) => Promise<void>;

interface App {
  /** With the plugin; outside of a block it does nothing. */
  readonly client: Client;
  readonly taskQueue: string;
}

/**
 * The same workflows, started and waited for by an app, and as the jobs of a batch. Their worker, with the plugin, the
 * batch's worker and the app share this process. In turn, the one that is first alternates; ms until the app knows that
 * all have ended, in a batch until its callback has.
 */
export async function runWorkflows(options: { jobs: number; runs: number } & BenchOptions): Promise<void> {
  const { jobs, runs, server } = options;
  await inEnvironment({ jobs: [], callbacks: [done], server }, async (environment) => {
    const ways: Readonly<Record<'alone' | 'batched', Run>> = { alone, batched };
    const times: Record<keyof typeof ways, number[]> = { alone: [], batched: [] };
    await withApp(environment, async (app) => {
      for (const run of Object.values(ways)) await run(environment, app, WARM_UP);
      for (let n = 0; n < runs; n++) {
        const order = n % 2 === 0 ? (['alone', 'batched'] as const) : (['batched', 'alone'] as const);
        for (const way of order) {
          const startedAt = performance.now();
          await ways[way](environment, app, jobs);
          times[way].push(performance.now() - startedAt);
        }
      }
    });
    const [ms, batchedMs] = [median(times.alone), median(times.batched)];
    const row = (name: string, time: number) => [
      name,
      jobs,
      Math.round(time),
      rounded((jobs / time) * 1_000),
      rounded(time / ms),
    ];
    report(
      options,
      ['way', 'workflows', 'ms', 'a second', 'times'],
      [row('workflows alone', ms), row('as jobs of a batch', batchedMs)],
      {
        bench: 'workflows',
        jobs,
        runs,
        starting: STARTING,
        aloneMs: times.alone.map(Math.round),
        batchedMs: times.batched.map(Math.round),
        ratio: rounded(batchedMs / ms),
        ...environment.machine,
      },
    );
  });
}

/** What an app does without batches: it starts them and waits for each result. */
async function alone(_environment: Environment, app: App, jobs: number): Promise<void> {
  const handles = await startAll(app, jobs);
  await Promise.all(handles.map((handle) => handle.result()));
  checkCount(handles.length, jobs);
}

async function batched({ batches }: Environment, app: App, jobs: number): Promise<void> {
  const batch = await batches.create({ description: `Benchmark of ${jobs} workflows` });
  await batch.on('complete', done);
  await batch.jobs(() => startAll(app, jobs));
  const { complete } = await batch.wait();
  checkCount(complete, jobs);
}

async function startAll({ client, taskQueue }: App, jobs: number) {
  const prefix = randomUUID();
  const handles: Awaited<ReturnType<typeof start>>[] = [];
  const start = (index: number) =>
    client.workflow.start<typeof noopWorkflow>('noopWorkflow', {
      taskQueue,
      workflowId: `${prefix}-${index}`,
      args: [index],
    });
  let next = 0;
  const lane = async () => {
    while (next < jobs) handles.push(await start(next++));
  };
  await Promise.all(Array.from({ length: STARTING }, lane));
  return handles;
}

async function withApp(
  { client, temporalAddress }: Environment,
  measure: (app: App) => Promise<void>,
): Promise<void> {
  const connection = await NativeConnection.connect({ address: temporalAddress });
  const taskQueue = `workflows-${randomUUID()}`;
  const plugins = [new BatchPlugin()];
  const worker = await Worker.create({
    connection,
    taskQueue,
    plugins,
    workflowBundle: await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./noop-workflow.js', import.meta.url)),
      logger: new DefaultLogger('ERROR'),
      plugins,
    }),
  });
  try {
    await worker.runUntil(() =>
      measure({ client: new Client({ connection: client.connection, plugins }), taskQueue }),
    );
  } finally {
    await connection.close();
  }
}
