import { setTimeout as delay } from 'node:timers/promises';
import knexFactory, { type Knex } from 'knex';
import { followBatch } from '../src/cli/follow.ts';
import type { Database } from '../src/database/connect.ts';
import { inEnvironment, type Environment } from './environment.ts';
import { quantile, rounded } from './figures.ts';
import { done } from './jobs.ts';
import { pickServers, startProcess, withWorkflowBundle } from './processes.ts';
import { report, type BenchOptions } from './report.ts';
import { checkCount } from './rivals/rival.ts';

/** Jobs that run at once, and how long all of them should take at least: a small batch would be over too soon. */
const SLOTS = 200;
const SECONDS = 25;
/** Fewer say nothing. */
const MIN_TICKS = 15;

/** What one tick was to the database. */
interface Cost {
  readonly elapsedMs: number;
  readonly cpuMs: number;
}

interface Tick extends Cost {
  /** When the caller had its answer, by this process's clock. */
  readonly at: number;
}

/**
 * Follows a batch that runs by the loop of `batch-jobs status --watch`. Postgres tells of each statement of that
 * connection what it took to parse, plan and execute; its superuser lets it.
 */
export async function runWatch(options: { jobs: number } & BenchOptions): Promise<void> {
  await inEnvironment({ server: options.server }, (environment) =>
    withWorkflowBundle(async (workflowBundlePath) => {
      // Warm: what the first batch alone pays for is in no figure.
      await runBatch(environment, { jobs: 1_000, pauseMs: 0, workflowBundlePath });
      const pauseMs = Math.floor((SECONDS * SLOTS * 1_000) / options.jobs);
      const { seconds, ticks } = await runBatch(environment, {
        jobs: options.jobs,
        pauseMs,
        workflowBundlePath,
      });
      if (ticks.length < MIN_TICKS) throw new Error(`There were ${ticks.length} ticks only: more jobs.`);
      // A new connection reads the catalog once.
      const [first, ...others] = ticks;
      const apart = others.map(({ at }, index) => at - ticks[index]!.at);
      const figures = {
        'in the database, ms': others.map(({ elapsedMs }) => elapsedMs),
        'of it on a processor, ms': others.map(({ cpuMs }) => cpuMs),
        'from update to update, ms': apart,
      };
      const rows = Object.entries(figures).map(([name, values]) => [name, ...spreadOf(values).map(shown)]);
      report(options, ['', 'p50', 'p95', 'max'], rows, {
        bench: 'watch',
        jobs: options.jobs,
        pauseMs,
        seconds,
        ticks: ticks.length,
        firstMs: first!.elapsedMs,
        ...Object.fromEntries(Object.entries(figures).map(([name, values]) => [name, spreadOf(values)])),
        ...environment.machine,
      });
    }),
  );
}

async function runBatch(
  environment: Environment,
  work: { readonly jobs: number; readonly pauseMs: number; readonly workflowBundlePath: string },
): Promise<{ seconds: number; ticks: Tick[] }> {
  const { batches } = environment;
  const { jobs, pauseMs, workflowBundlePath } = work;
  const servers = pickServers(environment);
  const worker = await startProcess('./worker-process.js', {
    ...servers,
    workflowBundlePath,
    maxConcurrentJobs: SLOTS,
  });
  const batch = await batches.create({ description: `Benchmark of ${jobs} jobs` });
  await batch.on('complete', done);
  const enqueuer = await startProcess('./enqueuer-process.js', {
    ...servers,
    batchId: batch.id,
    jobs,
    pauseMs,
  });
  const startedAt = performance.now();
  const ticks = await watch(environment, batch.id);
  const seconds = (performance.now() - startedAt) / 1_000;
  const { complete } = await batch.progress();
  checkCount(complete, jobs);
  await enqueuer.peakMemoryMb;
  await worker.stop();
  return { seconds, ticks };
}

/** Follows the batch to its end. */
async function watch({ databaseUrl, schema }: Environment, batchId: string): Promise<Tick[]> {
  const costs = new CostMeter();
  const knex = knexFactory({
    client: 'pg',
    connection: databaseUrl,
    pool: {
      min: 0,
      max: 1,
      afterCreate: (connection: NoticingConnection, ready: (error?: Error) => void) => {
        connection.on('notice', (notice) => costs.note(notice));
        connection.query('set client_min_messages = log; set log_statement_stats = on', ready);
      },
    },
  });
  const database: Database = { knex, app: knex, schema, close: () => knex.destroy() };
  const ticks: Tick[] = [];
  try {
    await connected(knex);
    for await (const _overview of followBatch(database, batchId)) {
      const at = performance.now();
      // What Postgres says of a statement comes behind its rows.
      await delay(0);
      ticks.push({ at, ...costs.take() });
    }
    return ticks;
  } finally {
    await database.close();
  }
}

/** As the command, which looks for migrations first, has it at its first tick. */
async function connected(knex: Knex): Promise<void> {
  await knex.raw('select 1');
  await delay(0);
}

interface NoticingConnection {
  on(event: 'notice', listener: (notice: Notice) => void): void;
  query(sql: string, done: (error?: Error) => void): void;
}

interface Notice {
  readonly message?: string;
  readonly detail?: string;
}

const USAGE = /(?<user>[\d.]+) s user, (?<system>[\d.]+) s system, (?<elapsed>[\d.]+) s elapsed/;

/** Adds up what Postgres says of the parts of a statement. */
class CostMeter {
  #parts: Cost[] = [];

  note({ message = '', detail = '' }: Notice): void {
    const { user, system, elapsed } = USAGE.exec(detail)?.groups ?? {};
    if (!message.endsWith('STATISTICS') || elapsed === undefined) return;
    this.#parts.push({ elapsedMs: Number(elapsed) * 1_000, cpuMs: (Number(user) + Number(system)) * 1_000 });
  }

  /** What was noted since the last call. */
  take(): Cost {
    const parts = this.#parts;
    this.#parts = [];
    if (parts.length === 0) throw new Error('Postgres says nothing of statements: its superuser is needed.');
    return {
      elapsedMs: parts.reduce((sum, part) => sum + part.elapsedMs, 0),
      cpuMs: parts.reduce((sum, part) => sum + part.cpuMs, 0),
    };
  }
}

function spreadOf(values: readonly number[]): number[] {
  return [0.5, 0.95, 1].map((share) => quantile(values, share));
}

function shown(value: number): number {
  return value === 0 ? 0 : rounded(value);
}
