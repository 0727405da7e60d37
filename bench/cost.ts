import getPort from 'get-port';
import { inEnvironment, type Environment } from './environment.ts';
import { rounded } from './figures.ts';
import { done, noop, pause } from './jobs.ts';
import { report } from './report.ts';

/** What the server counts as billable actions, and how often it changed a workflow's state: its own metrics. */
interface Spent {
  readonly actions: Readonly<Record<string, number>>;
  readonly stateTransitions: number;
}

/** What a job costs the Temporal server: actions (what Temporal Cloud bills) and state transitions. */
export async function runCost(options: { short: number; long: number; json?: boolean }): Promise<void> {
  const metricsPort = await getPort({ host: '127.0.0.1' });
  const definitions = { jobs: [noop, pause], callbacks: [done] };
  await inEnvironment(
    definitions,
    async (environment) => {
      const ways: [string, number, () => Promise<void>][] = [
        ['batch, no-op jobs', options.short, () => runBatch(environment, options.short, 0)],
        ['batch, jobs of 1 s', options.long, () => runBatch(environment, options.long, 1_000)],
      ];
      const rows: (string | number)[][] = [];
      const figures: Record<string, unknown> = {};
      for (const [name, jobs, run] of ways) {
        const before = await read(metricsPort);
        await run();
        const after = await read(metricsPort);
        const byKind = difference(after.actions, before.actions);
        const actions = Object.values(byKind).reduce((sum, count) => sum + count, 0);
        const transitions = after.stateTransitions - before.stateTransitions;
        rows.push([name, jobs, rounded(actions / jobs), rounded(transitions / jobs)]);
        figures[name] = { jobs, actions, byKind, actionsPerJob: actions / jobs, transitions };
      }
      report(options, ['way', 'jobs', 'actions a job', 'state transitions a job'], rows, {
        bench: 'cost',
        ...figures,
        ...environment.machine,
      });
    },
    { metricsPort },
  );
}

async function runBatch({ batches }: Environment, jobs: number, ms: number): Promise<void> {
  const batch = await batches.create({ description: `${jobs} jobs` });
  await batch.on('complete', done);
  await batch.jobs(async () => {
    for (let index = 0; index < jobs; index++) await (ms === 0 ? noop : pause).performAsync(ms);
  });
  await batch.wait();
}

/** Reads the server's metrics in Prometheus' text format. */
async function read(port: number): Promise<Spent> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const actions: Record<string, number> = {};
  let stateTransitions = 0;
  for (const line of text.split('\n')) {
    const [, name, labels, value] = /^(\w+)\{(.*)\} (\S+)$/.exec(line) ?? [];
    if (!labels?.includes('namespace="default"')) continue;
    if (name === 'action') {
      const type = /type="([^"]*)"/.exec(labels)?.[1] ?? 'unknown';
      actions[type] = (actions[type] ?? 0) + Number(value);
    }
    if (name === 'state_transition_count_sum') stateTransitions += Number(value);
  }
  return { actions, stateTransitions };
}

function difference(after: Spent['actions'], before: Spent['actions']): Record<string, number> {
  return Object.fromEntries(
    Object.entries(after)
      .map(([type, count]) => [type, count - (before[type] ?? 0)] as const)
      .filter(([, count]) => count > 0),
  );
}
