import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { upsertLimit } from '../../src/database/limits.ts';
import { BatchClient, BatchPlugin, migrate } from '../../src/index.ts';
import { check } from './checker.ts';
import type { Violation } from './findings.ts';
import { createAgain, enqueue } from './enqueue.ts';
import type { Evidence } from './evidence.ts';
import { collectEvidence, saveHistories, workflowsOf } from './collect.ts';
import { MirrorWatch } from './mirror-watch.ts';
import { createHandlers } from './handlers.ts';
import { Injector, type Casualties } from './injector.ts';
import { Ledger, readLedger } from './ledger.ts';
import type { BatchPlan } from './plan-batch.ts';
import type { RoundPlan } from './plan.ts';
import { pruneAll } from './prune.ts';
import { retryAsPlanned } from './retry.ts';
import { spawn, SupervisedWorker, type Child } from './processes.ts';
import type { Arena } from './servers.ts';
import {
  batchIdOf,
  codecOptions,
  hasSecondQueue,
  hasWorkflows,
  ledgerFile,
  SHARED_LIMIT,
  workflowIdOf,
  type EnqueuerSettings,
  type RoundSettings,
} from './settings.ts';

export interface RoundResult {
  readonly seed: number;
  readonly batches: number;
  /** Further rounds of these batches. */
  readonly retries: number;
  /** Jobs that became members. */
  readonly jobs: number;
  /** Those of them that are workflows. */
  readonly workflows: number;
  readonly casualties: Casualties;
  readonly violations: readonly Violation[];
  readonly seconds: number;
  /** Ledger, logs and histories; kept when there are violations. */
  readonly folder: string;
}

/** Where nobody has done anything for so long, and no fault lasts, something is stuck. */
const PATIENCE_MS = 120_000;
/** ... and where it is not over so long after the last fault was undone, or the last round of a batch began. */
const LONGEST_MS = 480_000;
/** A fault whose time does not come within so long of the start is left out: the work it waited for is done. */
const TRIGGER_TIMEOUT_MS = 60_000;
const EXIT_TIMEOUT_MS = 30_000;
const POLL_MS = 250;

/** Where a round keeps its ledger, logs and evidence. */
export function roundFolder(seed: number): string {
  return path.join(tmpdir(), 'temporal-batch-jobs-faults', `${seed}`);
}

/** Plays a round on the servers of an arena and checks what is left behind. */
export async function playRound(shared: Arena, plan: RoundPlan): Promise<RoundResult> {
  const { connection } = shared.client;
  const client = new Client({ connection, ...codecOptions(plan.conditions) });
  const arena: Arena = { ...shared, client };
  const startedAt = performance.now();
  const folder = roundFolder(plan.seed);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const schema = `round_${plan.seed}_${Date.now().toString(36)}`;
  const { timeouts, memory, hasForeignWorker } = plan.conditions;
  const databaseUrl = new URL(arena.proxiedDatabaseUrl);
  if (timeouts) {
    const { statementMs, lockMs } = timeouts;
    databaseUrl.searchParams.set('options', `-c statement_timeout=${statementMs} -c lock_timeout=${lockMs}`);
  }
  const settings: RoundSettings = {
    folder,
    databaseUrl: databaseUrl.href,
    argsBytes: memory?.argsBytes ?? 0,
    hasCodec: plan.conditions.hasCodec,
    temporalAddress: arena.proxies.temporal.address,
    schema,
    taskQueue: schema,
    workflowBundlePath: arena.workflowBundlePath,
  };
  const foreignSchema = `${schema}_other`;
  await migrate(arena.knex, { schema });
  if (hasForeignWorker) await migrate(arena.knex, { schema: foreignSchema });
  const limit = plan.batches.find((batch) => batch.shared !== null)?.shared;
  if (limit) {
    await upsertLimit(
      { ...arena, schema },
      {
        name: SHARED_LIMIT,
        max_concurrent: limit.maxConcurrent,
        per_second: limit.perSecond,
        key_max_concurrent: limit.keyMaxConcurrent,
      },
    );
  }
  await arena.knex.raw(
    'create table ??.effects (batch_id text not null, run_id text not null, event text not null)',
    [schema],
  );
  const foreign = hasForeignWorker ? { ...settings, schema: foreignSchema } : undefined;
  const round = new Round(arena, plan, settings, foreign);
  const evidence = await round.play();
  const violations = check(evidence);
  if (violations.length === 0) await rm(folder, { recursive: true, force: true });
  else {
    await writeFile(
      path.join(folder, 'evidence.json'),
      JSON.stringify({ plan, violations, evidence }, null, 1),
    );
    await saveHistories(arena.client, evidence, folder);
    await round.terminateLeftovers();
  }
  await arena.knex.raw('drop schema ?? cascade', [schema]);
  if (hasForeignWorker) await arena.knex.raw('drop schema ?? cascade', [foreignSchema]);
  return {
    seed: plan.seed,
    batches: plan.batches.length,
    retries: evidence.batches.reduce((sum, { rounds }) => sum + Math.max(0, rounds.length - 1), 0),
    jobs: evidence.batches.reduce((sum, { rounds }) => sum + (rounds.at(-1)?.total ?? 0), 0),
    workflows: evidence.batches.flatMap(({ jobs }) => jobs.filter(({ workflow }) => workflow)).length,
    casualties: round.casualties,
    violations,
    seconds: (performance.now() - startedAt) / 1000,
    folder,
  };
}

