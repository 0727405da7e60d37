import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { diagnose, serverFindings } from '../../src/doctor/diagnose.ts';
import type { Facts } from '../../src/doctor/facts.ts';
import { verdictOf, type FindingCode, type Severity } from '../../src/doctor/findings.ts';
import { describeDiagnosis, diagnosisJson } from '../../src/doctor/report.ts';
import { shellWord, span } from '../../src/doctor/words.ts';
import {
  activity,
  callbackRow,
  MINUTE,
  NOW,
  pendingJobs,
  SECOND,
  sealedState,
  stillBatch,
} from '../support/facts.ts';

const GONE = { workflowPollAt: NOW - 5 * MINUTE, activityPollAt: NOW - 5 * MINUTE };
const ALIVE = { workflowPollAt: NOW - 30 * SECOND, activityPollAt: NOW - 30 * SECOND };
const withoutTemporal = (facts: Facts, temporalError: string): Facts => {
  const { temporal: _unanswered, ...rest } = facts;
  return { ...rest, temporalError };
};
const withoutRow = (facts: Facts, changes: Partial<Facts> = {}): Facts => {
  const { mirror: _missing, ...rest } = facts;
  return { ...rest, ...changes };
};
const open = (heardAt: number) =>
  sealedState({
    enrolled: 4,
    enrollment: {
      phase: 'open',
      token: 't',
      runId: 'run',
      isOpenEnded: false,
      openings: 1,
      error: null,
      timedOut: false,
      heardAt,
    },
  });
const WORKFLOWS = { pending: 0, activities: 0, pendingSince: null, ended: 0, late: 0, lagMs: 0 };
const over = { completedAt: new Date(NOW), settledAt: new Date(NOW), status: 'complete' as const };

interface Case {
  readonly title: string;
  readonly facts: Facts;
  readonly finds: readonly (readonly [FindingCode, Severity])[];
  /** Parts of the first finding's message and advice. */
  readonly says?: readonly string[];
  readonly since?: number | null;
}

