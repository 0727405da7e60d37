import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import type { Knex } from 'knex';
import { startDevServers, type DevServers } from '../../src/dev/index.ts';
import { BatchClient } from '../../src/index.ts';
import { checksOf } from './checks.ts';
import {
  assertClean,
  CITIES,
  citiesOf,
  CLEAN_COUNTRY,
  countryName,
  lacksAdminCode,
  lacksPopulation,
  sample,
} from './cities.ts';
import type { Cleanup } from './cleanup.ts';
import { readFacts, readFailures, readLeaderboard } from './facts.ts';
import { formatCount, formatSeconds } from './format.ts';
import type { DemoOptions } from './options.ts';
import { printEnd } from './report.ts';
import { runBatch, type BatchPlan } from './run-batch.ts';
import { openDatabase, recreateSchema } from './schema.ts';
import type { BatchResult, Summary } from './summary.ts';
import { printLeaderboard } from './tables.ts';
import type { Terminal } from './terminal.ts';
import { WorkerProcess } from './worker-process.ts';

/** Share of the jobs that are done when `--kill-worker` strikes. */
const KILL_AT = 0.4;

/** Runs the whole demo. What it opens is closed by `cleanup`. */
export async function runDemo(options: DemoOptions, terminal: Terminal, cleanup: Cleanup): Promise<Summary> {
  const { limit = Infinity, schema } = options;
  const world = sample(CITIES, limit);
  const clean = sample(citiesOf(CLEAN_COUNTRY), limit);
  assertClean(clean);
  introduce(terminal, world);

  const setUp = await setUpDemo(options, terminal, cleanup);
  const { knex, runId, servers, worker } = setUp;
  const killer = new WorkerKiller(worker, terminal);

  const results: BatchResult[] = [];
  const run = async (plan: BatchPlan, mayKill: boolean) => {
    terminal.heading(`${plan.description}: ${formatCount(plan.cities.length)} jobs`);
    const view = terminal.startProgress(plan.cities.length);
    const seconds = await runBatch(setUp.batches, plan, (progress) => {
      view.update(progress);
      const done = progress.complete + progress.failed;
      if (mayKill && done >= plan.cities.length * KILL_AT && done < plan.cities.length) killer.strike(done);
    });
    terminal.endProgress();
    const facts = await readFacts(knex, plan.id);
    const [run] = facts.callbackRuns;
    terminal.line(
      `  The batch ended ${terminal.paint('bold', facts.status)} after ${formatSeconds(seconds)}; ` +
        `${run?.callback ?? 'no callback'} rebuilt the leaderboard:`,
    );
    printLeaderboard(terminal, await readLeaderboard(knex, schema, plan.id));
    results.push({
      id: plan.id,
      seconds,
      facts,
      checks: checksOf(plan, facts),
      failures: await readFailures(knex, schema, plan.id),
    });
  };
  await Promise.race([
    worker.crashed,
    (async () => {
      await run(
        {
          id: `world-${runId}`,
          description: 'Score the cities of the world',
          cities: world,
          expectedStatus: 'failed',
        },
        options.killWorker,
      );
      await killer.replaced;
      await run(
        {
          id: `clean-${runId}`,
          description: `Score the cities of ${countryName(CLEAN_COUNTRY)}`,
          cities: clean,
          expectedStatus: 'complete',
        },
        false,
      );
    })(),
  ]);

  const isKillMissing = options.killWorker && killer.count === 0;
  const summary: Summary = {
    ok: results.every(({ checks }) => checks.every(({ ok }) => ok)) && !isKillMissing,
    workersKilled: killer.count,
    batches: results,
    webUiUrl: servers.webUiUrl ?? null,
  };
  printEnd(terminal, { summary, options, servers, isKillMissing });
  return summary;
}

