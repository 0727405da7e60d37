import type { BatchEvent, BatchSettings, BatchState } from '../../workflows/batch-state.ts';
import type { BatchRecord, CallbackRow } from '../database/rows.ts';

/**
 * What was found out about a batch, as plain data: the rules in diagnose.ts work on it without servers. All times are
 * epoch milliseconds.
 */
export interface Facts {
  readonly batchId: string;
  /** The database's clock, or this machine's while the database is away. */
  readonly now: number;
  /** A batch that changed within this time moves. */
  readonly idleMs: number;
  /** Undefined: there is no row, or no answer. */
  readonly mirror?: MirrorFacts;
  /** Why the database did not answer. */
  readonly databaseError?: string;
  /** Undefined: Temporal was not asked, or did not answer. */
  readonly temporal?: TemporalFacts;
  /** Why Temporal did not answer. */
  readonly temporalError?: string;
}

/** What the rows say. */
export interface MirrorFacts {
  readonly batch: BatchRecord;
  /** When a row of the batch or of a callback changed last. */
  readonly movedAt: number;
  /** Jobs that became terminal in the last minute. */
  readonly endedLately: number;
  /** The same by their names. */
  readonly endedByName: Readonly<Record<string, number>>;
  /** Null: there are none. */
  readonly limits: (LimitFacts & { readonly jobLimits?: Readonly<Record<string, LimitFacts>> }) | null;
  /** Named limits of pending jobs. */
  readonly namedLimits: readonly NamedLimitFacts[];
  readonly callbacks: readonly CallbackRow[];
  readonly pending: readonly PendingFacts[];
  /** Last errors of jobs that wait for a retry, the commonest first. */
  readonly errors: readonly ErrorFacts[];
  /** Pending jobs whose worker was lost while it ran them under watch. */
  readonly suspects: readonly SuspectFacts[];
  readonly workflows: WorkflowJobFacts;
}

/** What jobs of a batch, or of a name, may. A limit that is absent does not exist. */
export interface LimitFacts {
  readonly maxConcurrentJobs?: number;
  readonly perSecond?: number;
}

/** A named limit, with its use by all batches. */
export interface NamedLimitFacts {
  readonly name: string;
  /** Jobs of this batch under the limit that are running or could start. */
  readonly due: number;
  /** Null for any number. */
  readonly maxConcurrent: number | null;
  readonly perSecond: number | null;
  readonly keyMaxConcurrent: number | null;
  /** Running jobs of all batches, and jobs that wait in workers for a permit. */
  readonly running: number;
  readonly waiting: number;
}

/** Jobs that are workflows or activities of the app. */
export interface WorkflowJobFacts {
  readonly pending: number;
  /** Those of them that are activities. */
  readonly activities: number;
  /** When the oldest of these became a job. */
  readonly pendingSince: number | null;
  /** Of the workflows that ended lately by themselves, so that their workers could report it: how many, twenty at most. */
  readonly ended: number;
  /** Of these: came to the rows only some time after their end. */
  readonly late: number;
  /** The longest such time. */
  readonly lagMs: number;
}

/** Pending jobs of one name on one task queue. */
export interface PendingFacts {
  /** Null: the batch's own. */
  readonly taskQueue: string | null;
  readonly workerClass: string;
  readonly count: number;
  /** Of these: failed an attempt and wait for the next. */
  readonly retrying: number;
  readonly retryAt: number | null;
  /** Of these: have not started because of `startDelay`. */
  readonly delayed: number;
  readonly startAt: number | null;
}

export interface ErrorFacts {
  readonly errorClass: string;
  /** The commonest message of that class. */
  readonly errorMessage: string;
  readonly count: number;
}

export interface SuspectFacts {
  readonly position: number;
  readonly workerClass: string;
  readonly losses: number;
}

/** What Temporal says. */
export interface TemporalFacts {
  readonly address: string;
  readonly namespace: string;
  readonly batch: WorkflowFacts;
  /** Runners, and workflows of callbacks. */
  readonly parts: readonly WorkflowFacts[];
  /** Task queues of the workflows and activities above, by name. */
  readonly queues: Readonly<Record<string, QueueFacts>>;
  /** Options of the batch, from its first event. */
  readonly settings?: BatchSettings;
  /** How the batch's payloads are encoded, where they could not be read; and why not. */
  readonly unreadable?: { readonly encoding: string; readonly error: string; readonly hasCodec: boolean };
  /** The batch's own answer; undefined when no worker is up to give it. */
  readonly state?: BatchState;
  /** Jobs whose names no worker knew, as the ranges tell. */
  readonly unknown: readonly UnknownFacts[];
}

export interface WorkflowFacts {
  readonly workflowId: string;
  /** Temporal's name of the status in lower case, or `not found`. */
  readonly status: string;
  readonly closedAt?: number;
  /** Why it was closed, as far as its last event tells. */
  readonly closeReason?: string;
  readonly taskQueue?: string;
  /** The workflow task that waits or runs. */
  readonly task?: { readonly attempt: number; readonly isStarted: boolean; readonly scheduledAt: number };
  /** The last workflow task that failed or timed out, if none succeeded after it. */
  readonly taskFailure?: { readonly cause: string; readonly message: string; readonly at: number };
  readonly activities: readonly ActivityFacts[];
  /** The newest refusal by a worker that has opened another database or schema. */
  readonly mismatch?: { readonly message: string; readonly at: number };
  /** When chunks or callbacks were lost with their worker: the times of the last events that say so. */
  readonly lostAt: readonly number[];
}

export interface ActivityFacts {
  /** `runChunk` or `runCallback`. */
  readonly type: string;
  readonly state: 'scheduled' | 'started' | 'paused';
  readonly taskQueue?: string;
  readonly attempt: number;
  /** When this attempt was or will be offered to workers. */
  readonly scheduledAt: number;
  readonly startedAt?: number;
  readonly heartbeatAt?: number;
  readonly failure?: { readonly type: string; readonly message: string };
  /** Identity of the worker that runs it or ran it last. */
  readonly worker?: string;
  /** What it is, as the Web UI shows it: `jobs 1-25`. */
  readonly summary?: string;
}

/** When workers asked a task queue for tasks last; Temporal forgets them after five minutes. */
export interface QueueFacts {
  readonly workflowPollAt?: number;
  readonly activityPollAt?: number;
}

export interface UnknownFacts {
  /** Null: their rows were not found. */
  readonly workerClass: string | null;
  readonly count: number;
  readonly since: number;
}

/** Callbacks that still have to run or to end. */
export const OPEN_CALLBACKS: readonly CallbackRow['status'][] = ['registered', 'scheduled', 'running'];

/** The order in which a batch fires them. */
export const EVENT_ORDER: readonly BatchEvent[] = ['complete', 'failure', 'cancelled', 'settled', 'idle'];

/** All jobs are terminal, and all callbacks have ended. */
export function isOver({ batch, callbacks }: MirrorFacts): boolean {
  return batch.settledAt !== null && callbacks.every(({ status }) => !OPEN_CALLBACKS.includes(status));
}

/** Its rows changed a short time ago. */
export function isMoving({ mirror, now, idleMs }: Pick<Facts, 'mirror' | 'now' | 'idleMs'>): boolean {
  return mirror !== undefined && now - mirror.movedAt <= idleMs;
}