const CASES: readonly Case[] = [
  {
    title: 'nothing explains it',
    facts: stillBatch(),
    finds: [['UNEXPLAINED', 'attention']],
    says: ['"batch:b1"'],
    since: NOW - 60 * MINUTE,
  },
  {
    title: 'the batch is over',
    facts: stillBatch({ batch: over, mirror: { callbacks: [callbackRow({ status: 'completed' })] } }),
    finds: [['OVER', 'ok']],
    says: ['ended complete'],
  },
  {
    title: 'the batch is over while Temporal is away',
    facts: withoutTemporal(stillBatch({ batch: over }), 'refused'),
    finds: [
      ['OVER', 'ok'],
      ['TEMPORAL_UNREACHABLE', 'attention'],
    ],
  },
  {
    title: 'a callback failed for good',
    facts: stillBatch({
      batch: over,
      mirror: {
        callbacks: [
          callbackRow({ status: 'failed', attempts: 5, error_class: 'E', error_message: 'no\nway' }),
        ],
      },
    }),
    finds: [
      ['CALLBACK_FAILED', 'attention'],
      ['OVER', 'ok'],
    ],
    says: ['"Mail" on complete failed for good after 5 attempts: E: no way'],
  },
  {
    title: 'a callback that failed for good runs again, after its batch has closed',
    facts: stillBatch({
      batch: over,
      mirror: { callbacks: [callbackRow({ status: 'running' })] },
      workflow: { status: 'completed' },
      temporal: {
        parts: [
          {
            workflowId: 'batch:b1/round/1/retry/1/callback/complete',
            status: 'running',
            taskQueue: 'own',
            activities: [activity({ type: 'runCallback', state: 'started', startedAt: NOW - MINUTE })],
            lostAt: [],
          },
        ],
      },
    }),
    finds: [['CALLBACK_RUNNING', 'waiting']],
    says: ['"Mail" on complete runs for 1 min'],
  },
  {
    title:
      'a callback that failed for good is to run again, and no worker polls; Temporal has forgotten the batch',
    facts: stillBatch({
      batch: over,
      mirror: { callbacks: [callbackRow({ status: 'failed', error_class: 'E', error_message: 'no' })] },
      temporal: {
        batch: { workflowId: 'batch:b1', status: 'not found', activities: [], lostAt: [] },
        parts: [
          {
            workflowId: 'batch:b1/round/1/retry/1/callback/complete',
            status: 'running',
            taskQueue: 'own',
            task: { attempt: 1, isStarted: false, scheduledAt: NOW - MINUTE },
            activities: [],
            lostAt: [],
          },
        ],
        queues: { own: GONE },
      },
    }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
    says: ['No worker polls task queue "own"'],
  },
  {
    title: 'a callback failed for good while jobs still run',
    facts: stillBatch({
      mirror: { callbacks: [callbackRow({ status: 'failed', error_class: 'E', error_message: 'no' })] },
    }),
    finds: [['CALLBACK_FAILED', 'attention']],
    says: ['batch-jobs retry-callback b1 complete'],
  },
  {
    title: 'all jobs are terminal, and a callback has not ended',
    facts: stillBatch({
      batch: over,
      mirror: { callbacks: [callbackRow({ status: 'running' })] },
      workflow: {
        activities: [activity({ type: 'runCallback', state: 'started', startedAt: NOW - MINUTE })],
      },
    }),
    finds: [['CALLBACK_RUNNING', 'waiting']],
    says: ['"Mail" on complete runs for 1 min'],
    since: NOW - MINUTE,
  },
  {
    title: 'workflows that are jobs have not ended',
    facts: stillBatch({
      mirror: { workflows: { ...WORKFLOWS, pending: 3, pendingSince: NOW - 5 * MINUTE } },
    }),
    finds: [['WAITING_FOR_WORKFLOWS', 'waiting']],
    says: ['3 workflows of your own have not ended; the oldest is its job for 5 min'],
    since: NOW - 5 * MINUTE,
  },
  {
    title: 'an activity that is a job has not ended',
    facts: stillBatch({ mirror: { workflows: { ...WORKFLOWS, pending: 1, activities: 1 } } }),
    finds: [['WAITING_FOR_WORKFLOWS', 'waiting']],
    says: ['1 activity of your own has not ended.'],
  },
  {
    title: 'workflows and activities that are jobs have not ended',
    facts: stillBatch({ mirror: { workflows: { ...WORKFLOWS, pending: 3, activities: 2 } } }),
    finds: [['WAITING_FOR_WORKFLOWS', 'waiting']],
    says: ['1 workflow and 2 activities of your own have not ended.'],
  },
  {
    title: 'workflows that ended were found by looking',
    facts: stillBatch({
      mirror: {
        workflows: {
          pending: 1,
          activities: 0,
          pendingSince: NOW - 5 * MINUTE,
          ended: 4,
          late: 3,
          lagMs: 28 * SECOND,
        },
      },
    }),
    finds: [
      ['WAITING_FOR_WORKFLOWS', 'waiting'],
      ['WORKFLOWS_NOT_REPORTED', 'waiting'],
    ],
  },
  {
    title: 'all workflows that ended were found by looking, and no other job is left',
    facts: stillBatch({ mirror: { workflows: { ...WORKFLOWS, ended: 4, late: 4, lagMs: 28 * SECOND } } }),
    finds: [['WORKFLOWS_NOT_REPORTED', 'waiting']],
    says: [
      'The last 4 workflows that ended were found by looking, up to 28 s after their end.',
      'BatchPlugin',
    ],
  },
  {
    title: 'few of the workflows that ended were found by looking: a worker was lost, or a hint',
    facts: stillBatch({
      mirror: {
        workflows: { pending: 1, activities: 0, pendingSince: null, ended: 20, late: 9, lagMs: 28 * SECOND },
      },
    }),
    finds: [['WAITING_FOR_WORKFLOWS', 'waiting']],
  },
  {
    title: 'the rows changed a moment ago',
    facts: stillBatch({ mirror: { movedAt: NOW - 5 * SECOND, endedLately: 1200 } }),
    finds: [['MOVING', 'ok']],
    says: ['1,200 jobs ended in the last minute'],
  },
  {
    title: 'the rows changed a moment ago, and Temporal is away',
    facts: withoutTemporal(stillBatch({ mirror: { movedAt: NOW - 5 * SECOND } }), 'refused'),
    finds: [['TEMPORAL_UNREACHABLE', 'attention']],
    says: ['refused', '--address'],
  },
  {
    title: 'the rows changed a moment ago, and the last worker has stopped since',
    facts: stillBatch({
      mirror: { movedAt: NOW - 5 * SECOND },
      temporal: { queues: { own: GONE } },
    }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
  },
  {
    title: 'the rows changed a moment ago, and the batch is paused',
    facts: stillBatch({
      mirror: { movedAt: NOW - 5 * SECOND },
      batch: { pausedAt: new Date(NOW - 5 * SECOND) },
    }),
    finds: [['PAUSED', 'attention']],
  },
  {
    title: 'the database is away',
    facts: withoutRow(stillBatch(), { databaseError: 'refused' }),
    finds: [['DATABASE_UNREACHABLE', 'attention']],
    says: ['refused', '--database-url'],
  },
  {
    title: 'the workflow was terminated',
    facts: stillBatch({
      workflow: { status: 'terminated', closedAt: NOW - MINUTE, closeReason: 'oops, by ops' },
    }),
    finds: [['WORKFLOW_TERMINATED', 'attention']],
    says: ['is terminated (oops, by ops)', '`batch-jobs retry-failed b1`', '`batch-jobs cancel b1`'],
    since: NOW - MINUTE,
  },
  {
    title: 'the workflow was terminated in its callbacks',
    facts: stillBatch({
      batch: {
        ...over,
        progress: { status: 'complete', total: 1, complete: 1, failed: 0, cancelled: 0, pending: 0 },
      },
      mirror: { callbacks: [callbackRow()] },
      workflow: { status: 'terminated' },
    }),
    finds: [['WORKFLOW_TERMINATED', 'attention']],
    says: ['what its callbacks should have done'],
  },
  {
    title: 'Temporal does not know the workflow',
    facts: stillBatch({ workflow: { status: 'not found' } }),
    finds: [['WORKFLOW_TERMINATED', 'attention']],
    says: ['Temporal at temporal:7233, namespace "default"', 'this is not the Temporal of the batch'],
  },
  {
    title: 'the workflow was terminated, and the database is away',
    facts: withoutRow(stillBatch({ workflow: { status: 'terminated' } }), { databaseError: 'refused' }),
    finds: [
      ['DATABASE_UNREACHABLE', 'attention'],
      ['WORKFLOW_TERMINATED', 'attention'],
    ],
  },
  {
    title: 'an empty block left no row',
    facts: withoutRow(stillBatch({ workflow: { status: 'completed' } })),
    finds: [['OVER', 'ok']],
    says: ['its block was empty'],
  },
  {
    title: 'the workflow runs without a row',
    facts: withoutRow(stillBatch()),
    finds: [['ROW_MISSING', 'attention']],
    says: ['--schema'],
  },
  {
    title: 'workers of another schema share its task queue',
    facts: stillBatch({
      workflow: { mismatch: { message: 'A worker has opened schema "b".', at: NOW - MINUTE } },
    }),
    finds: [['DATABASE_MISMATCH', 'attention']],
    says: ['has opened schema "b"', 'Nothing is lost'],
    since: NOW - MINUTE,
  },
  {
    title: 'a worker of another schema was given a callback, which is no attempt of it',
    facts: stillBatch({
      mirror: { callbacks: [callbackRow({ attempts: 0 })] },
      workflow: {
        mismatch: { message: 'A worker has opened schema "b".', at: NOW - SECOND },
        activities: [
          activity({
            type: 'runCallback',
            attempt: 3,
            scheduledAt: NOW + SECOND,
            failure: { type: 'DATABASE_MISMATCH', message: 'A worker has opened schema "b".' },
          }),
        ],
      },
    }),
    finds: [['DATABASE_MISMATCH', 'attention']],
  },
  {
    title: 'a worker of another schema took its work long ago',
    facts: stillBatch({ workflow: { mismatch: { message: 'A worker …', at: NOW - 6 * MINUTE } } }),
    finds: [['UNEXPLAINED', 'attention']],
  },
  {
    title: 'workers did not find rows, and ask again',
    facts: stillBatch({
      temporal: { unknown: [{ workerClass: null, count: 2, since: NOW - 5 * SECOND }] },
    }),
    finds: [['JOB_ROWS_MISSING', 'attention']],
    says: ['the rows of 2 jobs', 'from the primary'],
    since: NOW - 5 * SECOND,
  },
  {
    title: 'rows were gone, and the batch is over',
    facts: stillBatch({
      batch: { ...over, status: 'failed', failureReason: '2 of its jobs had no row: somebody deleted them.' },
    }),
    finds: [
      ['JOB_ROWS_MISSING', 'attention'],
      ['OVER', 'ok'],
    ],
    says: ['2 of its jobs had no row', 'in another batch'],
  },
  {
    title: 'somebody paused it',
    facts: stillBatch({ batch: { pausedAt: new Date(NOW - 5 * MINUTE) } }),
    finds: [['PAUSED', 'attention']],
    says: ['3 pending jobs', '`batch-jobs resume b1`'],
    since: NOW - 5 * MINUTE,
  },
  {
    title: 'it was cancelled and waits for what runs',
    facts: stillBatch({
      batch: { status: 'cancelled', stoppedAt: new Date(NOW - 5 * SECOND), stopReason: 'no need' },
    }),
    finds: [['STOPPING', 'waiting']],
    says: ['no need'],
    since: NOW - 5 * SECOND,
  },
  {
    title: 'no worker has polled for long',
    facts: stillBatch({ temporal: { queues: { own: GONE } } }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
    says: ['"own" (last asked 5 min ago)', '3 jobs of it wait', 'createBatchWorker({ taskQueue: "own" })'],
    since: NOW - 5 * MINUTE,
  },
  {
    title: 'no worker has ever polled, in a namespace of its own',
    facts: stillBatch({ temporal: { queues: {}, namespace: 'jobs' } }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
    says: ['createBatchWorker({ taskQueue: "own", namespace: "jobs" })'],
    since: null,
  },
  {
    title: 'nobody takes a task of the workflow, though a worker polled before it came',
    facts: stillBatch({
      workflow: { task: { attempt: 1, isStarted: false, scheduledAt: NOW - 20 * SECOND } },
    }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
    since: NOW - 30 * SECOND,
  },
  {
    title: 'a task of the workflow has just come',
    facts: stillBatch({
      workflow: { task: { attempt: 1, isStarted: false, scheduledAt: NOW - SECOND } },
    }),
    finds: [['UNEXPLAINED', 'attention']],
  },
  {
    title: 'a missing worker of the batch explains its waiting chunks',
    facts: stillBatch({ temporal: { queues: { own: GONE } }, workflow: { activities: [activity()] } }),
    finds: [['NO_WORKFLOW_WORKER', 'attention']],
  },
  {
    title: 'a worker is missing on a task queue of its jobs',
    facts: stillBatch({
      mirror: { pending: [pendingJobs({ taskQueue: 'scores', count: 143 }), pendingJobs()] },
      temporal: { queues: { own: ALIVE, scores: {} } },
      workflow: { activities: [activity({ taskQueue: 'scores' })] },
    }),
    finds: [['NO_ACTIVITY_WORKER', 'attention']],
    says: ['No worker polls task queue "scores" for activities.', '143 jobs wait', '{ taskQueue: "scores" }'],
    since: NOW - 5 * MINUTE,
  },
  {
    title: 'a worker is missing for a callback',
    facts: stillBatch({
      temporal: { queues: { own: ALIVE, mails: {} } },
      workflow: { activities: [activity({ type: 'runCallback', taskQueue: 'mails' })] },
    }),
    finds: [['NO_ACTIVITY_WORKER', 'attention']],
    says: ['"mails"', 'A callback waits'],
  },
  {
    title: 'all workers of a task queue are busy',
    facts: stillBatch({ workflow: { activities: [activity()] } }),
    finds: [['WAITING_FOR_SLOT', 'waiting']],
    says: ['3 jobs wait for a free worker on task queue "own"', 'maxConcurrentJobs'],
  },
  {
    title: 'a worker that runs a chunk is alive though it does not poll',
    facts: stillBatch({
      temporal: { queues: { own: ALIVE, scores: GONE } },
      workflow: {
        activities: [
          activity({ taskQueue: 'scores' }),
          activity({
            taskQueue: 'scores',
            state: 'started',
            startedAt: NOW - MINUTE,
            heartbeatAt: NOW - SECOND,
          }),
        ],
      },
    }),
    finds: [
      ['WAITING_FOR_SLOT', 'waiting'],
      ['LONG_RUNNING', 'waiting'],
    ],
  },
  {
    title: 'a retry that is due later waits for no worker',
    facts: stillBatch({
      mirror: { callbacks: [callbackRow({ attempts: 2 })] },
      workflow: {
        activities: [
          activity({
            type: 'runCallback',
            attempt: 3,
            scheduledAt: NOW + 40 * SECOND,
            failure: { type: 'SmtpError', message: 'down' },
          }),
        ],
      },
    }),
    finds: [['CALLBACK_FAILING', 'attention']],
    says: ['"Mail" on complete failed 2 attempts: SmtpError: down', 'due in 40 s'],
    since: NOW - 10 * MINUTE,
  },
  {
    title: 'no worker knows a callback, which a workflow of its own runs',
    facts: stillBatch({
      mirror: {
        callbacks: [callbackRow({ event: 'complete' }), callbackRow({ event: 'failure', callback: 'Alert' })],
      },
      temporal: {
        parts: [
          {
            workflowId: 'batch:b1/callback/failure',
            status: 'running',
            taskQueue: 'own',
            lostAt: [],
            activities: [
              activity({
                type: 'runCallback',
                scheduledAt: NOW + SECOND,
                failure: { type: 'UnknownCallbackError', message: 'no such callback' },
              }),
            ],
          },
        ],
      },
    }),
    finds: [['CALLBACK_UNKNOWN', 'attention']],
    says: ['"Alert" on failure', 'createBatchWorker({ callbacks })'],
  },
  {
    title: 'the workflow task fails',
    facts: stillBatch({
      workflow: {
        task: { attempt: 7, isStarted: true, scheduledAt: NOW - SECOND },
        taskFailure: { cause: 'TypeError', message: 'no such function', at: NOW - MINUTE },
      },
    }),
    finds: [['WORKFLOW_TASK_FAILING', 'attention']],
    says: ['"batch:b1": no such function'],
    since: NOW - MINUTE,
  },
  {
    title: 'workers lack the codec of a client',
    facts: stillBatch({
      workflow: {
        taskFailure: { cause: 'ValueError', message: 'Unknown encoding: binary/secret', at: NOW - MINUTE },
      },
    }),
    finds: [['WORKFLOW_TASK_FAILING', 'attention']],
    says: ['encoded as binary/secret', 'workerOptions: { dataConverter }'],
    since: NOW - MINUTE,
  },
  {
    title: 'the doctor has no codec, and the batch stands still',
    facts: stillBatch({
      temporal: { unreadable: { encoding: 'binary/secret', error: 'Unknown encoding', hasCodec: false } },
    }),
    finds: [
      ['PAYLOADS_ENCODED', 'waiting'],
      ['UNEXPLAINED', 'attention'],
    ],
    says: ['binary/secret', '--codec-endpoint', 'TEMPORAL_CODEC_ENDPOINT'],
  },
  {
    title: 'the codec server of the doctor cannot read it, and no worker is there',
    facts: stillBatch({
      temporal: {
        queues: { own: GONE },
        unreadable: { encoding: 'binary/secret', error: 'answered 403', hasCodec: true },
      },
    }),
    finds: [
      ['PAYLOADS_ENCODED', 'waiting'],
      ['NO_WORKFLOW_WORKER', 'attention'],
    ],
    says: ['answered 403', '--codec-auth'],
  },
  {
    title: 'a runner was terminated',
    facts: stillBatch({
      temporal: {
        state: sealedState({
          runners: {
            '1': {
              lane: '',
              from: 1,
              to: 5,
              inline: true,
              completed: 0,
              failed: 0,
              cancelled: 0,
              idle: false,
              returns: 0,
            },
            '2': {
              lane: '',
              from: 6,
              to: 10,
              inline: false,
              completed: 0,
              failed: 0,
              cancelled: 0,
              idle: false,
              returns: 0,
            },
          },
        }),
      },
    }),
    finds: [['RUNNER_LOST', 'waiting']],
    says: ['Runner 2 (jobs 6 to 10)'],
  },
  {
    title: 'somebody paused a chunk',
    facts: stillBatch({ workflow: { activities: [activity({ state: 'paused', summary: 'jobs 1-5' })] } }),
    finds: [['ACTIVITY_PAUSED', 'attention']],
    says: ['jobs 1-5', 'temporal activity unpause --workflow-id "batch:b1"'],
  },
  {
    title: 'the seal could not be written',
    facts: stillBatch({
      temporal: {
        state: sealedState({
          written: {
            created: true,
            sealed: false,
            outcome: false,
            settled: false,
            workflowsCancelled: false,
          },
        }),
      },
    }),
    finds: [['MIRROR_BEHIND', 'attention']],
    says: ['that its block is closed'],
  },
  {
    title: 'the outcome could not be written',
    facts: stillBatch({ temporal: { state: sealedState({ outcome: 'failed' }) } }),
    finds: [['MIRROR_BEHIND', 'attention']],
    says: ['that it is failed'],
  },
  {
    title: 'the block was never opened',
    facts: stillBatch({
      temporal: {
        state: sealedState({
          enrolled: 0,
          enrollment: {
            phase: 'unopened',
            isOpenEnded: false,
            openings: 0,
            token: null,
            runId: 'run',
            error: null,
            timedOut: false,
            heardAt: NOW - 60 * MINUTE,
          },
        }),
      },
    }),
    finds: [['BLOCK_NEVER_OPENED', 'attention']],
    says: ['1 h ago', 'ends failed in 23 h'],
  },
  {
    title: 'the block is open and its process is alive',
    facts: stillBatch({ temporal: { state: open(NOW - 70 * SECOND) } }),
    finds: [['BLOCK_OPEN', 'waiting']],
    says: ['10 jobs so far', 'heard 1 min 10 s ago'],
  },
  {
    title: 'the block is open and its process is silent',
    facts: stillBatch({ temporal: { state: open(NOW - 4 * MINUTE) } }),
    finds: [['BLOCK_OPEN', 'attention']],
    says: ['closes the block in 1 min'],
  },
  {
    title: 'no worker knows two jobs',
    facts: stillBatch({
      temporal: {
        unknown: [
          { workerClass: 'A', count: 2, since: NOW - MINUTE },
          { workerClass: 'B', count: 1, since: NOW - MINUTE },
          { workerClass: 'A', count: 1, since: NOW - 4 * MINUTE },
        ],
      },
    }),
    finds: [
      ['UNKNOWN_JOB', 'attention'],
      ['UNKNOWN_JOB', 'attention'],
    ],
    says: ['"A": 3 jobs wait', 'they fail in 6 min'],
    since: NOW - 4 * MINUTE,
  },
  {
    title: 'a worker was lost once',
    facts: stillBatch({ workflow: { lostAt: [NOW - MINUTE, NOW - 11 * MINUTE] } }),
    finds: [['WORKER_LOST', 'waiting']],
    says: ['lost 1 time in the last 1 min'],
  },
  {
    title: 'workers are lost again and again',
    facts: stillBatch({ workflow: { lostAt: [NOW - MINUTE, NOW - 2 * MINUTE] } }),
    finds: [['WORKER_LOST', 'attention']],
    says: ['lost 2 times'],
  },
  {
    title: 'workers are lost with a job under watch',
    facts: stillBatch({
      mirror: { suspects: [{ position: 21, workerClass: 'Resize', losses: 2 }] },
      workflow: { lostAt: [NOW - MINUTE] },
    }),
    finds: [['WORKER_LOST', 'attention']],
    says: ['Resize (job 21, 2x)'],
  },
  {
    title: 'chunks run for long',
    facts: stillBatch({
      workflow: {
        activities: [
          activity({ state: 'started', startedAt: NOW - 2 * SECOND }),
          activity({
            state: 'started',
            startedAt: NOW - 90 * MINUTE,
            heartbeatAt: NOW - 2 * SECOND,
            worker: '7@host',
            summary: 'job 4',
          }),
        ],
      },
    }),
    finds: [['LONG_RUNNING', 'waiting']],
    says: ['job 4 for 1 h 30 min, and 1 other chunk for less', '7@host was heard 2 s ago'],
    since: NOW - 90 * MINUTE,
  },
  {
    title: 'a short chunk of a batch that moves is nothing to tell',
    facts: stillBatch({
      mirror: { movedAt: NOW },
      workflow: { activities: [activity({ state: 'started', startedAt: NOW - SECOND })] },
    }),
    finds: [['MOVING', 'ok']],
  },
  {
    title: 'more jobs are due than may run at once',
    facts: stillBatch({
      mirror: { limits: { maxConcurrentJobs: 5 }, pending: [pendingJobs({ count: 990 })] },
      workflow: { activities: [activity({ state: 'started', startedAt: NOW - MINUTE })] },
    }),
    finds: [
      ['WAITING_FOR_LIMIT', 'waiting'],
      ['LONG_RUNNING', 'waiting'],
    ],
    says: [
      'Its limits hold it back: 5 at once, and 985 of 990 jobs wait for their turn.',
      '`batch-jobs update b1 --max-concurrent-jobs 10`',
    ],
  },
  {
    title: 'a batch moves as fast as its rate lets it, and some of its jobs as theirs',
    facts: stillBatch({
      mirror: {
        movedAt: NOW - SECOND,
        endedLately: 40,
        endedByName: { Score: 12, Mail: 28 },
        limits: { perSecond: 0.5, jobLimits: { 'Send mail': { perSecond: 0.2 } } },
        pending: [
          pendingJobs({ count: 120 }),
          pendingJobs({ count: 60, workerClass: 'Send mail', retrying: 8 }),
        ],
      },
    }),
    finds: [
      ['WAITING_FOR_LIMIT', 'waiting'],
      ['WAITING_FOR_RETRY', 'waiting'],
      ['MOVING', 'ok'],
    ],
    says: [
      '0.5 a second, and 172 jobs take 5 min 44 s at that rate; ' +
        'Send mail 0.2 a second, and 52 jobs take 4 min 20 s at that rate.',
      `batch-jobs update b1 --per-second 1 --job-limit 'Send mail.perSecond=0.4'`,
    ],
  },
  {
    title: 'a job an hour is due later',
    facts: stillBatch({ mirror: { limits: { perSecond: 1 / 3_600 }, pending: [pendingJobs()] } }),
    finds: [['WAITING_FOR_LIMIT', 'waiting']],
    says: ['3 jobs take 3 h at that rate'],
  },
  {
    title: 'a batch moves more slowly than its rate would let it: its jobs are slow',
    facts: stillBatch({
      mirror: {
        movedAt: NOW - SECOND,
        endedLately: 100,
        limits: { perSecond: 20, maxConcurrentJobs: 500, jobLimits: { Other: { maxConcurrentJobs: 1 } } },
        pending: [pendingJobs({ count: 400 })],
      },
    }),
    finds: [['MOVING', 'ok']],
  },
  {
    title: 'what is left of a batch with limits waits for its time',
    facts: stillBatch({
      mirror: {
        limits: { maxConcurrentJobs: 1, perSecond: 0.001 },
        pending: [pendingJobs({ retrying: 3, retryAt: NOW + MINUTE })],
      },
    }),
    finds: [['WAITING_FOR_RETRY', 'waiting']],
  },
  {
    title: 'workflows and batches that are jobs take no part of a limit',
    facts: stillBatch({
      mirror: {
        limits: { maxConcurrentJobs: 1 },
        workflows: { ...WORKFLOWS, pending: 2, pendingSince: NOW - 5 * MINUTE },
        pending: [
          pendingJobs({ count: 2, workerClass: 'someWorkflow' }),
          pendingJobs({ count: 5, workerClass: 'batch-jobs:Batch' }),
        ],
      },
    }),
    finds: [['WAITING_FOR_WORKFLOWS', 'waiting']],
  },
  {
    title: 'a batch with limits that has no worker, or is paused, waits for that',
    facts: stillBatch({
      batch: { pausedAt: new Date(NOW - MINUTE) },
      mirror: { limits: { maxConcurrentJobs: 1 } },
      temporal: { queues: { own: GONE } },
    }),
    finds: [
      ['PAUSED', 'attention'],
      ['NO_WORKFLOW_WORKER', 'attention'],
    ],
  },
  {
    title: 'jobs wait for a retry and for their start',
    facts: stillBatch({
      mirror: {
        pending: [
          pendingJobs({ retrying: 2, retryAt: NOW + 90 * SECOND }),
          pendingJobs({
            workerClass: 'Other',
            retrying: 1,
            retryAt: NOW + 9 * SECOND,
            delayed: 1,
            startAt: NOW,
          }),
        ],
        errors: [
          { errorClass: 'HttpError', errorMessage: '503', count: 2 },
          { errorClass: 'Error', errorMessage: 'x', count: 1 },
        ],
      },
    }),
    finds: [
      ['WAITING_FOR_RETRY', 'waiting'],
      ['WAITING_FOR_START_DELAY', 'waiting'],
    ],
    says: [
      '3 jobs failed an attempt and wait for the next; the first is due in 9 s',
      'Most often: HttpError: 503 (2 of',
    ],
  },
];

describe('diagnose', () => {
  test.each(CASES)('$title', ({ facts, finds, says = [], since }) => {
    const findings = diagnose(facts);
    expect(findings.map(({ code, severity }) => [code, severity])).toEqual(finds);
    const text = `${findings[0]!.message}\n${findings[0]!.advice}`;
    for (const part of says) expect(text).toContain(part);
    if (since !== undefined) expect(findings[0]!.since).toBe(since);
  });

  test.each(CASES)(
    'of $title says at no time that the batch moves, and that something is wrong',
    ({ facts }) => {
      const findings = diagnose(facts);
      const isMoving = findings.some(({ code }) => code === 'MOVING');
      expect(isMoving && verdictOf(findings) === 'attention').toBe(false);
    },
  );

  test('has a case for every finding', () => {
    const found = new Set(CASES.flatMap(({ finds }) => finds.map(([code]) => code)));
    expect([...found].toSorted()).toEqual(Object.keys(CODES).toSorted());
  });
});

/** Every code; the compiler sees to it that none is missing. */
const CODES: Readonly<Record<FindingCode, true>> = {
  ACTIVITY_PAUSED: true,
  BLOCK_NEVER_OPENED: true,
  BLOCK_OPEN: true,
  CALLBACK_FAILED: true,
  CALLBACK_FAILING: true,
  CALLBACK_RUNNING: true,
  CALLBACK_UNKNOWN: true,
  DATABASE_MISMATCH: true,
  DATABASE_UNREACHABLE: true,
  JOB_ROWS_MISSING: true,
  LONG_RUNNING: true,
  MIRROR_BEHIND: true,
  MOVING: true,
  NO_ACTIVITY_WORKER: true,
  NO_WORKFLOW_WORKER: true,
  OVER: true,
  PAUSED: true,
  PAYLOADS_ENCODED: true,
  ROW_MISSING: true,
  RUNNER_LOST: true,
  STOPPING: true,
  TEMPORAL_UNREACHABLE: true,
  UNEXPLAINED: true,
  UNKNOWN_JOB: true,
  WAITING_FOR_LIMIT: true,
  WAITING_FOR_RETRY: true,
  WAITING_FOR_SLOT: true,
  WAITING_FOR_START_DELAY: true,
  WAITING_FOR_WORKFLOWS: true,
  WORKER_LOST: true,
  WORKFLOWS_NOT_REPORTED: true,
  WORKFLOW_TASK_FAILING: true,
  WORKFLOW_TERMINATED: true,
};

test('docs/doctor.md explains every finding', async () => {
  const text = await readFile(new URL('../../docs/doctor.md', import.meta.url), 'utf8');
  const explained = [...text.matchAll(/^\| `([A-Z_]+)`/gm)].map(([, code]) => code!);
  expect(explained.toSorted()).toEqual(Object.keys(CODES).toSorted());
});

test('the verdict is the gravest of the findings', () => {
  const [attention] = serverFindings({ databaseError: 'away' });
  const [ok] = diagnose(stillBatch({ batch: over }));
  expect(verdictOf([])).toBe('ok');
  expect(verdictOf([ok!])).toBe('ok');
  expect(verdictOf([ok!, attention!])).toBe('attention');
});

test('the text says how the batch stands, then what it waits for and what to do', () => {
  const facts = stillBatch({ temporal: { queues: { own: GONE } } });
  expect(describeDiagnosis({ facts, findings: diagnose(facts) }, { advice: true })).toBe(
    'Batch b1 "A test"   running   7 of 10 complete, 0 failed, 3 pending   last moved 1 h ago\n' +
      '\n' +
      '  ✗ No worker polls task queue "own" (last asked 5 min ago).   since 5 min\n' +
      '    The batch itself runs there, and 3 jobs of it wait. Start a worker with createBatchWorker({ taskQueue: "own" }).\n',
  );
});

test('the JSON has every time as an ISO text', () => {
  const facts = stillBatch({ temporal: { state: open(NOW - 4 * MINUTE) } });
  expect(diagnosisJson({ facts, findings: diagnose(facts) })).toMatchObject({
    id: 'b1',
    verdict: 'attention',
    status: 'running',
    pending: 3,
    movedAt: '2026-11-23T11:00:00.000Z',
    findings: [
      {
        code: 'BLOCK_OPEN',
        since: '2026-11-23T11:56:00.000Z',
        details: { closesAt: '2026-11-23T12:01:00.000Z', isSilent: true },
      },
    ],
  });
});

test.each([
  ['import-2026.05:7', 'import-2026.05:7'],
  ['it is', "'it is'"],
  ["don't; rm", String.raw`'don'\''t; rm'`],
  ['', "''"],
])('%j is %s in a command line', (text, word) => {
  expect(shellWord(text)).toBe(word);
});

test.each([
  [0, '0 s'],
  [59_999, '59 s'],
  [61_000, '1 min 1 s'],
  [11 * MINUTE + SECOND, '11 min'],
  [80 * MINUTE, '1 h 20 min'],
  [26 * 60 * MINUTE, '1 d 2 h'],
])('%i ms are written as %s', (ms, text) => {
  expect(span(ms)).toBe(text);
});
