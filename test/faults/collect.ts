import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Client } from '@temporalio/client';
import type { Knex } from 'knex';
import type {
  BatchEvidence,
  BatchRow,
  Evidence,
  Expectation,
  ExpectedEnd,
  ExpectedJob,
  RoundRow,
  RunEvidence,
  Steering,
} from './evidence.ts';
import type { CallbackEvent } from './ledger.ts';
import { childrenOf, decoded, runOf, type History, type Run } from '../support/histories.ts';
import { limitsOf } from './batch-options.ts';
import { collectWorkflows, runsIfAny } from './collect-workflows.ts';
import {
  blocksOf,
  jobNameOf,
  jobOf,
  MAXIMUM_ATTEMPTS,
  workflowsOf as plannedWorkflowsOf,
  type BatchPlan,
  type JobName,
  type Task,
} from './plan-batch.ts';
import type { FaultKind, RoundPlan } from './plan.ts';
import { endOfWorkflow } from './plan-workflows.ts';
import { batchIdOf } from './settings.ts';

const LIST_TIMEOUT_MS = 15_000;

/** Reads what a round left in Temporal and in the mirror, beside what was gathered while it went on. */
export async function collectEvidence(
  round: Omit<Evidence, 'batches' | 'maximumAttempts' | 'mayExceed' | 'mayLinger' | 'prune' | 'slots'> & {
    readonly client: Client;
    readonly knex: Knex;
    readonly schema: string;
    readonly plan: RoundPlan;
  },
): Promise<Omit<Evidence, 'prune'>> {
  const { client, knex, schema, plan, ...gathered } = round;
  const batches: BatchEvidence[] = [];
  for (const batch of plan.batches) {
    const id = batchIdOf(schema, batch);
    const mirror = await readMirror(knex, schema, id);
    const chains = await allChainsOf(client, id, mirror.rounds.length);
    const expected = expectationOf(batch);
    const workflows = await collectWorkflows(client, id, batch);
    batches.push({ id, expected, ...mirror, workflows, runs: chains.flatMap(toEvidence) });
  }
  const mayExceed = plan.faults.some(({ fault }) => [...LINGERING, 'read-only'].includes(fault.kind));
  const mayLinger = plan.faults.some(({ fault }) => LINGERING.includes(fault.kind));
  const slots = plan.workers.reduce((sum, { maxConcurrentJobs }) => sum + maxConcurrentJobs, 0);
  return { batches, ...gathered, maximumAttempts: MAXIMUM_ATTEMPTS, mayExceed, mayLinger, slots };
}

/** After these a chunk may run in two workers at once: Temporal gave it to another one, or its runner is gone. */
const LINGERING: readonly FaultKind[] = [
  'pause-worker',
  'restart-server',
  'drop-connections',
  'freeze-connections',
  'terminate-runner',
];

function expectationOf(batch: BatchPlan): Expectation {
  const { enqueuer } = batch;
  const jobs: Record<string, ExpectedJob> = {};
  const add = (task: Task, parent: string | null, workerClass: JobName, startDelayMs = 0) => {
    const [first, later] = [endOf(task, false), endOf(task, task.isHealing)];
    jobs[task.name] = { first, later, parent, workerClass, startDelayMs };
    for (const child of task.children) add(child, task.name, workerClass);
  };
  const blocks = blocksOf(batch);
  const enrolled = blocks.flatMap(({ from, to }) =>
    Array.from({ length: to - from }, (_, offset) => jobOf(batch, from + offset)),
  );
  for (const { task, isSide, startDelayMs } of enrolled)
    add(task, null, jobNameOf(batch, isSide), startDelayMs);
  const workflows = blocks.flatMap((block) => plannedWorkflowsOf(batch, block));
  for (const { task } of workflows) {
    // In a later round it is looked at once more, and has ended as it had.
    const end = { ...endOfWorkflow(task), attempts: 1 };
    jobs[task.name] = { first: end, later: end, parent: null, workerClass: 'act', startDelayMs: 0 };
  }
  const { jobLimits = {}, ...limits } = limitsOf(batch);
  return {
    jobs,
    enrolled: [...enrolled, ...workflows].map(({ task }) => task.name),
    isBroken: enqueuer.throwsAt !== null && enqueuer.openEnded === null,
    isOpenEnded: enqueuer.openEnded !== null,
    numberedFrom: enqueuer.openEnded === null ? enqueuer.keyedFrom : 0,
    policy: batch.policy,
    deadlineMs: batch.deadlineMs,
    alertsWhenIdle: batch.alertAfterIdleMs !== null,
    limits,
    jobLimits,
    shared: batch.shared,
    storesResults: batch.storesResults,
    isEnqueuerDoomed: enqueuer.isProcess,
    isTransactional: batch.callbacks.isTransactional,
  };
}