class Round {
  readonly #arena: Arena;
  readonly #plan: RoundPlan;
  readonly #settings: RoundSettings;
  readonly #injector: Injector;
  readonly #workers: SupervisedWorker[];
  /** Has another schema, and the same task queues. */
  readonly #foreign: Child | undefined;
  readonly #enqueuers = new Map<number, Child>();
  readonly #stubborn: string[] = [];
  readonly #retrying = new AbortController();
  /** Batches that their enqueuers have made by now, or never will. */
  readonly #made = new Set<number>();
  /** By a fault, or as they started a workflow. */
  #enqueuersKilled = 0;
  /** When a further round of a batch was asked for last, by `performance.now()`. */
  #movedAt = 0;

  constructor(arena: Arena, plan: RoundPlan, settings: RoundSettings, foreign: RoundSettings | undefined) {
    this.#arena = arena;
    this.#plan = plan;
    this.#settings = settings;
    const { reporting, silent } = arena.appBundles;
    this.#workers = plan.workers.map(({ maxConcurrentJobs, restartMs, reports }, index) => {
      const app = hasWorkflows(plan) ? { bundlePath: reports ? reporting : silent, reports } : null;
      const worker = { ...settings, maxConcurrentJobs, hasSecondQueue: hasSecondQueue(plan), app };
      const { memory } = plan.conditions;
      const flags = memory ? [`--max-old-space-size=${memory.heapMiB}`] : [];
      const start = () => spawn('worker-process.ts', worker, `worker-${index}`, flags);
      return new SupervisedWorker(start, restartMs);
    });
    if (foreign) {
      const worker = { ...foreign, maxConcurrentJobs: 10, hasSecondQueue: hasSecondQueue(plan), app: null };
      this.#foreign = spawn('worker-process.ts', worker, 'foreign-worker');
    }
    this.#injector = new Injector({
      arena,
      ledgerFile: ledgerFile(settings.folder),
      batchIds: plan.batches.map((batch) => batchIdOf(settings.schema, batch)),
      workflowIds: plan.batches.map((batch) => appWorkflowsOf(settings, batch)),
      workers: this.#workers,
      enqueuers: this.#enqueuers,
    });
  }

  get casualties(): Casualties {
    const workersKilled = this.#workers.reduce((sum, { kills }) => sum + kills, 0);
    return { ...this.#injector.casualties, workersKilled, enqueuersKilled: this.#enqueuersKilled };
  }

  async play(): Promise<Evidence> {
    const { folder, schema } = this.#settings;
    const watch = new MirrorWatch(this.#arena.knex, schema);
    const apps = [this.#openApp(), this.#openApp()];
    try {
      await Promise.all(this.#workers.map(({ child }) => child.ready.catch(() => {})));
      const enqueuing = this.#enqueueAll(apps[0]!);
      const retrying = this.#retryAll(apps.map(({ batches }) => batches));
      const injecting = this.#injector.run(this.#plan.faults, TRIGGER_TIMEOUT_MS);
      await this.#waitForEnd({ enqueuing, retrying, injecting });
      const sessions = await watch.leftSessions();
      await watch.stop();
      const { client, knex } = this.#arena;
      const stopped = await Promise.all(this.#workers.map((worker) => worker.stop(EXIT_TIMEOUT_MS)));
      stopped.forEach((isInTime, index) => {
        if (!isInTime) this.#stubborn.push(`worker ${index}`);
      });
      const evidence = await collectEvidence({
        client,
        knex,
        schema,
        plan: this.#plan,
        ledger: await readLedger(ledgerFile(folder)),
        samples: watch.samples,
        stubborn: [...this.#stubborn, ...this.#injector.stubborn],
        cancelled: this.#injector.cancelled,
        endedWorkflows: this.#injector.endedWorkflows,
        disturbances: isUnsteady(this.#plan) ? null : this.#injector.disturbances,
        sessions,
      });
      const { databaseUrl } = this.#arena.servers;
      return { ...evidence, prune: await pruneAll({ knex, schema, client, databaseUrl }) };
    } finally {
      this.#retrying.abort();
      await Promise.all(apps.map(({ close }) => close()));
      await watch.stop();
      await this.#injector.undo();
      await Promise.all(this.#workers.map((worker) => worker.stop(0)));
      this.#foreign?.signal('SIGKILL');
      await this.#foreign?.exited;
      for (const child of this.#enqueuers.values()) child.signal('SIGKILL');
    }
  }

  /** Ends what a failed round left running: the next round has the same servers. */
  async terminateLeftovers(): Promise<void> {
    for (const batch of this.#plan.batches) {
      const own = await workflowsOf(this.#arena.client, batchIdOf(this.#settings.schema, batch));
      for (const workflowId of [...own, ...appWorkflowsOf(this.#settings, batch)]) {
        await this.#arena.client.workflow
          .getHandle(workflowId)
          .terminate('The round is over')
          .catch(() => {});
      }
    }
  }

  /** A process of the app that does not die, in this one. */
  #openApp() {
    const { schema, taskQueue, databaseUrl, temporalAddress } = this.#settings;
    const connection = Connection.lazy({ address: temporalAddress });
    const client = new Client({ connection, plugins: [new BatchPlugin()], ...codecOptions(this.#settings) });
    const batches = new BatchClient({
      client,
      database: databaseUrl,
      logger: { warn: () => {} },
      schema,
      taskQueue,
    });
    const close = async () => {
      await batches.close();
      await connection.close();
    };
    return { batches, client, close };
  }

  async #enqueueAll({ batches, client }: { batches: BatchClient; client: Client }): Promise<void> {
    const { folder, schema } = this.#settings;
    const ledger = new Ledger(ledgerFile(folder));
    const handlers = createHandlers(ledger, schema);
    const run = async (plan: BatchPlan) => {
      const { startMs, createdAgainMs, isProcess } = plan.enqueuer;
      const options = {
        batches,
        client,
        handlers,
        ledger,
        plan,
        batchId: batchIdOf(schema, plan),
        argsBytes: this.#settings.argsBytes,
        isResuming: false,
      };
      await delay(startMs);
      const enqueued = isProcess ? this.#enqueueInProcess(plan) : enqueue(options);
      if (createdAgainMs !== null) {
        await delay(createdAgainMs);
        await createAgain(options);
      }
      await enqueued;
      this.#made.add(plan.index);
    };
    await Promise.all(this.#plan.batches.map(run));
  }

  /** In processes of their own: one, and another one that goes on where it was killed. */
  async #enqueueInProcess(plan: BatchPlan, isResuming = false): Promise<void> {
    const settings: EnqueuerSettings = { ...this.#settings, plan, isResuming };
    const child = spawn('enqueuer-process.ts', settings, `enqueuer-${plan.index}`);
    this.#enqueuers.set(plan.index, child);
    await child.exited;
    if (child.wasKilled()) this.#enqueuersKilled++;
    if (plan.enqueuer.isResumed && child.wasKilled() && !isResuming) await this.#enqueueInProcess(plan, true);
  }

  async #retryAll(apps: readonly BatchClient[]): Promise<void> {
    const { folder, schema } = this.#settings;
    const { client, knex } = this.#arena;
    const ledger = new Ledger(ledgerFile(folder));
    await Promise.all(
      this.#plan.batches.map((plan) =>
        retryAsPlanned({
          apps,
          ledger,
          batchId: batchIdOf(schema, plan),
          retries: plan.retries,
          workflows: plan.workflows,
          client,
          knex,
          schema,
          isMade: () => this.#made.has(plan.index),
          onAnswer: () => (this.#movedAt = performance.now()),
          signal: this.#retrying.signal,
        }),
      ),
    );
  }

  /** Resolves once every workflow of the round has ended, or will not. */
  async #waitForEnd(
    doing: Readonly<Record<'enqueuing' | 'retrying' | 'injecting', Promise<void>>>,
  ): Promise<void> {
    const done = new Set<string>();
    for (const [what, promise] of Object.entries(doing)) void promise.then(() => done.add(what));
    let written = 0;
    let writtenAt = performance.now();
    for (;;) {
      const { size } = await stat(ledgerFile(this.#settings.folder)).catch(() => ({ size: 0 }));
      if (size > written) writtenAt = performance.now();
      written = size;
      const isOver = done.has('enqueuing') && done.has('retrying') && (await this.#isOver());
      if (isOver) this.#injector.skipTriggers();
      if (isOver && done.has('injecting') && (await this.#isOver())) return;
      const calmSince = Math.max(this.#movedAt, this.#injector.calmSince);
      const now = performance.now();
      const isStuck = now - Math.max(calmSince, writtenAt) > PATIENCE_MS || now - calmSince > LONGEST_MS;
      if (done.has('injecting') && isStuck) return;
      await delay(POLL_MS);
    }
  }

  async #isOver(): Promise<boolean> {
    const { client, knex } = this.#arena;
    try {
      for (const batch of this.#plan.batches) {
        const batchId = batchIdOf(this.#settings.schema, batch);
        if (await isRunning(client, `batch:${batchId}`)) return false;
        const own = await workflowsOf(client, batchId);
        for (const workflowId of [...own, ...appWorkflowsOf(this.#settings, batch)]) {
          if (await isRunning(client, workflowId)) return false;
        }
      }
      // Those of earlier rounds may run beside a later one.
      const { rows } = await knex.raw(
        "select 1 from ??.batch_callbacks where status in ('scheduled', 'running') limit 1",
        [this.#settings.schema],
      );
      return rows.length === 0;
    } catch {
      // A server is away.
      return false;
    }
  }
}

/** Whether things may wait all through the round: processes end by themselves, or the environment is in the way. */
function isUnsteady({ batches, conditions }: RoundPlan): boolean {
  const isDeadly = ({ callbacks, enqueuer, workflows }: BatchPlan) => {
    const isKilling = workflows.some(({ killsEnqueuer }) => killsEnqueuer !== null);
    return callbacks.killed !== null || enqueuer.isProcess || isKilling;
  };
  const { hasForeignWorker, memory, timeouts } = conditions;
  return batches.some(isDeadly) || hasForeignWorker || memory !== null || timeouts !== null;
}

/** Ids of the workflows of the app that are, or may be, jobs of a batch. */
function appWorkflowsOf({ schema }: RoundSettings, batch: BatchPlan): string[] {
  return batch.workflows.map(({ task: { name } }) => workflowIdOf(batchIdOf(schema, batch), name));
}

async function isRunning(client: Client, workflowId: string): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(workflowId).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    // Its enqueuer was killed before it made the batch, or started the workflow.
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
