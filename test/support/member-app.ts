import { fileURLToPath } from 'node:url';
import { Client, type ClientOptions } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { BatchPlugin } from '../../src/index.ts';
import { bundleOfApp } from './workflow-bundle.ts';
import type { World } from './world.ts';

/** An app that has workflows of its own, and starts them inside enrolment blocks. */
export interface MemberApp extends AsyncDisposable {
  /** With the plugin. */
  readonly client: Client;
  readonly taskQueue: string;
  readonly workflowBundle: { readonly code: string };
  /** Another client with the plugin. */
  openClient(options?: Partial<ClientOptions>): Client;
  /** An id that no other test has. */
  newId(): string;
}

let named = 0;

/** A plain worker on a task queue of its own, which knows nothing of batches. */
export async function startMemberApp(world: World): Promise<MemberApp> {
  const code = await bundleOfApp(fileURLToPath(new URL('member-workflows.ts', import.meta.url)));
  const taskQueue = `${world.taskQueue}-app`;
  const worker = await Worker.create({
    connection: world.connection,
    taskQueue,
    workflowBundle: { code },
    debugMode: true,
  });
  const running = worker.run();
  const openClient: MemberApp['openClient'] = (options = {}) =>
    new Client({ connection: world.client.connection, plugins: [new BatchPlugin()], ...options });
  return {
    client: openClient(),
    taskQueue,
    workflowBundle: { code },
    openClient,
    newId: () => `${world.schema}-wf-${++named}`,
    async [Symbol.asyncDispose]() {
      worker.shutdown();
      await running;
    },
  };
}
