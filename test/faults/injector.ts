import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { WorkflowUpdateFailedError, type WorkflowHandle } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/common';
import { signalsOf, type SentSignal } from '../support/messages.ts';
import { workflowsOf } from './collect.ts';
import type { Disturbance, EndedWorkflow } from './evidence.ts';
import { LedgerReader } from './ledger.ts';
import type { Fault, PlannedFault, ServerName, Trigger, Victim } from './plan.ts';
import type { Child, SupervisedWorker } from './processes.ts';
import type { Arena } from './servers.ts';

/** What was done to a round. */
export interface Casualties {
  workersKilled: number;
  workersStopped: number;
  enqueuersKilled: number;
  pauses: number;
  temporalRestarts: number;
  postgresRestarts: number;
  connectionsDropped: number;
  freezes: number;
  readOnlyTimes: number;
  signalsRepeated: number;
  runnersTerminated: number;
  batchesPaused: number;
  batchesCancelled: number;
  batchesChanged: number;
  workflowsEnded: number;
}

export function noCasualties(): Casualties {
  return {
    workersKilled: 0,
    workersStopped: 0,
    enqueuersKilled: 0,
    pauses: 0,
    temporalRestarts: 0,
    postgresRestarts: 0,
    connectionsDropped: 0,
    freezes: 0,
    readOnlyTimes: 0,
    signalsRepeated: 0,
    runnersTerminated: 0,
    batchesPaused: 0,
    batchesCancelled: 0,
    batchesChanged: 0,
    workflowsEnded: 0,
  };
}

export interface InjectorOptions {
  readonly arena: Arena;
  readonly ledgerFile: string;
  readonly batchIds: readonly string[];
  /** By batch: those of the app that are, or are to be, jobs of it. */
  readonly workflowIds: readonly (readonly string[])[];
  readonly workers: readonly SupervisedWorker[];
  /** By index of their batch; filled in as they start. */
  readonly enqueuers: ReadonlyMap<number, Child>;
}

const POLL_MS = 20;
/** An update whose worker or server has gone is asked for again. */
const STEER_TIMEOUT_MS = 5_000;
const REPEAT_INTERVAL_MS = 700;
/** How long a workflow to end is waited for: a batch may have none yet, or none at all. */
const VICTIM_TIMEOUT_MS = 10_000;
/** A worker that is asked to end has 5 s for its jobs; outages that happen meanwhile take longer. */
const STOP_TIMEOUT_MS = 60_000;

