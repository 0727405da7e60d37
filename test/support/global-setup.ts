import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ProvidedContext } from 'vitest';
import type { TestProject } from 'vitest/node';
import { startDevServers } from '../../src/dev/index.ts';
import { bundleWorkflows } from './workflow-bundle.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Connection string of the database that all tests share; each works in a schema of its own. */
    readonly databaseUrl: string;
    /** `host:port` of the Temporal server that all tests share. */
    readonly temporalAddress: string;
    /** Temporal namespace of the tests. */
    readonly temporalNamespace: string;
    /** File with the bundled workflows, for the worker option `workflowBundle.codePath`. */
    readonly workflowBundlePath: string;
  }
}

/** Bundles the workflows and starts the servers, once per run: both take seconds that no test should pay. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-test-'));
  const workflowBundlePath = await bundleWorkflows(folder);
  const servers = await startDevServers();

  const context: ProvidedContext = {
    databaseUrl: servers.databaseUrl,
    temporalAddress: servers.temporalAddress,
    temporalNamespace: servers.namespace,
    workflowBundlePath,
  };
  project.provide('databaseUrl', context.databaseUrl);
  project.provide('temporalAddress', context.temporalAddress);
  project.provide('temporalNamespace', context.temporalNamespace);
  project.provide('workflowBundlePath', context.workflowBundlePath);
  return async () => {
    await servers.stop();
    await rm(folder, { recursive: true, force: true });
  };
}
