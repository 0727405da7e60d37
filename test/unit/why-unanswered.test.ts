import { expect, test } from 'vitest';
import { explainSilence, type UnansweredFacts } from '../../src/client/why-unanswered.ts';
import type { WorkflowFacts } from '../../src/doctor/facts.ts';
import { activity, NOW, SECOND } from '../support/facts.ts';

const CAUSE = new Error('deadline');

function silence(
  workflow: Partial<WorkflowFacts> = {},
  workflowPollAt: number | undefined = NOW - 20 * SECOND,
): UnansweredFacts {
  return {
    now: NOW,
    taskQueue: 'own',
    workflow: { workflowId: 'batch:b1', status: 'running', activities: [], lostAt: [], ...workflow },
    queue: workflowPollAt === undefined ? {} : { workflowPollAt },
  };
}

const waiting = { attempt: 1, isStarted: false, scheduledAt: NOW - 15 * SECOND };
const failure = { type: 'Error', message: 'connect ECONNREFUSED 127.0.0.1:5432' };

interface Case {
  readonly title: string;
  readonly facts: UnansweredFacts;
  readonly code: string;
  readonly name: string;
  readonly says: readonly string[];
}

const CASES: readonly Case[] = [
  {
    title: 'no worker ever polled',
    facts: { ...silence({ task: waiting }), queue: {} },
    code: 'WORKER_UNAVAILABLE',
    name: 'WorkerUnavailableError',
    says: ['no worker polled task queue "own" for 15 s.', 'createBatchWorker'],
  },
  {
    title: 'the last worker stopped a minute and a half ago',
    facts: silence({ task: waiting }, NOW - 90 * SECOND),
    code: 'WORKER_UNAVAILABLE',
    name: 'WorkerUnavailableError',
    says: ['(last poll 1 min 30 s ago)'],
  },
  {
    title: 'the last worker stopped just before the call, whose task waits since',
    facts: silence({ task: waiting }, NOW - 20 * SECOND),
    code: 'WORKER_UNAVAILABLE',
    name: 'WorkerUnavailableError',
    says: ['(last poll 20 s ago)'],
  },
  {
    title: 'workers poll, and take other tasks first',
    facts: silence({ task: waiting }, NOW - SECOND),
    code: 'WORKER_BUSY',
    name: 'WorkerBusyError',
    says: ['workers poll task queue "own" (last poll 1 s ago)', 'overloaded', 'start more of them'],
  },
  {
    title: 'a worker has taken the task and not come back',
    facts: silence({ task: { ...waiting, isStarted: true } }),
    code: 'WORKER_BUSY',
    name: 'WorkerBusyError',
    says: ['none answered for 15 s'],
  },
  {
    title: 'a worker cannot write to the database',
    facts: silence({ activities: [activity({ type: 'createBatch', failure })] }),
    code: 'WORKER_FAILING',
    name: 'WorkerFailingError',
    says: [
      'cannot write to Postgres (createBatch: connect ECONNREFUSED 127.0.0.1:5432)',
      'reach the database',
    ],
  },
  {
    title: 'workers fail the tasks of the workflow',
    facts: silence({ taskFailure: { cause: 'Error', message: 'no such workflow', at: NOW } }),
    code: 'WORKER_FAILING',
    name: 'WorkerFailingError',
    says: ["fail the batch's workflow tasks (no such workflow)", 'same version'],
  },
  {
    title: 'handlers and callbacks of the app fail, which says nothing of the workers',
    facts: silence({
      activities: [activity({ failure }), activity({ type: 'runCallback', failure })],
      task: waiting,
    }),
    code: 'WORKER_UNAVAILABLE',
    name: 'WorkerUnavailableError',
    says: [],
  },
];

test.each(CASES)('$title: $code', ({ facts, code, name, says }) => {
  const error = explainSilence(facts, 'The batch was not paused', CAUSE);
  expect(error).toMatchObject({ code, name, cause: CAUSE });
  expect(error.message).toMatch(/^The batch was not paused: /);
  for (const part of says) expect(error.message).toContain(part);
});
