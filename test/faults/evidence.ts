import type { CallbackEvent, LedgerEntry } from './ledger.ts';

/** All that a round leaves behind: what the checker judges. Plain JSON. */
export interface Evidence {
  readonly batches: readonly BatchEvidence[];
  readonly ledger: readonly LedgerEntry[];
  /** What the mirror said while the round went on. */
  readonly samples: readonly MirrorSample[];
  /** Attempts of a job, at most. */
  readonly maximumAttempts: number;
  /** Processes that did not end when they were asked to. */
  readonly stubborn: readonly string[];
  /** Batches that took a cancellation. */
  readonly cancelled: readonly string[];
  /** Sessions of Postgres that hold a transaction, or wait for a lock, with nothing left to do. */
  readonly sessions: readonly string[];
}

export interface BatchEvidence {
  readonly id: string;
  readonly expected: Expectation;
  readonly row: BatchRow | null;
  readonly jobs: readonly JobRow[];
  readonly callbacks: readonly CallbackRow[];
  /** Events whose transactional callback committed its effect, once a commit. */
  readonly effects: readonly CallbackEvent[];
  /** Every run of every workflow of the batch. */
  readonly runs: readonly RunEvidence[];
}

/** What the plan says of a batch. */
export interface Expectation {
  readonly jobs: readonly ExpectedJob[];
  readonly failWhen: 'settled' | 'immediate';
  /** The index at which the block throws, or null. */
  readonly throwsAt: number | null;
  /** Its enqueuer was to be killed, or paused: the batch may have closed its block itself. */
  readonly isEnqueuerDoomed: boolean;
  readonly isTransactional: boolean;
  /** Somebody was to cancel it. */
  readonly mayBeCancelled: boolean;
}

export interface ExpectedJob {
  readonly end: 'complete' | 'failed';
  readonly attempts: number;
  readonly errorClass: string | null;
}

export interface BatchRow {
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly enrollmentError: string | null;
  readonly isSealed: boolean;
  readonly isCompleted: boolean;
  readonly isSettled: boolean;
  /** It was stopped before all its jobs were terminal. */
  readonly isStopped: boolean;
}

export interface JobRow {
  readonly position: number;
  readonly status: string;
  readonly attempts: number;
  readonly errorClass: string | null;
  /** Epoch milliseconds. */
  readonly createdAt: number;
}

export interface CallbackRow {
  readonly event: CallbackEvent;
  readonly status: string;
  readonly attempts: number;
}

export interface RunEvidence {
  readonly workflowId: string;
  readonly runId: string;
  /** Temporal's name: RUNNING, COMPLETED, FAILED, CONTINUED_AS_NEW, TERMINATED, … */
  readonly status: string;
  readonly result: unknown;
  /** Events of the callbacks whose activity was scheduled, one entry each time. */
  readonly scheduled: readonly CallbackEvent[];
}

export interface MirrorSample {
  readonly id: string;
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
}
