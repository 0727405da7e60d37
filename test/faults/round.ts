import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { BatchClient, migrate } from '../../src/index.ts';
import { check, type Violation } from './checker.ts';
import { enqueue } from './enqueue.ts';
import { collectEvidence, saveHistories, workflowsOf } from './collect.ts';
import { MirrorWatch } from './mirror-watch.ts';
import { createHandlers } from './handlers.ts';
import { Injector, type Casualties } from './injector.ts';
import { Ledger, readLedger } from './ledger.ts';
import { MAXIMUM_ATTEMPTS, type BatchPlan, type RoundPlan } from './plan.ts';
import { spawn, SupervisedWorker, type Child } from './processes.ts';
import type { Arena } from './servers.ts';
import { batchIdOf, hasSecondQueue, ledgerFile, type RoundSettings } from './settings.ts';

export interface RoundResult {
  readonly seed: number;
  readonly batches: number;
  /** Jobs that became members. */
  readonly jobs: number;
  readonly casualties: Casualties;
  readonly violations: readonly Violation[];
  readonly seconds: number;
  /** Ledger, logs and histories; kept when there are violations. */
  readonly folder: string;
}

/** What is not over so long after the last fault was undone is stuck. */
const PATIENCE_MS = 120_000;
/** A fault whose time does not come within so long of the start is left out: the work it waited for is done. */
const TRIGGER_TIMEOUT_MS = 60_000;
const EXIT_TIMEOUT_MS = 30_000;
const POLL_MS = 250;

/** Where a round keeps its ledger, logs and evidence. */
export function roundFolder(seed: number): string {
  return path.join(tmpdir(), 'temporal-batch-jobs-faults', `${seed}`);
}