/** Does to a round what its plan says, and undoes it. */
export class Injector {
  readonly casualties: Casualties = noCasualties();
  /** Workers that did not end when they were asked to. */
  readonly stubborn: string[] = [];
  /** Batches that took a cancellation. */
  readonly cancelled: string[] = [];
  /** Workflows of the app that were ended, or may have been: the answer was lost. */
  readonly endedWorkflows: EndedWorkflow[] = [];
  readonly disturbances: Disturbance[] = [];
  /** When the last fault was undone, by `performance.now()`. */
  calmSince = performance.now();
  readonly #options: InjectorOptions;
  readonly #down = new Set<ServerName>();
  #isSkipping = false;
  readonly #ledger: LedgerReader;
  readonly #counts = {
    jobsStarted: 0,
    enrolled: new Map<string, number>(),
    starting: new Map<string, number>(),
    acted: new Map<string, number>(),
    retries: new Map<string, number>(),
  };
  /** Process that started a job last. */
  #busyPid: number | undefined;

  constructor(options: InjectorOptions) {
    this.#options = options;
    this.#ledger = new LedgerReader(options.ledgerFile);
  }

  /** Injects all faults, each at its time. A fault whose time does not come is left out. */
  async run(faults: readonly PlannedFault[], timeoutMs: number): Promise<void> {
    const startedAt = performance.now();
    const counting = new AbortController();
    const counted = this.#countUntil(counting.signal);
    await Promise.all(
      faults.map(async ({ when, fault }) => {
        while (!this.#isDue(when, performance.now() - startedAt)) {
          if (this.#isSkipping || performance.now() - startedAt > timeoutMs) {
            // Only a repeated signal means something to a batch that is over.
            if (fault.kind !== 'repeat-signals') return;
            break;
          }
          await delay(POLL_MS);
        }
        const from = Date.now();
        await this.#inject(fault);
        this.disturbances.push({ from, to: Date.now() });
        this.calmSince = performance.now();
      }),
    );
    counting.abort();
    await counted;
    this.calmSince = performance.now();
  }

  /** The work is done: what waits for more of it waits in vain. */
  skipTriggers(): void {
    this.#isSkipping = true;
  }

  /** Lets everything go on, after a round that was broken off. */
  async undo(): Promise<void> {
    this.#isSkipping = true;
    for (const proxy of Object.values(this.#options.arena.proxies)) proxy.thaw();
    for (const name of this.#down) await this.#start(name);
  }

  #isDue(when: Trigger, elapsedMs: number): boolean {
    if ('afterMs' in when) return elapsedMs >= when.afterMs;
    if ('jobsStarted' in when) return this.#counts.jobsStarted >= when.jobsStarted;
    const batchId = this.#options.batchIds[when.batch]!;
    if ('retries' in when) return (this.#counts.retries.get(batchId) ?? 0) >= when.retries;
    if ('starting' in when) return (this.#counts.starting.get(batchId) ?? 0) >= when.starting;
    if ('acted' in when) return (this.#counts.acted.get(batchId) ?? 0) >= when.acted;
    const enrolled = this.#counts.enrolled.get(batchId);
    return enrolled !== undefined && enrolled >= when.enrolled;
  }

  async #countUntil(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#count();
      await delay(POLL_MS);
    }
  }

  async #count(): Promise<void> {
    const { enrolled, retries, starting, acted } = this.#counts;
    const add = (counts: Map<string, number>, batch: string) =>
      counts.set(batch, (counts.get(batch) ?? 0) + 1);
    for (const { what, batch, pid } of await this.#ledger.next()) {
      if (what === 'job-start') {
        this.#counts.jobsStarted++;
        this.#busyPid = pid;
      }
      // The batch is known from here on, with no job yet.
      if (what === 'created') enrolled.set(batch, 0);
      else if (what === 'enrolled') add(enrolled, batch);
      else if (what === 'retried') add(retries, batch);
      else if (what === 'workflow-starting') add(starting, batch);
      else if (what === 'workflow-acted') add(acted, batch);
    }
  }

  async #inject(fault: Fault): Promise<void> {
    const { enqueuers } = this.#options;
    const { casualties } = this;
    switch (fault.kind) {
      case 'kill-worker':
        this.#childOf(fault.worker).signal('SIGKILL');
        return;
      case 'stop-worker':
        casualties.workersStopped++;
        return this.#stopWorker(this.#childOf(fault.worker));
      case 'pause-worker':
        return this.#pause(this.#childOf(fault.worker), fault.ms);
      case 'kill-enqueuer':
        return this.#killEnqueuer(enqueuers.get(fault.batch));
      case 'pause-enqueuer':
        return this.#pause(enqueuers.get(fault.batch), fault.ms);
      case 'restart-server':
        return this.#restartServer(fault.server, fault.downMs);
      case 'drop-connections':
        for (const name of fault.servers)
          casualties.connectionsDropped += this.#options.arena.proxies[name].dropAll();
        return;
      case 'freeze-connections':
        return this.#freeze(fault.servers, fault.ms);
      case 'read-only':
        return this.#readOnly(fault.ms);
      case 'repeat-signals':
        return this.#repeatSignals(this.#options.batchIds[fault.batch]!, fault.ms);
      case 'terminate-runner':
        return this.#terminateRunner(this.#options.batchIds[fault.batch]!);
      case 'pause-batch':
        return this.#pauseBatch(this.#options.batchIds[fault.batch]!, fault.ms);
      case 'cancel-batch':
        return this.#cancelBatch(this.#options.batchIds[fault.batch]!);
      case 'update-batch':
        return this.#updateBatch(this.#options.batchIds[fault.batch]!, fault);
      case 'end-workflow':
        return this.#endWorkflow(this.#options.workflowIds[fault.batch]!, fault.how);
    }
  }

  async #updateBatch(
    batchId: string,
    { changes, limits, deadlineMs }: Extract<Fault, { kind: 'update-batch' }>,
  ): Promise<void> {
    const deadlineAt = deadlineMs && Date.now() + deadlineMs;
    const update = { ...changes, ...limits, ...(deadlineAt === undefined ? {} : { deadlineAt }) };
    if (await this.#steer(batchId, 'update', update)) this.casualties.batchesChanged++;
  }

  async #pauseBatch(batchId: string, ms: number): Promise<void> {
    if (!(await this.#steer(batchId, 'pause'))) return;
    this.casualties.batchesPaused++;
    await delay(ms);
    // Whatever else breaks, somebody goes on until the batch does.
    await this.#steer(batchId, 'resume');
  }

  async #cancelBatch(batchId: string): Promise<void> {
    if (!(await this.#steer(batchId, 'cancel', { reason: 'a fault', graceMs: 2_000 }))) return;
    this.casualties.batchesCancelled++;
    this.cancelled.push(batchId);
  }

  /** Asks until there is an answer. @returns whether the batch took it: one that is over, or was not made, does not */
  async #steer(batchId: string, update: string, ...args: unknown[]): Promise<boolean> {
    const { client } = this.#options.arena;
    const handle = client.workflow.getHandle(`batch:${batchId}`);
    // The same id: an answer that was lost is asked for again, and nothing is done twice.
    const updateId = randomUUID();
    for (;;) {
      try {
        await client.withDeadline(Date.now() + STEER_TIMEOUT_MS, () =>
          handle.executeUpdate(update, { args: args as never, updateId }),
        );
        return true;
      } catch (error) {
        if (error instanceof WorkflowUpdateFailedError || error instanceof WorkflowNotFoundError)
          return false;
        await delay(POLL_MS);
      }
    }
  }

  #childOf(victim: Victim): Child {
    const { workers } = this.#options;
    if (victim !== 'busy') return workers[victim]!.child;
    return (workers.find(({ child }) => child.pid === this.#busyPid) ?? workers[0]!).child;
  }

  async #killEnqueuer(child: Child | undefined): Promise<void> {
    if (!child || child.hasExited()) return;
    child.signal('SIGKILL');
    await child.exited;
  }

  async #pause(child: Child | undefined, ms: number): Promise<void> {
    if (!child || child.hasExited()) return;
    this.casualties.pauses++;
    child.signal('SIGSTOP');
    await delay(ms);
    child.signal('SIGCONT');
  }

  async #stopWorker(child: Child): Promise<void> {
    child.signal('SIGTERM');
    const isInTime = await Promise.race([
      child.exited.then(() => true),
      delay(STOP_TIMEOUT_MS, false, { ref: false }),
    ]);
    if (isInTime) return;
    this.stubborn.push(`process ${child.pid} in the round`);
    child.signal('SIGKILL');
  }

  async #restartServer(name: ServerName, downMs: number): Promise<void> {
    // Down already, by another fault.
    if (this.#down.has(name)) return;
    this.#down.add(name);
    this.casualties[name === 'temporal' ? 'temporalRestarts' : 'postgresRestarts']++;
    await this.#options.arena.servers[name].kill('SIGKILL');
    await delay(downMs);
    await this.#start(name);
  }

  async #start(name: ServerName): Promise<void> {
    await this.#options.arena.servers[name].restart();
    this.#down.delete(name);
  }

  async #freeze(servers: readonly ServerName[], ms: number): Promise<void> {
    this.casualties.freezes++;
    const proxies = servers.map((name) => this.#options.arena.proxies[name]);
    for (const proxy of proxies) proxy.freeze();
    await delay(ms);
    for (const proxy of proxies) proxy.thaw();
  }

  /** As in a failover, or by an operator: sessions end, and new ones cannot write for a while. */
  async #readOnly(ms: number): Promise<void> {
    this.casualties.readOnlyTimes++;
    await this.#setReadOnly(true);
    await delay(ms);
    await this.#setReadOnly(false);
  }

  async #setReadOnly(isReadOnly: boolean): Promise<void> {
    const { knex, servers } = this.#options.arena;
    const name = new URL(servers.databaseUrl).pathname.slice(1);
    const value = isReadOnly ? '= on' : '= default';
    for (;;) {
      try {
        await knex.raw(`alter database ?? set default_transaction_read_only ${value}`, [name]);
        await knex.raw(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = ? and application_name = 'temporal-batch-jobs'`,
          [name],
        );
        return;
      } catch {
        // Postgres is away, by another fault.
        await delay(POLL_MS);
      }
    }
  }

  /** What was delivered once is delivered again and again for a while: also to a batch that is over. */
  async #repeatSignals(batchId: string, ms: number): Promise<void> {
    const { client } = this.#options.arena;
    const handle = client.workflow.getHandle(`batch:${batchId}`);
    const deadline = performance.now() + ms;
    do {
      // Repetitions are in the history too: of equal ones one is enough.
      const signals = new Map<string, SentSignal>();
      for (const signal of await signalsOf(client, batchId).catch(() => [])) {
        signals.set(JSON.stringify(signal), signal);
      }
      for (const { name, args } of signals.values()) {
        this.casualties.signalsRepeated++;
        // The batch is over and takes no signal, or Temporal is away.
        await handle.signal(name, ...args).catch(() => {});
      }
      await delay(REPEAT_INTERVAL_MS);
    } while (performance.now() < deadline);
  }

  async #terminateRunner(batchId: string): Promise<void> {
    const { client } = this.#options.arena;
    await this.#withOneThatRuns(
      async () => (await workflowsOf(client, batchId)).filter((id) => id.includes('/runner/')),
      async (handle) => {
        await handle.terminate('A fault');
        this.casualties.runnersTerminated++;
      },
    );
  }

  /** As an operator would, by the Web UI. */
  async #endWorkflow(workflowIds: readonly string[], how: 'cancel' | 'terminate'): Promise<void> {
    await this.#withOneThatRuns(
      async () => workflowIds,
      async (handle) => {
        this.endedWorkflows.push({ workflowId: handle.workflowId, how });
        await handle[how]();
        this.casualties.workflowsEnded++;
      },
    );
  }

  /** Does something to the first of these workflows that runs. Waits for one, for a while. */
  async #withOneThatRuns(
    candidates: () => Promise<readonly string[]>,
    act: (handle: WorkflowHandle) => Promise<void>,
  ): Promise<void> {
    const { client } = this.#options.arena;
    const deadline = performance.now() + VICTIM_TIMEOUT_MS;
    do {
      for (const workflowId of await candidates().catch(() => [])) {
        try {
          const handle = client.workflow.getHandle(workflowId);
          if ((await handle.describe()).status.name !== 'RUNNING') continue;
          await act(handle);
          return;
        } catch {
          // It has just ended, or was not started, or Temporal is away.
        }
      }
      await delay(POLL_MS);
    } while (!this.#isSkipping && performance.now() < deadline);
  }
}