function endOf({ failures, isHopeless }: Task, isWell: boolean): ExpectedEnd {
  if (isWell) return { end: 'complete', attempts: 1, errorClass: null };
  if (isHopeless) return { end: 'failed', attempts: 1, errorClass: 'HopelessError' };
  if (failures >= MAXIMUM_ATTEMPTS)
    return { end: 'failed', attempts: MAXIMUM_ATTEMPTS, errorClass: 'FlakyError' };
  return { end: 'complete', attempts: failures + 1, errorClass: null };
}

async function readMirror(knex: Knex, schema: string, id: string) {
  const from = (table: string) => knex.withSchema(schema).from(table);
  const row = await from('batches').where({ id }).first();
  const past = await from('batch_past_rounds').where('batch_id', id).orderBy('round');
  const jobs = await from('batch_jobs').where('batch_id', id).orderBy('position');
  const pastJobs = await from('batch_job_past_rounds').where('batch_id', id).orderBy(['position', 'round']);
  const callbacks = await from('batch_callbacks').where('batch_id', id).orderBy(['round', 'event']);
  const openStarts = await from('batch_starts').where('batch_id', id).pluck('workflow_id');
  const effects = await from('effects').where('batch_id', id);
  const last = row && { ...row, started_at: row.round_started_at ?? row.created_at };
  return {
    row: row ? toBatchRow(row) : null,
    rounds: row ? [...past, last].map(toRoundRow) : [],
    jobs: jobs.map((job) => ({
      name: job.args[0].name,
      position: job.position,
      workerClass: job.worker_class,
      workflow: job.workflow_id === null ? null : { id: job.workflow_id, runId: job.run_id },
      round: job.round,
      status: job.status,
      attempts: job.attempts,
      errorClass: job.error_class,
      result: job.result,
      createdAt: job.created_at.getTime(),
    })),
    pastJobs: pastJobs.map((job) => ({
      position: job.position,
      round: job.round,
      status: job.status,
      attempts: job.attempts,
      errorClass: job.error_class,
    })),
    openStarts,
    callbacks: callbacks.map(({ round, event, status, attempts }) => ({ round, event, status, attempts })),
    effects: effects.map(({ event, run_id }) => ({ event, runId: run_id })),
  };
}

// oxlint-disable-next-line typescript/no-explicit-any -- rows of tables that the library keeps to itself
function toBatchRow(row: any): BatchRow {
  const { failWhen, failWhenFailed, afterFailure, afterDeadline } = row.settings;
  return {
    enrollmentError: row.enrollment_error,
    isSealed: row.sealed_at !== null,
    alerts: row.alerts,
    policy: { failWhen, failWhenFailed, afterFailure, afterDeadline },
    firstRunId: row.first_execution_run_id,
    createdAt: row.created_at.getTime(),
    deadlineAt: row.deadline_at?.getTime() ?? null,
  };
}

// oxlint-disable-next-line typescript/no-explicit-any -- as above
function toRoundRow(row: any): RoundRow {
  return {
    round: row.round,
    status: row.status,
    total: row.total,
    complete: row.completed_count,
    failed: row.failed_count,
    startedAt: row.started_at.getTime(),
    completedAt: row.completed_at?.getTime() ?? null,
    settledAt: row.settled_at?.getTime() ?? null,
    stopReason: row.stop_reason,
  };
}

/** Ids of the workflows of a batch's last round that exist: its own, and those that it started. */
export async function workflowsOf(client: Client, batchId: string): Promise<string[]> {
  const own = await runsIfAny(client, ownWorkflow(batchId));
  return own.length === 0 ? [] : [ownWorkflow(batchId), ...childrenOf(own)];
}

/** Saves what Temporal knows of the batches, one file a run, for people: payloads are shown as what they hold. */
export async function saveHistories(client: Client, evidence: Evidence, folder: string): Promise<void> {
  const histories = path.join(folder, 'histories');
  await mkdir(histories, { recursive: true });
  for (const { id, rounds, workflows } of evidence.batches) {
    const chains = await allChainsOf(client, id, rounds.length);
    const runs = chains.flatMap((chain) => chain.runs);
    for (const { workflowId } of workflows) runs.push(...(await runsIfAny(client, workflowId)));
    for (const { workflowId, runId, history } of runs) {
      const file = `${workflowId.replaceAll(/[:/ ]/g, '_')}.${runId}.json`;
      await writeFile(path.join(histories, file), JSON.stringify(history, readable, 1));
    }
  }
}

