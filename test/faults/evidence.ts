import type { CallbackEvent, JobResult, LedgerEntry } from './ledger.ts';
import type { JobLimitPlan, SharedLimitPlan } from './plan-batch.ts';
import type { PolicyPlan } from './plan-policy.ts';

/** All that a round leaves behind: what the checker judges. Plain JSON. */
export interface Evidence {
  readonly batches: readonly BatchEvidence[];
  readonly ledger: readonly LedgerEntry[];
  /** What the mirror said while the round went on. */
  readonly samples: readonly MirrorSample[];
  /** Attempts of a job in a round of its batch, at most. */
  readonly maximumAttempts: number;
  /** Whether a worker may have gone on with jobs that were given to another one. */
  readonly mayLinger: boolean;
  /** Workers could not ask for permits for a while, and others may have got them. */
  readonly mayExceed: boolean;
  /** Jobs that all workers together run at once. */
  readonly slots: number;
  /** When something was done to the round, or a process of it was to die by itself; null: it is not known when. */
  readonly disturbances: readonly Disturbance[] | null;
  /** Processes that did not end when they were asked to. */
  readonly stubborn: readonly string[];
  /** Batches that took a cancellation. */
  readonly cancelled: readonly string[];
  /** Workflows of the app that somebody was about to end. */
  readonly endedWorkflows: readonly EndedWorkflow[];
  /** Sessions of Postgres that hold a transaction, or wait for a lock, with nothing left to do. */
  readonly sessions: readonly string[];
  readonly prune: PruneEvidence;
}

/** Epoch milliseconds. */
export interface Disturbance {
  readonly from: number;
  readonly to: number;
}

export interface BatchEvidence {
  readonly id: string;
  readonly expected: Expectation;
  readonly row: BatchRow | null;
  /** Its rounds in order, the last one included. */
  readonly rounds: readonly RoundRow[];
  readonly jobs: readonly JobRow[];
  /** Workflows of the app that are jobs of it, or were to be. */
  readonly workflows: readonly WorkflowEvidence[];
  /** Workflows that its rows have as about to be started. */
  readonly openStarts: readonly string[];
  /** What was kept of jobs when they were to run again. */
  readonly pastJobs: readonly PastJobRow[];
  readonly callbacks: readonly CallbackRow[];
  /** Transactional callbacks that committed their effect, once a commit. */
  readonly effects: readonly EffectRow[];
  /** Every run of every workflow of the batch. */
  readonly runs: readonly RunEvidence[];
}

/** What the plan says of a batch. */
export interface Expectation {
  /** By name: those that its blocks start, and those that its handlers add. */
  readonly jobs: Readonly<Record<string, ExpectedJob>>;
  /** Names of the jobs that its blocks enrol, in order. */
  readonly enrolled: readonly string[];
  /** Its block was to break. */
  readonly isBroken: boolean;
  readonly isOpenEnded: boolean;
  /** The database numbers the jobs from this index on, and then whoever knows a jid has a row; null: none. */
  readonly numberedFrom: number | null;
  readonly policy: PolicyPlan;
  readonly deadlineMs: number | null;
  readonly alertsWhenIdle: boolean;
  /** Of its jobs that have handlers. */
  readonly limits: JobLimitPlan;
  /** By name of such jobs, beside those. */
  readonly jobLimits: Readonly<Record<string, JobLimitPlan>>;
  /** Of the jobs that its blocks enroll, together with those of other batches. */
  readonly shared: SharedLimitPlan | null;
  readonly storesResults: boolean;
  /** Its enqueuer was to be killed, or paused: the batch may have closed its block itself. */
  readonly isEnqueuerDoomed: boolean;
  readonly isTransactional: boolean;
}

export interface ExpectedJob {
  /** How it ends in the first round of its batch. */
  readonly first: ExpectedEnd;
  /** ... and in each one after that. */
  readonly later: ExpectedEnd;
  /** The job whose handler adds it, or null. */
  readonly parent: string | null;
  /** Name of its handler, or type of the workflow that it is. */
  readonly workerClass: string;
  readonly startDelayMs: number;
}

