import { fileURLToPath } from 'node:url';
import type { WorkflowHandle, WorkflowStartOptions } from '@temporalio/client';
import {
  bundleWorkflowCode,
  DefaultLogger,
  Worker,
  type WorkerOptions,
  type WorkflowBundleWithSourceMap,
} from '@temporalio/worker';
import { BatchPlugin } from '../../src/index.ts';
import type * as workflows from './order-workflows.ts';
import type { World } from './world.ts';

export type OrderActivities = ReturnType<typeof createOrderActivities>;

/** An app that has workflows of its own, and a task queue for them. */
export interface OrderApp {
  readonly taskQueue: string;
  readonly bundles: OrderBundles;
  /** With the plugin, unless the options say otherwise. @returns stops it */
  startWorker(options?: Partial<WorkerOptions>): Promise<{ worker: Worker; stop(): Promise<void> }>;
  /** By a client without the plugin. */
  start<Name extends keyof typeof workflows>(
    name: Name,
    options?: Partial<WorkflowStartOptions>,
  ): Promise<WorkflowHandle>;
}

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
  return {
    taskQueue,
    bundles,
    async startWorker(options = {}) {
      const isPlain = options.plugins?.length === 0;
      const worker = await Worker.create({
        connection: world.connection,
        taskQueue,
        activities: createOrderActivities(),
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
    start: (name, options = {}) =>
      world.client.workflow.start<(...args: unknown[]) => Promise<unknown>>(name, {
        taskQueue,
        workflowId: `${world.schema}-order-${++started}`,
        args: [],
        ...options,
      }) as Promise<WorkflowHandle>,
  };
}