/** Runs of a workflow that continued one another, and the round of the batch that they work for. */
interface Chain {
  readonly round: number;
  readonly runs: readonly Run[];
}

/**
 * Every run of every workflow of a batch. Empty where it has none.
 *
 * @param rounds how many it had: Temporal's list of the runs of a workflow id is behind at times
 */
async function allChainsOf(client: Client, batchId: string, rounds: number): Promise<Chain[]> {
  const deadline = Date.now() + LIST_TIMEOUT_MS;
  let own: Chain[];
  do own = await ownChainsOf(client, batchId);
  while (new Set(own.map(({ round }) => round)).size < rounds && Date.now() < deadline);
  const chains = [...own];
  for (const { round, runs } of own) {
    for (const workflowId of childrenOf(runs)) {
      chains.push({ round, runs: await runsIfAny(client, workflowId) });
    }
  }
  return chains;
}

/** A chain a round, and one for each run that was to open a round and came too late. */
async function ownChainsOf(client: Client, batchId: string): Promise<Chain[]> {
  const workflowId = ownWorkflow(batchId);
  const runs = new Map((await runsIfAny(client, workflowId)).map((run) => [run.runId, run]));
  for await (const { runId } of client.workflow.list({ query: `WorkflowId = "${workflowId}"` })) {
    if (!runs.has(runId)) runs.set(runId, await runOf(client, workflowId, runId));
  }
  const chains = new Map<string, Run[]>();
  for (const run of runs.values()) {
    const { firstExecutionRunId } = startOf(run);
    chains.set(firstExecutionRunId!, [...(chains.get(firstExecutionRunId!) ?? []), run]);
  }
  return [...chains.values()].map((chain) => ({
    round: roundOf(chain[0]!),
    runs: chain.toSorted((a, b) => startedAt(a) - startedAt(b)),
  }));
}

function startOf({ history }: Run) {
  return history.events![0]!.workflowExecutionStartedEventAttributes!;
}

/** The round that the run's input asks for. */
function roundOf(run: Run): number {
  const [input] = decoded(startOf(run).input?.payloads) as [{ round?: { number: number } }];
  return input.round?.number ?? 1;
}

function startedAt({ history }: Run): number {
  const { seconds, nanos } = history.events![0]!.eventTime!;
  return Number(seconds) * 1e9 + (nanos ?? 0);
}

function ownWorkflow(batchId: string): string {
  return `batch:${batchId}`;
}

/** For `JSON.stringify`: bytes as text, and no fields that are not there. */
function readable(this: Record<string, unknown>, key: string, value: unknown): unknown {
  // What a Buffer has become by its own toJSON is of no use.
  const original = this[key];
  if (original instanceof Uint8Array) return Buffer.from(original).toString('utf8');
  return value === null ? undefined : value;
}

function toEvidence({ round, runs }: Chain): RunEvidence[] {
  return runs.map((run) => {
    const { workflowId, runId, status, history } = run;
    const events = history.events!;
    const completed = events.at(-1)?.workflowExecutionCompletedEventAttributes;
    return {
      workflowId,
      runId,
      round,
      firstRunId: startOf(run).firstExecutionRunId!,
      status,
      result: completed ? (decoded(completed.result?.payloads)[0] ?? null) : null,
      scheduled: events.flatMap(({ activityTaskScheduledEventAttributes: activity }) =>
        activity?.activityType?.name === 'runCallback'
          ? [(decoded(activity.input?.payloads)[0] as { event: CallbackEvent }).event]
          : [],
      ),
      steering: events.flatMap(steeringIn),
    };
  });
}

type Changes = Extract<Steering, { verb: 'update' }>['changes'];

/** Only what was accepted is in a history. */
function steeringIn(event: NonNullable<History['events']>[number]): Steering[] {
  if (event.workflowExecutionSignaledEventAttributes?.signalName === 'cancelRequested')
    return [{ verb: 'cancel' }];
  const input = event.workflowExecutionUpdateAcceptedEventAttributes?.acceptedRequest?.input;
  if (input?.name === 'cancel') return [{ verb: 'cancel' }];
  if (input?.name !== 'update') return [];
  return [{ verb: 'update', changes: decoded(input.args?.payloads)[0] as Changes }];
}
