// The app's worker. The plugin is what is new.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker, type NativeConnection } from '@temporalio/worker';
import { BatchPlugin } from '../../src/index.ts';
import * as activities from './activities.ts';
import { TASK_QUEUE } from './orders.ts';

export async function createWorker(connection: NativeConnection): Promise<Worker> {
  return Worker.create({
    connection,
    taskQueue: TASK_QUEUE,
    // As this file: TypeScript, or compiled.
    workflowsPath: fileURLToPath(new URL(`workflows${path.extname(import.meta.url)}`, import.meta.url)),
    activities,
    plugins: [new BatchPlugin()],
  });
}