function introduce(terminal: Terminal, cities: BatchPlan['cities']): void {
  const bad = cities.filter(lacksAdminCode).length;
  const unknown = cities.filter((city) => lacksPopulation(city) && !lacksAdminCode(city)).length;
  terminal.line(
    terminal.paint('bold', 'The leaderboard: which cities tower over the others of their country?'),
  );
  terminal.line(
    `  ${formatCount(cities.length)} cities of GeoNames, one job each: it scores the city and stores the score.`,
  );
  terminal.line(`  ${formatCount(bad)} have no admin code: bad records, their jobs fail for good.`);
  terminal.line(
    `  ${formatCount(unknown)} have population 0: their jobs ask for an estimate, fail, and succeed on a retry.`,
  );
}

interface SetUp {
  readonly batches: BatchClient;
  readonly knex: Knex;
  /** Sets this run apart from others on the same servers. */
  readonly runId: string;
  readonly servers: DevServers;
  readonly worker: WorkerProcess;
}

async function setUpDemo({ schema }: DemoOptions, terminal: Terminal, cleanup: Cleanup): Promise<SetUp> {
  terminal.heading('Set-up');
  const startedAt = performance.now();
  const starting = startDevServers({ log: (line) => terminal.line(`  ${line}`) });
  cleanup.add(async () => (await starting).stop());
  const servers = await starting;
  const { databaseUrl, namespace, temporalAddress } = servers;

  const knex = openDatabase(databaseUrl, schema);
  cleanup.add(() => knex.destroy());
  await recreateSchema(knex, schema);

  const runId = randomBytes(3).toString('hex');
  const taskQueue = `leaderboard-${runId}`;
  const worker = new WorkerProcess({ databaseUrl, namespace, schema, taskQueue, temporalAddress }, (line) =>
    terminal.line(terminal.paint('yellow', `  worker: ${line}`)),
  );
  cleanup.add(() => worker.stop());
  await worker.start();

  const connection = await Connection.connect({ address: temporalAddress });
  cleanup.add(() => connection.close());
  const batches = new BatchClient({
    client: new Client({ connection, namespace }),
    database: knex,
    logger: { warn: (message) => terminal.line(terminal.paint('yellow', `  ${message}`)) },
    schema,
    taskQueue,
  });
  cleanup.add(() => batches.close());
  const seconds = (performance.now() - startedAt) / 1_000;
  terminal.line(`  Postgres, Temporal and worker ${worker.pid} are up after ${formatSeconds(seconds)}.`);
  if (servers.webUiUrl)
    terminal.line(`  Watch it in the Web UI: ${terminal.paint('cyan', servers.webUiUrl)}`);
  return { batches, knex, runId, servers, worker };
}

/** Kills the worker once, and starts another. */
class WorkerKiller {
  readonly #worker: WorkerProcess;
  readonly #terminal: Terminal;
  count = 0;
  /** Resolves when the new worker takes work. */
  replaced: Promise<void> = Promise.resolve();

  constructor(worker: WorkerProcess, terminal: Terminal) {
    this.#worker = worker;
    this.#terminal = terminal;
  }

  strike(done: number): void {
    if (this.count > 0) return;
    this.count++;
    this.replaced = this.#replace(done);
    // Whoever awaits it sees the error; so does the worker's own `crashed`.
    this.replaced.catch(() => {});
  }

  async #replace(done: number): Promise<void> {
    const { pid } = this.#worker;
    await this.#worker.kill();
    this.#terminal.line(
      `  ${this.#terminal.paint('red', `SIGKILL to worker ${pid}`)} after ${formatCount(done)} jobs. It said goodbye to nobody.`,
    );
    const startedAt = performance.now();
    await this.#worker.start();
    const seconds = (performance.now() - startedAt) / 1_000;
    this.#terminal.line(
      `  ${this.#terminal.paint('green', `Worker ${this.#worker.pid}`)} took over ${formatSeconds(seconds)} later. ` +
        'What the other had in hand comes back when its heartbeats are missed for 10 s.',
    );
  }
}