/** Plays a round on the servers of an arena and checks what is left behind. */
export async function playRound(arena: Arena, plan: RoundPlan): Promise<RoundResult> {
  const startedAt = performance.now();
  const folder = roundFolder(plan.seed);
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const schema = `round_${plan.seed}_${Date.now().toString(36)}`;
  const settings: RoundSettings = {
    folder,
    databaseUrl: arena.proxiedDatabaseUrl,
    temporalAddress: arena.proxies.temporal.address,
    schema,
    taskQueue: schema,
    workflowBundlePath: arena.workflowBundlePath,
  };
  await migrate(arena.knex, { schema });
  await arena.knex.raw('create table ??.effects (batch_id text not null, event text not null)', [schema]);
  const round = new Round(arena, plan, settings);
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
  return {
    seed: plan.seed,
    batches: plan.batches.length,
    jobs: evidence.batches.reduce((sum, { row }) => sum + (row?.total ?? 0), 0),
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
  readonly #enqueuers = new Map<number, Child>();
  readonly #stubborn: string[] = [];

  constructor(arena: Arena, plan: RoundPlan, settings: RoundSettings) {
    this.#arena = arena;
    this.#plan = plan;
    this.#settings = settings;
    this.#workers = plan.workers.map(({ maxConcurrentJobs, restartMs }, index) => {
      const worker = { ...settings, maxConcurrentJobs, hasSecondQueue: hasSecondQueue(plan) };
      return new SupervisedWorker(() => spawn('worker-process.ts', worker, `worker-${index}`), restartMs);
    });
    this.#injector = new Injector({
      arena,
      ledgerFile: ledgerFile(settings.folder),
      batchIds: plan.batches.map((batch) => batchIdOf(settings.schema, batch)),
      workers: this.#workers,
      enqueuers: this.#enqueuers,
    });
  }

  get casualties(): Casualties {
    const workersKilled = this.#workers.reduce((sum, { kills }) => sum + kills, 0);
    return { ...this.#injector.casualties, workersKilled };
  }

  async play() {
    const { folder, schema } = this.#settings;
    const watch = new MirrorWatch(this.#arena.knex, schema);
    try {
      await Promise.all(this.#workers.map(({ child }) => child.ready.catch(() => {})));
      const enqueuing = this.#enqueueAll();
      const injecting = this.#injector.run(this.#plan.faults, TRIGGER_TIMEOUT_MS);
      await this.#waitForEnd(enqueuing, injecting);
      const sessions = await watch.leftSessions();
      await watch.stop();
      const { client, knex } = this.#arena;
      const stopped = await Promise.all(this.#workers.map((worker) => worker.stop(EXIT_TIMEOUT_MS)));
      stopped.forEach((isInTime, index) => {
        if (!isInTime) this.#stubborn.push(`worker ${index}`);
      });
      return await collectEvidence({
        client,
        knex,
        schema,
        plan: this.#plan,
        maximumAttempts: MAXIMUM_ATTEMPTS,
        ledger: await readLedger(ledgerFile(folder)),
        samples: watch.samples,
        stubborn: [...this.#stubborn, ...this.#injector.stubborn],
        cancelled: this.#injector.cancelled,
        sessions,
      });
    } finally {
      await watch.stop();
      await this.#injector.undo();
      await Promise.all(this.#workers.map((worker) => worker.stop(0)));
      for (const child of this.#enqueuers.values()) child.signal('SIGKILL');
    }
  }

  /** Ends what a failed round left running: the next round has the same servers. */
  async terminateLeftovers(): Promise<void> {
    for (const batch of this.#plan.batches) {
      for (const workflowId of await workflowsOf(
        this.#arena.client,
        batchIdOf(this.#settings.schema, batch),
      )) {
        await this.#arena.client.workflow
          .getHandle(workflowId)
          .terminate('The round is over')
          .catch(() => {});
      }
    }
  }

  async #enqueueAll(): Promise<void> {
    const { batches: plans } = this.#plan;
    const { folder, schema, taskQueue, databaseUrl, temporalAddress } = this.#settings;
    const connection = Connection.lazy({ address: temporalAddress });
    const batches = new BatchClient({
      client: new Client({ connection }),
      database: databaseUrl,
      logger: { warn: () => {} },
      schema,
      taskQueue,
    });
    const ledger = new Ledger(ledgerFile(folder));
    const handlers = createHandlers(ledger, schema);
    const run = async (plan: BatchPlan) => {
      await delay(plan.enqueuer.startMs);
      if (plan.enqueuer.isProcess) {
        const child = spawn(
          'enqueuer-process.ts',
          { ...this.#settings, plan } as RoundSettings,
          `enqueuer-${plan.index}`,
        );
        this.#enqueuers.set(plan.index, child);
        await child.exited;
      } else {
        await enqueue({ batches, handlers, ledger, plan, batchId: batchIdOf(schema, plan) });
      }
    };
    try {
      await Promise.all(plans.map(run));
    } finally {
      await batches.close();
      await connection.close();
    }
  }

  /** Resolves once every workflow of the round has ended, or will not. */
  async #waitForEnd(enqueuing: Promise<void>, injecting: Promise<void>): Promise<void> {
    const progress = { isEnqueued: false, isInjected: false };
    void enqueuing.then(() => (progress.isEnqueued = true));
    void injecting.then(() => (progress.isInjected = true));
    for (;;) {
      const isOver = progress.isEnqueued && (await this.#isOver());
      if (isOver) this.#injector.skipTriggers();
      if (isOver && progress.isInjected && (await this.#isOver())) return;
      if (progress.isInjected && performance.now() - this.#injector.calmSince > PATIENCE_MS) return;
      await delay(POLL_MS);
    }
  }

  async #isOver(): Promise<boolean> {
    const { client } = this.#arena;
    try {
      for (const batch of this.#plan.batches) {
        const batchId = batchIdOf(this.#settings.schema, batch);
        if (await isRunning(client, `batch:${batchId}`)) return false;
        for (const workflowId of await workflowsOf(client, batchId)) {
          if (await isRunning(client, workflowId)) return false;
        }
      }
      return true;
    } catch {
      // Temporal is away.
      return false;
    }
  }
}

async function isRunning(client: Client, workflowId: string): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(workflowId).describe();
    return status.name === 'RUNNING';
  } catch (error) {
    // Its enqueuer was killed before it made the batch.
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}
