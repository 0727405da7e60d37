import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, type WorkflowHandle, type WorkflowStartOptions } from '@temporalio/client';
import {
  bundleWorkflowCode,
  DefaultLogger,
  Worker,
  type WorkerOptions,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker';
import { execa } from 'execa';
import { inject } from 'vitest';
import { BatchPlugin } from '../../src/index.ts';
import type * as workflows from './order-workflows.ts';
import { compiledScript } from './processes.ts';
import type { World } from './world.ts';

export type OrderActivities = ReturnType<typeof createOrderActivities>;

/** An app that has workflows of its own, and a task queue for them. */
export interface OrderApp {
  readonly taskQueue: string;
  readonly bundles: OrderBundles;
  /** With the plugin, unless the options say otherwise. @returns stops it */
  startWorker(options?: Partial<WorkerOptions>): Promise<{ worker: Worker; stop: () => Promise<void> }>;
  /** In a process of its own, with the plugin. @returns kills it by SIGKILL, and resolves once it is gone */
  spawnWorker(): Promise<{ kill: () => Promise<void> }>;
  /** By a client without the plugin. */
  start: StartOrder;
  /** By one with the plugin. */
  enrol: StartOrder;
}

export type StartOrder = (
  name: keyof typeof workflows,
  options?: Partial<WorkflowStartOptions>,
) => Promise<WorkflowHandle>;

/** Of its workflows. */
export interface OrderBundles {
  readonly plain: WorkflowBundleWithSourceMap;
  readonly withPlugin: WorkflowBundleWithSourceMap;
}

let started = 0;
const workflowsPath = fileURLToPath(new URL('order-workflows.ts', import.meta.url));

export function createOrderActivities() {
  return { charge: async (amount: number) => amount };
}

/** Bundles with and without the plugin: made once in a test file, since each takes seconds. */
export async function bundleOrders(): Promise<OrderBundles> {
  const options = { workflowsPath, logger: new DefaultLogger('ERROR') };
  return {
    plain: await bundleWorkflowCode(options),
    withPlugin: await bundleWorkflowCode({ ...options, plugins: [new BatchPlugin()] }),
  };
}

export function createOrderApp(world: World, bundles: OrderBundles): OrderApp {
  const taskQueue = `${world.taskQueue}-orders-${++started}`;
  const startBy =
    (client: Client): StartOrder =>
    (name, options = {}) =>
      client.workflow.start<(...args: unknown[]) => Promise<unknown>>(name, {
        taskQueue,
        workflowId: `${world.schema}-order-${++started}`,
        args: [],
        ...options,
      }) as Promise<WorkflowHandle>;
  return {
    taskQueue,
    bundles,
    async startWorker(options = {}) {
      const isPlain = options.plugins?.length === 0;
      const worker = await Worker.create({
        connection: world.connection,
        taskQueue,
        activities: createOrderActivities(),
        debugMode: true,
        ...(isPlain
          ? { workflowBundle: bundles.plain }
          : { plugins: [new BatchPlugin()], workflowBundle: bundles.withPlugin }),
        ...options,
      });
      const running = worker.run();
      const stop = async () => {
        if (worker.getState() === 'RUNNING') worker.shutdown();
        await running;
      };
      return { worker, stop };
    },
    async spawnWorker() {
      const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-app-'));
      const file = path.join(folder, 'workflows.js');
      await writeFile(file, bundles.withPlugin.code);
      const child = execa('node', [compiledScript('test/support/order-worker-process.ts')], {
        env: { TEMPORAL_ADDRESS: inject('temporalAddress'), TASK_QUEUE: taskQueue, WORKFLOW_BUNDLE: file },
        reject: false,
        stdout: 'pipe',
        stderr: 'inherit',
      });
      await once(child.stdout, 'data');
      return {
        async kill() {
          child.kill('SIGKILL');
          await child;
          await rm(folder, { recursive: true });
        },
      };
    },
    start: startBy(world.client),
    enrol: startBy(new Client({ connection: world.client.connection, plugins: [new BatchPlugin()] })),
  };
}
