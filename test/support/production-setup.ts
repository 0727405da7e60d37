import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';
import { startPostgres } from '../../src/dev/index.ts';
import { OWN_SERVERS } from './own-servers.ts';
import { startProductionServer } from './production-server.ts';
import { bundleWorkflows } from './workflow-bundle.ts';

/** As the setup of the other tests, with the server that is run in production, and what it has off by default. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-test-'));
  const postgres = await startPostgres({ env: OWN_SERVERS });
  const stopPostgres = async () => {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const temporal = await startProductionServer(postgres.databaseUrl, {
      dynamicConfig: { 'activity.enableStandalone': true },
    });
    project.provide('databaseUrl', postgres.databaseUrl);
    project.provide('temporalAddress', temporal.address);
    project.provide('temporalNamespace', 'default');
    project.provide('workflowBundlePath', await bundleWorkflows(folder));
    return async () => {
      await temporal.stop();
      await stopPostgres();
    };
  } catch (error) {
    await stopPostgres();
    throw error;
  }
}
