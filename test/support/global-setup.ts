import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ProvidedContext } from 'vitest';
import type { TestProject } from 'vitest/node';
import { startDevServers, type DevServers } from '../../src/dev/index.ts';
import { compileProcesses } from './processes.ts';
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

/** What the projects of a run share. Each of them loads this module anew. */
interface Shared {
  users: number;
  readonly bundles: Map<string, Promise<string>>;
  readonly folder: Promise<string>;
  readonly servers: Promise<DevServers>;
  readonly compiled: Promise<void>;
}

/** A timer fires up to a second late by default, so that most waits of a test would be for that. */
const PRECISE_TIMERS = { 'history.timerProcessorMaxTimeShift': '20ms' };
/** The server has memory to spare, and collects its garbage less often. */
const SERVER_ENV = { ...process.env, GOGC: '400' };

const SHARED = Symbol.for('temporal-batch-jobs.test.shared');
const holder = globalThis as { [SHARED]?: Shared | undefined };

/**
 * Starts the servers, bundles the workflows and compiles the scripts of processes, once per run: all of them take
 * seconds that no test should pay.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const shared = (holder[SHARED] ??= {
    users: 0,
    bundles: new Map(),
    folder: mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-test-')),
    servers: startDevServers({ env: SERVER_ENV, temporal: { dynamicConfig: PRECISE_TIMERS } }),
    compiled: compileProcesses(),
  });
  shared.users++;
  const tearDown = async () => {
    if (--shared.users > 0) return;
    holder[SHARED] = undefined;
    const [servers] = await Promise.allSettled([shared.servers, ...shared.bundles.values(), shared.compiled]);
    if (servers.status === 'fulfilled') await servers.value.stop();
    await rm(await shared.folder, { recursive: true, force: true });
  };
  try {
    await provide(project, shared);
  } catch (error) {
    await tearDown();
    throw error;
  }
  return tearDown;
}

async function provide(project: TestProject, shared: Shared): Promise<void> {
  const folder = await shared.folder;
  const timeoutScale = project.config.env['BATCH_JOBS_TIMEOUT_SCALE'] ?? '';
  const bundle =
    shared.bundles.get(timeoutScale) ??
    mkdtemp(path.join(folder, 'bundle-')).then((own) => bundleWorkflows(own, { timeoutScale }));
  shared.bundles.set(timeoutScale, bundle);
  const [servers, workflowBundlePath] = await Promise.all([shared.servers, bundle, shared.compiled]);

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
}
