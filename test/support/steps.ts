import { fileURLToPath } from 'node:url';
import type { Client, WorkflowHandle } from '@temporalio/client';
import type { WorkflowResultType } from '@temporalio/common';
import { Worker, type WorkerOptions } from '@temporalio/worker';
import type { ExecuteBatchOptions } from '../../workflows/index.ts';
import type * as workflows from './step-workflows.ts';
import { bundleOfApp } from './workflow-bundle.ts';
import type { World } from './world.ts';

/** An app that has workflows of its own, in which batches are steps. */
export interface StepApp extends AsyncDisposable {
  /** The bundle of its workflows, to replay them. */
  readonly code: string;
  /** Options of a step on the world's workers. */
  options(given: Partial<ExecuteBatchOptions> & Pick<ExecuteBatchOptions, 'jobs'>): ExecuteBatchOptions;
  start<Name extends keyof typeof workflows>(
    name: Name,
    ...args: Parameters<(typeof workflows)[Name]>
  ): Promise<WorkflowHandle<(typeof workflows)[Name]>>;
  execute<Name extends keyof typeof workflows>(
    name: Name,
    ...args: Parameters<(typeof workflows)[Name]>
  ): Promise<WorkflowResultType<(typeof workflows)[Name]>>;
}

let workflowsStarted = 0;

/** A plain worker on a task queue of its own: it has the app's workflows, no activities, and no database. */
export async function startStepApp(
  world: World,
  { client = world.client, ...options }: { client?: Client } & Pick<WorkerOptions, 'dataConverter'> = {},
): Promise<StepApp> {
  const code = await bundleOfApp(fileURLToPath(new URL('step-workflows.ts', import.meta.url)));
  const taskQueue = `${world.taskQueue}-app`;
  const worker = await Worker.create({
    connection: world.connection,
    taskQueue,
    workflowBundle: { code },
    debugMode: true,
    ...options,
  });
  const running = worker.run();
  const start: StepApp['start'] = async (name, ...args) =>
    client.workflow.start<(...args: unknown[]) => Promise<unknown>>(name, {
      taskQueue,
      workflowId: `${world.schema}-app-${++workflowsStarted}`,
      args,
    }) as Promise<WorkflowHandle>;
  return {
    code,
    options: (given) => ({ description: 'A step', taskQueue: world.taskQueue, ...given }),
    start,
    execute: async (name, ...args) => (await start(name, ...args)).result(),
    async [Symbol.asyncDispose]() {
      worker.shutdown();
      await running;
    },
  };
}