export interface EndedWorkflow {
  readonly workflowId: string;
  readonly how: 'cancel' | 'terminate';
}

export interface WorkflowEvidence {
  /** Of the job. */
  readonly name: string;
  readonly workflowId: string;
  /** Its newest chain of runs, as Temporal has it; null: there is none. */
  readonly chain: {
    /** In order. */
    readonly runIds: readonly string[];
    /** Temporal's name for how the last one stands. */
    readonly status: string;
    /** Type of the innermost application failure, if it failed. */
    readonly failure: string | null;
    /** When its last event was written. */
    readonly endedAt: number;
  } | null;
}

export interface ExpectedEnd {
  readonly end: 'complete' | 'failed';
  readonly attempts: number;
  readonly errorClass: string | null;
}

export interface BatchRow {
  readonly enrollmentError: string | null;
  readonly isSealed: boolean;
  /** Alerts of the last round. */
  readonly alerts: number;
  /** The policy as the row has it. */
  readonly policy: PolicyPlan;
  /** Run of the workflow with which the last round began. */
  readonly firstRunId: string;
  /** Epoch milliseconds, as all times are. */
  readonly createdAt: number;
  readonly deadlineAt: number | null;
}

/** A round of a batch: a past one, or the last one. */
export interface RoundRow {
  readonly round: number;
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly startedAt: number;
  readonly completedAt: number | null;
  readonly settledAt: number | null;
  /** Why it was stopped before all its jobs were terminal, or null. */
  readonly stopReason: string | null;
}

export interface JobRow {
  readonly name: string;
  readonly position: number;
  readonly workerClass: string;
  /** Set for a job that is a workflow. */
  readonly workflow: { readonly id: string; readonly runId: string | null } | null;
  /** The last round in which it was to run. */
  readonly round: number;
  readonly status: string;
  readonly attempts: number;
  readonly errorClass: string | null;
  readonly result: JobResult | null;
  readonly createdAt: number;
}

export interface PastJobRow {
  readonly position: number;
  readonly round: number;
  readonly status: string;
  readonly attempts: number;
  readonly errorClass: string | null;
}

export interface CallbackRow {
  readonly round: number;
  readonly event: CallbackEvent;
  readonly status: string;
  readonly attempts: number;
}

export interface EffectRow {
  readonly event: CallbackEvent;
  readonly runId: string;
}

export interface RunEvidence {
  readonly workflowId: string;
  readonly runId: string;
  /** The round of the batch that it works for. */
  readonly round: number;
  /** The run with which its chain of continuations began. */
  readonly firstRunId: string;
  /** Temporal's name: RUNNING, COMPLETED, FAILED, CONTINUED_AS_NEW, TERMINATED, … */
  readonly status: string;
  readonly result: unknown;
  /** Events of the callbacks whose activity was scheduled, one entry each time. */
  readonly scheduled: readonly CallbackEvent[];
  /** What it was told to do, and did: updates that were accepted, and the signal that cancels. */
  readonly steering: readonly Steering[];
}

export type Steering =
  | { readonly verb: 'cancel' }
  | {
      readonly verb: 'update';
      readonly changes: Partial<PolicyPlan> & Partial<JobLimitPlan> & { readonly deadlineAt?: number | null };
    };

export interface MirrorSample {
  readonly id: string;
  readonly round: number;
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly cancelled: number;
}

/** What a prune of all that has settled did, after everything else. */
export interface PruneEvidence {
  /** Batches before it, with whether it may remove them and their number of jobs. */
  readonly before: readonly { readonly id: string; readonly isPrunable: boolean; readonly jobs: number }[];
  readonly result: { readonly batches: number; readonly jobs: number };
  /** Batches of which rows are left, by table. */
  readonly left: Readonly<Record<string, readonly string[]>>;
}
