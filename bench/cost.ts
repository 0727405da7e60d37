import { setTimeout as delay } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import getPort from 'get-port';
import { inEnvironment, type Environment } from './environment.ts';
import { rounded } from './figures.ts';
import { done, noop, pause } from './jobs.ts';
import { endedWorkflows } from './histories.ts';
import { report, type BenchOptions } from './report.ts';
import { runBatch, runNoops } from './run-batch.ts';
import type { OpenRival } from './rivals/rival.ts';
import { openActivityPerJob, openChildPerJob } from './rivals/temporal-alone.ts';

const RIVAL_JOBS = 200;
const PUBLISHED_EVERY_MS = 2_000;

/** Billable actions by their kind, as the server's own metrics count them. */
type Actions = Readonly<Record<string, number>>;

/**
 * What a job costs the Temporal server: actions, which Temporal Cloud bills, heartbeats included, and state
 * transitions, which are writes of a self-hosted server.
 */
export async function runCost(options: { short: number; long: number } & BenchOptions): Promise<void> {
  const metricsPort = await getPort({ host: '127.0.0.1' });
  const setup = { jobs: [noop, pause], callbacks: [done], metricsPort, server: options.server };
  await inEnvironment(setup, async (environment) => {
    const ways: [string, number, () => Promise<unknown>][] = [
      ['batch, no-op jobs', options.short, () => runNoops(environment, options.short)],
      [
        'batch, jobs of 1 s',
        options.long,
        () =>
          runBatch(
            environment,
            pause,
            Array.from({ length: options.long }, () => 1_000),
          ),
      ],
      ['an activity a job', RIVAL_JOBS, () => runRival(environment, openActivityPerJob)],
      ['a child workflow a job', RIVAL_JOBS, () => runRival(environment, openChildPerJob)],
    ];
    const rows: (string | number)[][] = [];
    const figures: Record<string, unknown> = {};
    for (const [name, jobs, run] of ways) {
      const startedAt = new Date();
      const before = await countActions(metricsPort);
      await run();
      const byKind = difference(await countActions(metricsPort), before);
      const actions = Object.values(byKind).reduce((sum, count) => sum + count, 0);
      const transitions = await stateTransitionsSince(environment, startedAt);
      rows.push([name, jobs, rounded(actions / jobs), rounded(transitions / jobs)]);
      figures[name] = { jobs, actions, byKind, actionsPerJob: actions / jobs, transitions };
    }
    report(options, ['way', 'jobs', 'actions a job', 'state transitions a job'], rows, {
      bench: 'cost',
      ...figures,
      ...environment.machine,
    });
  });
}

async function runRival(environment: Environment, open: OpenRival): Promise<void> {
  const rival = await open(environment);
  if (typeof rival === 'string') throw new Error(rival);
  await rival.measure(RIVAL_JOBS);
  await rival[Symbol.asyncDispose]();
}

/** Of the workflows that were started since then. */
async function stateTransitionsSince({ client }: Environment, since: Date): Promise<number> {
  const workflows = await endedWorkflows(client, `StartTime >= "${since.toISOString()}"`);
  return workflows.reduce((sum, { raw }) => sum + Number(raw.stateTransitionCount), 0);
}

/** The server publishes its metrics once a second or so: they are read until they stand still. */
async function countActions(port: number): Promise<Actions> {
  let last = await readActions(port);
  for (;;) {
    await delay(PUBLISHED_EVERY_MS);
    const next = await readActions(port);
    if (isDeepStrictEqual(next, last)) return next;
    last = next;
  }
}

/** Reads the server's metrics in Prometheus' text format. */
async function readActions(port: number): Promise<Actions> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const actions: Record<string, number> = {};
  for (const line of text.split('\n')) {
    const [, labels, value] = /^action\{(.*)\} (\S+)$/.exec(line) ?? [];
    if (!labels?.includes('namespace="default"')) continue;
    const type = /type="([^"]*)"/.exec(labels)?.[1] ?? 'unknown';
    actions[type] = (actions[type] ?? 0) + Number(value);
  }
  return actions;
}

function difference(after: Actions, before: Actions): Actions {
  return Object.fromEntries(
    Object.entries(after)
      .map(([type, count]) => [type, count - (before[type] ?? 0)] as const)
      .filter(([, count]) => count > 0),
  );
}
