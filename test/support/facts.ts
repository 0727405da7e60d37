import type { CallbackRow } from '../../src/database/rows.ts';
import type {
  ActivityFacts,
  Facts,
  MirrorFacts,
  PendingFacts,
  TemporalFacts,
  WorkflowFacts,
} from '../../src/doctor/facts.ts';
import { initialBatch, type BatchSettings, type BatchState } from '../../workflows/batch-state.ts';

/** When the facts of the tests were gathered. */
export const NOW = Date.UTC(2026, 10, 23, 12);
export const SECOND = 1_000;
export const MINUTE = 60_000;

/** A retry policy, where only its shape matters. */
export const RETRY = {
  initialIntervalMs: 1,
  backoffCoefficient: 1,
  maximumIntervalMs: 1,
  nonRetryableErrorTypes: [],
};

export const SETTINGS: BatchSettings = {
  afterDeadline: 'fail',
  afterFailure: 'continue',
  alertAfterIdleMs: null,
  autoSeal: true,
  deadlineAt: null,
  failWhen: 'settled',
  failWhenFailed: 'any',
  jobLimits: {},
  maxConcurrentJobs: null,
  perSecond: null,
  enrollmentTimeoutMs: 5 * MINUTE,
  openTimeoutMs: 24 * 60 * MINUTE,
  unknownJobTimeoutMs: 10 * MINUTE,
  workflowCheckIntervalMs: 30_000,
  maxHistoryEvents: 4_000,
};

/** A batch that stands still for an hour, with a live worker, and nothing that explains it. */
export function stillBatch(
  parts: {
    facts?: Partial<Facts>;
    mirror?: Partial<MirrorFacts>;
    batch?: Partial<MirrorFacts['batch']>;
    temporal?: Partial<TemporalFacts>;
    workflow?: Partial<WorkflowFacts>;
  } = {},
): Facts {
  const movedAt = NOW - 60 * MINUTE;
  return {
    batchId: 'b1',
    now: NOW,
    idleMs: MINUTE,
    mirror: {
      batch: {
        id: 'b1',
        runId: 'r1',
        autoSeal: true,
        description: 'A test',
        context: {},
        status: 'running',
        progress: { status: 'running', total: 10, complete: 7, failed: 0, cancelled: 0, pending: 3 },
        round: 1,
        parentId: null,
        enrollmentError: null,
        failureReason: null,
        completedAt: null,
        settledAt: null,
        pausedAt: null,
        stoppedAt: null,
        stopReason: null,
        deadlineAt: null,
        createdAt: new Date(movedAt),
        updatedAt: new Date(movedAt),
        ...parts.batch,
      },
      movedAt,
      endedLately: 0,
      endedByName: {},
      limits: null,
      namedLimits: [],
      callbacks: [],
      pending: [pendingJobs()],
      errors: [],
      suspects: [],
      workflows: { pending: 0, activities: 0, pendingSince: null, ended: 0, late: 0, lagMs: 0 },
      ...parts.mirror,
    },
    temporal: {
      address: 'temporal:7233',
      namespace: 'default',
      batch: {
        workflowId: 'batch:b1',
        status: 'running',
        taskQueue: 'own',
        activities: [],
        lostAt: [],
        ...parts.workflow,
      },
      parts: [],
      queues: { own: { workflowPollAt: NOW - 30 * SECOND, activityPollAt: NOW - 30 * SECOND } },
      settings: SETTINGS,
      state: sealedState(),
      unknown: [],
      ...parts.temporal,
    },
    ...parts.facts,
  };
}

export function sealedState(changes: Partial<BatchState> = {}): BatchState {
  const state = initialBatch(NOW - 60 * MINUTE);
  return {
    ...state,
    enrolled: 10,
    enrollment: { ...state.enrollment, phase: 'sealed', token: 't' },
    written: { ...state.written, created: true, sealed: true },
    ...changes,
  };
}

export function pendingJobs(changes: Partial<PendingFacts> = {}): PendingFacts {
  return {
    taskQueue: null,
    workerClass: 'Job',
    count: 3,
    retrying: 0,
    retryAt: null,
    delayed: 0,
    startAt: null,
    ...changes,
  };
}

export function activity(changes: Partial<ActivityFacts> = {}): ActivityFacts {
  return {
    type: 'runChunk',
    state: 'scheduled',
    taskQueue: 'own',
    attempt: 1,
    scheduledAt: NOW - 5 * MINUTE,
    ...changes,
  };
}

export function callbackRow(changes: Partial<CallbackRow> = {}): CallbackRow {
  return {
    event: 'complete',
    callback: 'Mail',
    status: 'scheduled',
    attempts: 0,
    error_class: null,
    error_message: null,
    scheduled_at: new Date(NOW - 10 * MINUTE),
    started_at: null,
    finished_at: null,
    ...changes,
  };
}
