import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflows } from '../test/support/workflow-bundle.ts';
import type { Environment } from './environment.ts';

/** What a process of a measurement is told. */
export interface ProcessSettings extends Pick<Environment, 'databaseUrl' | 'schema' | 'temporalAddress'> {
  readonly workflowBundlePath?: string;
  readonly maxConcurrentJobs?: number;
  readonly batchId?: string;
  readonly jobs?: number;
  /** How long each job takes; absent: nothing. */
  readonly pauseMs?: number;
}

/** A process of its own, so that its memory is its own too. */
export interface BenchProcess {
  /** Asks it to end. @returns its highest resident set, in MB */
  stop(): Promise<number>;
  /** Its highest resident set, in MB, once it has ended by itself. */
  readonly peakMemoryMb: Promise<number>;
  readonly pid: number;
}

const VARIABLE = 'BENCH_PROCESS';

/** Starts a script of this folder, compiled as this one is, and waits until it is ready. */
export async function startProcess(script: string, settings: ProcessSettings): Promise<BenchProcess> {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), {
    env: { ...process.env, [VARIABLE]: JSON.stringify(settings) },
  });
  let peak: number | undefined;
  child.on('message', (message: { peakMemoryMb?: number }) => (peak = message.peakMemoryMb ?? peak));
  const peakMemoryMb = once(child, 'exit').then(([code]) => {
    if (code !== 0 || peak === undefined) throw new Error(`${script} ended with exit code ${code}.`);
    return peak;
  });
  await Promise.race([once(child, 'message'), peakMemoryMb]);
  return {
    pid: child.pid!,
    peakMemoryMb,
    stop: () => {
      child.kill('SIGTERM');
      return peakMemoryMb;
    },
  };
}

export function processSettings(): ProcessSettings {
  return JSON.parse(process.env[VARIABLE]!) as ProcessSettings;
}

export function sayReady(): void {
  process.send!({ ready: true });
}

/** The last thing that a process says. */
export function sayPeakMemory(): void {
  process.send!({ peakMemoryMb: Math.round(process.resourceUsage().maxRSS / 1024) });
}

export function pickServers({ databaseUrl, schema, temporalAddress }: Environment): ProcessSettings {
  return { databaseUrl, schema, temporalAddress };
}

/** Bundles the workflows once for all workers. */
export async function withWorkflowBundle<T>(run: (file: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-'));
  try {
    return await run(await bundleWorkflows(folder));
  } finally {
    await rm(folder, { recursive: true });
  }
}
