import { describe, expect, test } from 'vitest';
import { check } from '../faults/checker.ts';
import type { BatchEvidence, Evidence, Expectation, RunEvidence } from '../faults/evidence.ts';
import type { ViolationKind } from '../faults/findings.ts';
import type { CallbackEntry, CallbackEvent, LedgerEntry } from '../faults/ledger.ts';
import type { JobLimitPlan } from '../faults/plan-batch.ts';
import type { PolicyPlan } from '../faults/plan-policy.ts';

const ID = 'b';
const stamp = { batch: ID, pid: 1, at: 1_000 };
const shown = { status: 'failed', total: 3, complete: 2, failed: 1 };
const seen = { ...shown, cancelled: 0, pending: 0, isSettled: true };
const policy: PolicyPlan = {
  failWhen: 'settled',
  failWhenFailed: 'any',
  afterFailure: 'continue',
  afterDeadline: 'fail',
};
const SUCCESS = { end: 'complete', attempts: 1, errorClass: null } as const;
const FAILURE = { end: 'failed', attempts: 4, errorClass: 'FlakyError' } as const;

type Mutable<T> = T extends readonly (infer Item)[]
  ? Mutable<Item>[]
  : T extends object
    ? { -readonly [Key in keyof T]: Mutable<T[Key]> }
    : T;
type MutableEvidence = Mutable<Evidence>;

/** What a callback that ran once leaves in the ledger. */
function called(event: CallbackEvent, runId: string, at = 1_000, saw = seen): CallbackEntry[] {
  const entry = { ...stamp, at, event, runId, attempt: 1 };
  return [
    { ...entry, what: 'callback-start', seen: saw },
    { ...entry, what: 'callback-end' },
  ];
}

/** What a round leaves behind in which one batch of three jobs ran, and the last job failed as planned. */
function clean(): MutableEvidence {
  const ledger: LedgerEntry[] = [
    { ...stamp, what: 'created' },
    ...(['complete', 'failure', 'cancelled', 'settled'] as const).map((event) => ({
      ...stamp,
      what: 'registered' as const,
      event,
    })),
    ...[0, 1, 2].map((index) => ({
      ...stamp,
      what: 'enrolled' as const,
      jid: `${ID}/${index + 1}`,
      name: `${index}`,
    })),
    { ...stamp, what: 'closed', total: 3 },
    ...[1, 2].flatMap((position) => [
      { ...stamp, what: 'job-start' as const, position, attempt: 1 },
      { ...stamp, what: 'job-end' as const, position, attempt: 1 },
    ]),
    ...[1, 2, 3, 4].flatMap((attempt) => [
      { ...stamp, what: 'job-start' as const, position: 3, attempt },
      { ...stamp, what: 'job-stop' as const, position: 3, attempt },
    ]),
    ...called('failure', 'r'),
    ...called('settled', 'r'),
  ];
  const expected: Expectation = {
    jobs: {
      '0': { first: SUCCESS, later: SUCCESS, parent: null, workerClass: 'Work', startDelayMs: 0 },
      '1': { first: SUCCESS, later: SUCCESS, parent: null, workerClass: 'Work', startDelayMs: 0 },
      '2': { first: FAILURE, later: SUCCESS, parent: null, workerClass: 'Work', startDelayMs: 0 },
    },
    enrolled: ['0', '1', '2'],
    isBroken: false,
    isOpenEnded: false,
    numberedFrom: null,
    policy: { ...policy },
    deadlineMs: null,
    alertsWhenIdle: false,
    limits: { maxConcurrentJobs: null, perSecond: null },
    jobLimits: {},
    shared: null,
    storesResults: false,
    isEnqueuerDoomed: false,
    isTransactional: false,
  };
  const run: RunEvidence = {
    workflowId: `batch:${ID}`,
    runId: 'r',
    round: 1,
    firstRunId: 'r',
    status: 'COMPLETED',
    result: { ...shown, enrollmentError: null },
    scheduled: ['failure', 'settled'],
    steering: [],
  };
  const batch: BatchEvidence = {
    id: ID,
    expected,
    row: {
      enrollmentError: null,
      isSealed: true,
      alerts: 0,
      policy: { ...policy },
      firstRunId: 'r',
      createdAt: 900,
      deadlineAt: null,
    },
    rounds: [{ round: 1, ...shown, startedAt: 900, completedAt: 1_100, settledAt: 1_100, stopReason: null }],
    jobs: [1, 2, 3].map((position) => ({
      name: `${position - 1}`,
      position,
      workerClass: 'Work',
      workflow: null,
      round: 1,
      status: position === 3 ? 'failed' : 'complete',
      attempts: position === 3 ? 4 : 1,
      errorClass: position === 3 ? 'FlakyError' : null,
      result: null,
      createdAt: 900,
    })),
    workflows: [],
    openStarts: [],
    pastJobs: [],
    callbacks: [
      { round: 1, event: 'failure', status: 'completed', attempts: 1 },
      { round: 1, event: 'settled', status: 'completed', attempts: 1 },
      { round: 1, event: 'complete', status: 'skipped', attempts: 0 },
    ],
    effects: [],
    runs: [run],
  };
  return structuredClone({
    batches: [batch],
    ledger,
    samples: [
      { id: ID, round: 1, status: 'pending', total: 2, complete: 1, failed: 0, cancelled: 0 },
      { id: ID, round: 1, ...shown, cancelled: 0 },
    ],
    maximumAttempts: 4,
    mayExceed: false,
    mayLinger: false,
    slots: 10,
    disturbances: [],
    stubborn: [],
    cancelled: [],
    endedWorkflows: [],
    sessions: [],
    prune: {
      before: [{ id: ID, isPrunable: true, jobs: 3 }],
      result: { batches: 1, jobs: 3 },
      left: { batches: [], batch_jobs: [] },
    },
  } satisfies Evidence) as unknown as MutableEvidence;
}

/** The same batch after its failed job ran again, and succeeded. */
function retried(): MutableEvidence {
  const evidence = clean();
  const batch = evidence.batches[0]!;
  const end = { status: 'complete', total: 3, complete: 3, failed: 0 };
  const at = 3_000;
  batch.rounds.push({ round: 2, ...end, startedAt: 2_000, completedAt: at, settledAt: at, stopReason: null });
  batch.pastJobs.push({ position: 3, round: 1, status: 'failed', attempts: 4, errorClass: 'FlakyError' });
  Object.assign(batch.jobs[2]!, { round: 2, status: 'complete', attempts: 1, errorClass: null });
  batch.callbacks.push(
    { round: 2, event: 'complete', status: 'completed', attempts: 1 },
    { round: 2, event: 'settled', status: 'completed', attempts: 1 },
    { round: 2, event: 'failure', status: 'skipped', attempts: 0 },
  );
  batch.runs.push({
    ...batch.runs[0]!,
    runId: 'r2',
    round: 2,
    firstRunId: 'r2',
    result: { ...end, enrollmentError: null },
    scheduled: ['complete', 'settled'],
  });
  batch.row!.firstRunId = 'r2';
  const saw = { ...seen, ...end };
  evidence.ledger.push(
    { ...stamp, at: 1_500, what: 'retrying', round: 2, retry: { cancelled: false, changes: {}, callers: 1 } },
    { ...stamp, at: 2_001, what: 'retried', round: 2 },
    { ...stamp, at, what: 'job-start', position: 3, attempt: 1 },
    { ...stamp, at, what: 'job-end', position: 3, attempt: 1 },
    ...called('complete', 'r2', at, saw),
    ...called('settled', 'r2', at, saw),
  );
  evidence.samples.push({ id: ID, round: 2, ...end, cancelled: 0 });
  return evidence;
}

/** The same batch with a fourth job, which the first one has added by a key; what jobs return is stored. */
function grown(): MutableEvidence {
  const evidence = clean();
  const batch = evidence.batches[0]!;
  const total = 4;
  const complete = 3;
  batch.expected.jobs['0.0'] = {
    first: SUCCESS,
    later: SUCCESS,
    parent: '0',
    workerClass: 'Work',
    startDelayMs: 0,
  };
  batch.expected.numberedFrom = 0;
  batch.expected.storesResults = true;
  batch.jobs.push({ ...batch.jobs[0]!, name: '0.0', position: 4 });
  evidence.ledger.push(
    { ...stamp, what: 'job-start', position: 4, attempt: 1 },
    { ...stamp, what: 'job-end', position: 4, attempt: 1 },
  );
  Object.assign(batch.rounds[0]!, { total, complete });
  Object.assign(batch.runs[0]!.result as object, { total, complete });
  Object.assign(evidence.samples[1]!, { total, complete });
  Object.assign(evidence.prune, {
    before: [{ id: ID, isPrunable: true, jobs: total }],
    result: { batches: 1, jobs: total },
  });
  for (const entry of evidence.ledger) {
    if (entry.what === 'callback-start') entry.seen = { ...entry.seen!, total, complete };
    if (entry.what !== 'job-end') continue;
    const job = batch.jobs[entry.position - 1]!;
    const result = { name: job.name, attempt: 1, nonce: `n${entry.position}` };
    job.result = { ...result };
    entry.result = result;
  }
  return evidence;
}

/** The same batch with a fourth job that is a workflow, which continued as new once. */
function withWorkflow(): MutableEvidence {
  const evidence = clean();
  const batch = evidence.batches[0]!;
  const name = 'workflow 0';
  const total = 4;
  const complete = 3;
  const workflowId = `${ID}/${name}`;
  batch.expected.jobs[name] = {
    first: SUCCESS,
    later: SUCCESS,
    parent: null,
    workerClass: 'act',
    startDelayMs: 0,
  };
  batch.expected.enrolled.push(name);
  batch.jobs.push({
    ...batch.jobs[0]!,
    name,
    position: 4,
    workerClass: 'act',
    workflow: { id: workflowId, runId: 'w1' },
  });
  const chain = { runIds: ['w1', 'w2'], status: 'COMPLETED', failure: null, endedAt: 950 };
  batch.workflows.push({ name, workflowId, chain });
  Object.assign(batch.rounds[0]!, { total, complete });
  Object.assign(batch.runs[0]!.result as object, { total, complete });
  Object.assign(evidence.samples[1]!, { total, complete });
  Object.assign(evidence.prune, {
    before: [{ id: ID, isPrunable: true, jobs: total }],
    result: { batches: 1, jobs: total },
  });
  for (const entry of evidence.ledger) {
    if (entry.what === 'callback-start') entry.seen = { ...entry.seen!, total, complete };
    if (entry.what === 'closed') entry.total = total;
  }
  evidence.ledger.push(
    { ...stamp, what: 'workflow-starting', name },
    { ...stamp, what: 'workflow-started', name, runId: 'w1' },
    { ...stamp, what: 'enrolled', name },
    { ...stamp, what: 'workflow-acted', name, runId: 'w1' },
    { ...stamp, what: 'workflow-acted', name, runId: 'w2' },
  );
  return evidence;
}

/** Its workflow ended in another way, and its row says so. */
function endWorkflow(evidence: MutableEvidence, status: string, errorClass: string): void {
  const batch = evidence.batches[0]!;
  const counts = { complete: 2, failed: 2 };
  Object.assign(batch.workflows[0]!.chain!, { status });
  Object.assign(batch.jobs[3]!, { status: 'failed', errorClass });
  Object.assign(batch.rounds[0]!, counts);
  Object.assign(batch.runs[0]!.result as object, counts);
  Object.assign(evidence.samples[1]!, counts);
  for (const entry of evidence.ledger)
    if (entry.what === 'callback-start') entry.seen = { ...entry.seen!, ...counts };
}

/** Its workflow failed, was started again by hand, and completed in a second round. */
function withWorkflowStartedAgain(): MutableEvidence {
  const evidence = withWorkflow();
  const batch = evidence.batches[0]!;
  const name = 'workflow 0';
  endWorkflow(evidence, '', 'FlakyError');
  Object.assign(batch.workflows[0]!.chain!, { runIds: ['x1'], status: 'COMPLETED', endedAt: 2_500 });
  batch.expected.jobs[name]!.first = FAILURE;
  const end = { status: 'complete', total: 4, complete: 4, failed: 0 };
  const at = 3_000;
  batch.rounds.push({ round: 2, ...end, startedAt: 2_000, completedAt: at, settledAt: at, stopReason: null });
  batch.pastJobs.push(
    { position: 3, round: 1, status: 'failed', attempts: 4, errorClass: 'FlakyError' },
    { position: 4, round: 1, status: 'failed', attempts: 1, errorClass: 'FlakyError' },
  );
  for (const job of batch.jobs.slice(2))
    Object.assign(job, { round: 2, status: 'complete', attempts: 1, errorClass: null });
  batch.callbacks.push(
    { round: 2, event: 'complete', status: 'completed', attempts: 1 },
    { round: 2, event: 'settled', status: 'completed', attempts: 1 },
    { round: 2, event: 'failure', status: 'skipped', attempts: 0 },
  );
  batch.runs.push({
    ...batch.runs[0]!,
    runId: 'r2',
    round: 2,
    firstRunId: 'r2',
    result: { ...end, enrollmentError: null },
    scheduled: ['complete', 'settled'],
  });
  batch.row!.firstRunId = 'r2';
  const saw = { ...seen, ...end };
  evidence.ledger.push(
    { ...stamp, at: 1_400, what: 'workflow-started-again', name, round: 2, earlier: ['w1', 'w2'] },
    { ...stamp, at: 1_410, what: 'workflow-acted', name, runId: 'x1' },
    { ...stamp, at: 1_500, what: 'retrying', round: 2, retry: { cancelled: false, changes: {}, callers: 1 } },
    { ...stamp, at: 2_001, what: 'retried', round: 2 },
    { ...stamp, at, what: 'job-start', position: 3, attempt: 1 },
    { ...stamp, at, what: 'job-end', position: 3, attempt: 1 },
    ...called('complete', 'r2', at, saw),
    ...called('settled', 'r2', at, saw),
  );
  evidence.samples.push({ id: ID, round: 2, ...end, cancelled: 0 });
  return evidence;
}

/** Its enqueuer was killed as it started its workflow: nobody knows what became of that. */
function withLostStart(): MutableEvidence {
  const evidence = withWorkflow();
  endWorkflow(evidence, '', 'WorkflowNotStartedError');
  evidence.batches[0]!.workflows[0]!.chain = null;
  evidence.batches[0]!.jobs[3]!.workflow!.runId = null;
  without(evidence, ({ what }) => what === 'workflow-started' || what === 'workflow-acted');
  return evidence;
}

/** The same batch after it was stopped, with its third job never run. */
function stopped(stopReason: string, status = 'cancelled'): MutableEvidence {
  const evidence = clean();
  const batch = evidence.batches[0]!;
  const event = status === 'cancelled' ? 'cancelled' : 'failure';
  Object.assign(batch.rounds[0]!, { status, failed: 0, stopReason });
  Object.assign(batch.jobs[2]!, { status: 'pending', attempts: 0, errorClass: null });
  batch.callbacks[0]!.event = event;
  Object.assign(batch.runs[0]!, {
    result: { ...shown, status, failed: 0, enrollmentError: null },
    scheduled: [event, 'settled'],
    steering: stopReason === 'a fault' ? [{ verb: 'cancel' }] : [],
  });
  Object.assign(evidence.samples[1]!, { status, failed: 0, cancelled: 1 });
  for (const entry of evidence.ledger) {
    if ('event' in entry && entry.event === 'failure') entry.event = event;
    if (entry.what === 'callback-start') entry.seen = { ...seen, status, failed: 0, cancelled: 1 };
  }
  return evidence;
}

const DEADLINE = `its deadline has passed (${new Date(1_050).toISOString()})`;

function pastDeadline(): MutableEvidence {
  const evidence = stopped(DEADLINE, 'failed');
  evidence.batches[0]!.expected.deadlineMs = 150;
  evidence.batches[0]!.row!.deadlineAt = 1_050;
  return evidence;
}

function set(evidence: MutableEvidence, changes: Partial<PolicyPlan>): void {
  const [batch] = evidence.batches;
  Object.assign(batch!.expected.policy, changes);
  Object.assign(batch!.row!.policy, changes);
}

function update(evidence: MutableEvidence, changes: Partial<PolicyPlan>): void {
  const [batch] = evidence.batches;
  batch!.runs[0]!.steering.push({ verb: 'update', changes });
  Object.assign(batch!.row!.policy, changes);
}

function limit(evidence: MutableEvidence, changes: Partial<JobLimitPlan>): void {
  evidence.batches[0]!.runs[0]!.steering.push({ verb: 'update', changes });
}

const without = (evidence: MutableEvidence, isGone: (entry: LedgerEntry) => boolean) => {
  evidence.ledger = evidence.ledger.filter((entry) => !isGone(entry as LedgerEntry));
};

const CLEAN: readonly [string, () => MutableEvidence][] = [
  ['a batch with a failed job', clean],
  ['a batch that was retried', retried],
  ['a batch to which a job was added', grown],
  ['a batch with a workflow among its jobs', withWorkflow],
  ['a workflow of which nobody knows whether it was started, and which was not', withLostStart],
  ['a workflow that was started again by hand', withWorkflowStartedAgain],
  [
    'a workflow that was terminated',
    () => {
      const evidence = withWorkflow();
      endWorkflow(evidence, 'TERMINATED', 'WorkflowTerminatedError');
      evidence.endedWorkflows.push({ workflowId: `${ID}/workflow 0`, how: 'terminate' });
      return evidence;
    },
  ],
  [
    'jobs that start at a rate',
    () => {
      const evidence = clean();
      evidence.batches[0]!.expected.limits.perSecond = 5.5;
      return evidence;
    },
  ],
  [
    'a limit that was raised, and one that was lifted',
    () => {
      const evidence = clean();
      Object.assign(evidence.batches[0]!.expected.limits, { maxConcurrentJobs: 1, perSecond: 5 });
      limit(evidence, { maxConcurrentJobs: 2, perSecond: 6 });
      limit(evidence, { maxConcurrentJobs: null, perSecond: 4 });
      return evidence;
    },
  ],
  ['a batch that was cancelled', () => stopped('a fault')],
  ['a batch that its deadline failed', pastDeadline],
  [
    'a change that came after the failure that decided',
    () => {
      const evidence = clean();
      set(evidence, { failWhen: 'immediate' });
      update(evidence, { failWhenFailed: 'all' });
      return evidence;
    },
  ],
  [
    'a failure that was too much until jobs were added',
    () => {
      const evidence = grown();
      set(evidence, { failWhen: 'immediate', failWhenFailed: { moreThan: '25%' } });
      return evidence;
    },
  ],
  [
    'a second call for a round, which was refused',
    () => {
      const evidence = retried();
      evidence.ledger.push(
        { ...stamp, what: 'retrying', round: 2, retry: { cancelled: false, changes: {}, callers: 2 } },
        { ...stamp, what: 'not-retried', round: 2, error: 'BATCH_RUNNING' },
      );
      return evidence;
    },
  ],
];

test.each(CLEAN)('finds nothing wrong with %s', (_name, evidence) => {
  expect(check(evidence())).toEqual([]);
});

type Breakage = readonly [ViolationKind, RegExp, (evidence: MutableEvidence) => void];

const BREAKAGES: readonly Breakage[] = [
  ['stuck', /still runs/, (e) => (e.batches[0]!.runs[0]!.status = 'RUNNING')],
  ['stuck', /did not end on SIGTERM/, (e) => e.stubborn.push('worker 1')],
  ['wrong', /took a cancellation, and is failed/, (e) => e.cancelled.push(ID)],
  [
    'wrong',
    /took a cancellation, and went on to be failed/,
    (e) => e.batches[0]!.runs[0]!.steering.push({ verb: 'cancel' }),
  ],
  ['stuck', /session of Postgres is left/, (e) => e.sessions.push('idle in transaction')],
  ['stuck', /ended and is running/, (e) => (e.batches[0]!.rounds[0]!.status = 'running')],
  ['lost', /no row/, (e) => (e.batches[0]!.row = null)],
  ['lost', /members without a row/, (e) => e.batches[0]!.jobs.pop()],
  ['lost', /not terminal/, (e) => (e.batches[0]!.jobs[1]!.status = 'pending')],
  ['lost', /never returned: job 1/, (e) => without(e, (l) => l.what === 'job-end' && l.position === 1)],
  ['lost', /never started: job 3/, (e) => without(e, (l) => l.what === 'job-start' && l.position === 3)],
  [
    'lost',
    /'settled' never returned/,
    (e) => without(e, (l) => l.what === 'callback-end' && l.event === 'settled'),
  ],
  ['lost', /'failure' is running/, (e) => (e.batches[0]!.callbacks[0]!.status = 'running')],
  ['wrong', /'complete' is completed, and/, (e) => (e.batches[0]!.callbacks[2]!.status = 'completed')],
  ['lost', /'settled' was never scheduled/, (e) => e.batches[0]!.runs[0]!.scheduled.pop()],
  ['wrong', /total is 2/, (e) => (e.batches[0]!.rounds[0]!.total = 2)],
  ['lost', /2 of 3 jobs are members/, (e) => e.batches[0]!.jobs.pop()],
  ['lost', /1 were not started/, (e) => without(e, (l) => l.what === 'enrolled' && l.name === '2')],
  ['doubled', /'failure' was scheduled 2 times/, (e) => e.batches[0]!.runs[0]!.scheduled.push('failure')],
  ['doubled', /both 'complete' and 'failure'/, (e) => e.batches[0]!.runs[0]!.scheduled.push('complete')],
  ['doubled', /both 'failure' and 'cancelled'/, (e) => e.batches[0]!.runs[0]!.scheduled.push('cancelled')],
  [
    'doubled',
    /'settled' started with attempts 1, 1/,
    (e) => e.ledger.push(called('settled', 'r')[0] as (typeof e.ledger)[number]),
  ],
  [
    'doubled',
    /effect of 'failure' was committed 2 times/,
    (e) => e.batches[0]!.effects.push({ event: 'failure', runId: 'r' }, { event: 'failure', runId: 'r' }),
  ],
  [
    'wrong',
    /not the batch's/,
    (e) => e.ledger.push(called('settled', 'another')[0] as (typeof e.ledger)[number]),
  ],
  ['doubled', /counted more than once: job 1/, (e) => (e.batches[0]!.jobs[0]!.attempts = 2)],
  [
    'doubled',
    /beyond maximumAttempts: job 3/,
    (e) => e.ledger.push({ ...stamp, what: 'job-start', position: 3, attempt: 5 }),
  ],
  [
    'doubled',
    /ran ahead of the row/,
    (e) =>
      e.ledger.forEach((entry) => {
        if (entry.what === 'callback-start') Object.assign(entry, { seen: { ...seen, status: 'running' } });
      }),
  ],
  ['wrong', /should be failed/, (e) => (e.batches[0]!.rounds[0]!.status = 'complete')],
  ['wrong', /should be complete/, (e) => set(e, { failWhenFailed: { moreThan: 1 } })],
  ['wrong', /should be complete/, (e) => set(e, { failWhenFailed: { moreThan: '33.5%' } })],
  ['wrong', /should be complete/, (e) => set(e, { failWhenFailed: 'all' })],
  ['wrong', /should be complete/, (e) => update(e, { failWhenFailed: 'all' })],
  ['wrong', /the row has/, (e) => (e.batches[0]!.row!.policy.failWhen = 'immediate')],
  ['wrong', /blamed: job 3/, (e) => (e.batches[0]!.jobs[2]!.errorClass = 'WorkerLostError')],
  ['wrong', /other than planned: job 1/, (e) => (e.batches[0]!.jobs[0]!.status = 'failed')],
  ['wrong', /attempts not counted: job 3/, (e) => (e.batches[0]!.jobs[2]!.attempts = 3)],
  ['wrong', /before their row existed: job 2/, (e) => (e.batches[0]!.jobs[1]!.createdAt = 5_000)],
  ['wrong', /results of jobs that have none: job 1/, (e) => (e.batches[0]!.jobs[0]!.result = {} as never)],
  ['wrong', /counters/, (e) => (e.batches[0]!.rounds[0]!.complete = 3)],
  [
    'wrong',
    /the workflow says/,
    (e) => Object.assign(e.batches[0]!.runs[0]!.result as object, { complete: 1 }),
  ],
  ['wrong', /without settled_at/, (e) => (e.batches[0]!.rounds[0]!.settledAt = null)],
  ['wrong', /ended as FAILED/, (e) => (e.batches[0]!.runs[0]!.status = 'FAILED')],
  [
    'wrong',
    /ran before the jobs/,
    (e) =>
      e.ledger.forEach((entry) => {
        if (entry.what === 'callback-start') Object.assign(entry, { seen: { ...seen, pending: 1 } });
      }),
  ],
  [
    'wrong',
    /'settled' started before 'failure' had returned/,
    (e) => e.ledger.splice(-4, 4, ...e.ledger.slice(-2), ...e.ledger.slice(-4, -2)),
  ],
  ['wrong', /counters above total/, (e) => (e.samples[0]!.complete = 9)],
  ['wrong', /went back/, (e) => (e.samples = e.samples.toReversed())],
  ['wrong', /total changed after the seal/, (e) => (e.samples[0]!.status = 'running')],
  [
    'wrong',
    /2 jobs ran at once, and 1 may/,
    (e) => {
      e.batches[0]!.expected.limits.maxConcurrentJobs = 1;
      // It has started again before it has ended.
      e.ledger.push(
        ...[1, 2].map((position) => ({ ...stamp, what: 'job-start' as const, position, attempt: 1 })),
      );
    },
  ],
  [
    'wrong',
    /2 jobs named Work ran at once, and 1 may/,
    (e) => {
      e.batches[0]!.expected.jobLimits['Work'] = { maxConcurrentJobs: 1, perSecond: null };
      e.ledger.push(
        ...[1, 2].map((position) => ({ ...stamp, what: 'job-start' as const, position, attempt: 1 })),
      );
    },
  ],
  ['wrong', /6 jobs started in a second, and 5 may/, (e) => (e.batches[0]!.expected.limits.perSecond = 4.5)],
  [
    'wrong',
    /6 jobs named Work started in a second, and 5 may/,
    (e) => (e.batches[0]!.expected.jobLimits['Work'] = { maxConcurrentJobs: null, perSecond: 5 }),
  ],
  [
    'wrong',
    /6 jobs started in a second, and 5 may/,
    (e) => {
      e.batches[0]!.expected.limits.perSecond = 4;
      limit(e, { perSecond: 5 });
    },
  ],
  ['wrong', /another name than planned: job 1/, (e) => (e.batches[0]!.jobs[0]!.workerClass = 'Side work')],
  ['wrong', /no alert was to be given/, (e) => e.batches[0]!.runs[0]!.scheduled.push('idle')],
  [
    'doubled',
    /'idle' ran 2 times for 1 alerts/,
    (e) => {
      e.batches[0]!.expected.alertsWhenIdle = true;
      e.batches[0]!.row!.alerts = 1;
      e.batches[0]!.runs[0]!.scheduled.push('idle', 'idle');
    },
  ],
  [
    'lost',
    /'idle' is scheduled/,
    (e) => e.batches[0]!.callbacks.push({ round: 1, event: 'idle', status: 'scheduled', attempts: 0 }),
  ],
  [
    'doubled',
    /gave a batch made at 800/,
    (e) => e.ledger.push({ ...stamp, what: 'created-again', createdAt: 800 }),
  ],
  [
    'wrong',
    /once more was refused: BATCH_EXISTS/,
    (e) => e.ledger.push({ ...stamp, what: 'not-created-again', error: 'BATCH_EXISTS' }),
  ],
  [
    'wrong',
    /after its deadline/,
    (e) => {
      e.batches[0]!.row!.deadlineAt = 1_000;
      e.batches[0]!.rounds[0]!.settledAt = 100_000;
    },
  ],
  ['stuck', /left rows of it in batch_jobs/, (e) => (e.prune.left['batch_jobs'] = [ID])],
  ['lost', /was not over/, (e) => (e.prune.before[0]!.isPrunable = false)],
  ['wrong', /says that it removed/, (e) => (e.prune.result.jobs = 2)],
];

const BREAKAGES_OF_ROUNDS: readonly Breakage[] = [
  [
    'doubled',
    /ran again in a later round: job 1/,
    (e) => e.ledger.push({ ...stamp, at: 2_500, what: 'job-start', position: 1, attempt: 1 }),
  ],
  [
    'lost',
    /next round left out: job 3/,
    (e) => Object.assign(e.batches[0]!.jobs[2]!, { round: 1, status: 'failed' }),
  ],
  ['lost', /never returned: job 3/, (e) => without(e, (l) => l.what === 'job-end' && l.position === 3)],
  ['lost', /'complete' was never scheduled in round 2/, (e) => e.batches[0]!.runs[1]!.scheduled.shift()],
  ['lost', /'settled' was never scheduled/, (e) => e.batches[0]!.runs[0]!.scheduled.pop()],
  [
    'doubled',
    /'complete' was scheduled 2 times in round 2/,
    (e) => e.batches[0]!.runs[1]!.scheduled.push('complete'),
  ],
  [
    'doubled',
    /both 'complete' and 'failure' started in round 2/,
    (e) => e.batches[0]!.runs[1]!.scheduled.push('failure'),
  ],
  ['lost', /'settled' is without a row in round 2/, (e) => e.batches[0]!.callbacks.splice(4, 1)],
  [
    'wrong',
    /complete in round 2, and should be failed/,
    (e) => {
      e.batches[0]!.rounds[1]!.failed = 1;
    },
  ],
  ['wrong', /counters .* in round 2/, (e) => (e.batches[0]!.rounds[1]!.failed = 1)],
  ['wrong', /counters/, (e) => e.batches[0]!.pastJobs.pop()],
  [
    'wrong',
    /ended an earlier round other than planned: job 3/,
    (e) => (e.batches[0]!.pastJobs[0]!.attempts = 3),
  ],
  ['wrong', /whose round was kept as over: job 3/, (e) => (e.batches[0]!.pastJobs[0]!.round = 2)],
  ['wrong', /fewer jobs than the one before/, (e) => (e.batches[0]!.rounds[1]!.complete = 1)],
  [
    'lost',
    /round 3 was opened, and is not there/,
    (e) => e.ledger.push({ ...stamp, what: 'retried', round: 3 }),
  ],
  ['doubled', /opened by more than one: 2, 2/, (e) => e.ledger.push({ ...stamp, what: 'retried', round: 2 })],
  ['wrong', /nobody asked for round 2/, (e) => without(e, (l) => l.what === 'retrying')],
  [
    'wrong',
    /refused with BATCH_RUNNING/,
    (e) => e.ledger.push({ ...stamp, what: 'not-retried', round: 2, error: 'BATCH_RUNNING' }),
  ],
  [
    'wrong',
    /refused with NOTHING_TO_RETRY/,
    (e) => e.ledger.push({ ...stamp, what: 'not-retried', round: 2, error: 'NOTHING_TO_RETRY' }),
  ],
  [
    'wrong',
    /refused with EMPTY_BATCH/,
    (e) => e.ledger.push({ ...stamp, what: 'not-retried', round: 2, error: 'EMPTY_BATCH' }),
  ],
  ['wrong', /went back/, (e) => (e.samples.at(-1)!.round = 0)],
];

const BREAKAGES_OF_FAMILIES: readonly Breakage[] = [
  ['lost', /that a complete job has added: job 0\.0/, (e) => e.batches[0]!.jobs.pop()],
  [
    'doubled',
    /same name or key: job 0\.0/,
    (e) => e.batches[0]!.jobs.push({ ...e.batches[0]!.jobs[3]!, position: 5 }),
  ],
  [
    'wrong',
    /whose parent never ran: job 0\.0/,
    (e) => without(e, (l) => l.what === 'job-start' && l.position === 1),
  ],
  ['wrong', /nobody has started: job 4/, (e) => (e.batches[0]!.jobs[3]!.name = '7')],
  [
    'wrong',
    /jid is that of another job: job 0/,
    (e) => e.ledger.push({ ...stamp, what: 'enrolled', jid: `${ID}/4`, name: '0' }),
  ],
  ['lost', /jid was given away, and whose row is not there: job 2/, (e) => e.batches[0]!.jobs.splice(2, 1)],
  ['lost', /without their result: job 2/, (e) => (e.batches[0]!.jobs[1]!.result = null)],
  ['wrong', /no execution has returned: job 2/, (e) => (e.batches[0]!.jobs[1]!.result!.nonce = 'n1')],
];

const BREAKAGES_OF_WORKFLOWS: readonly Breakage[] = [
  [
    'doubled',
    /was started more than once/,
    (e) => e.ledger.push({ ...stamp, what: 'workflow-acted', name: 'workflow 0', runId: 'x1' }),
  ],
  [
    'doubled',
    /were started by two calls: job workflow 0/,
    (e) => e.ledger.push({ ...stamp, what: 'workflow-started', name: 'workflow 0', runId: 'w1' }),
  ],
  ['doubled', /counted more than once: job workflow 0/, (e) => (e.batches[0]!.jobs[3]!.attempts = 2)],
  [
    'doubled',
    /same name or key: job workflow 0/,
    (e) => e.batches[0]!.jobs.push({ ...e.batches[0]!.jobs[3]!, position: 5 }),
  ],
  [
    'lost',
    /a run of it never acted/,
    (e) => without(e, (l) => l.what === 'workflow-acted' && l.runId === 'w2'),
  ],
  ['lost', /were started, and are no jobs: job workflow 0/, (e) => e.batches[0]!.jobs.pop()],
  [
    'lost',
    /ran, and are no jobs: job workflow 0/,
    (e) => {
      e.batches[0]!.jobs.pop();
      without(e, ({ what }) => what === 'workflow-started');
    },
  ],
  ['lost', /3 of 4 jobs are members/, (e) => e.batches[0]!.jobs.pop()],
  ['lost', /was started, and is gone/, (e) => (e.batches[0]!.workflows[0]!.chain = null)],
  ['lost', /not terminal: job 4/, (e) => (e.batches[0]!.jobs[3]!.status = 'pending')],
  ['stuck', /nothing became: job b\/workflow 1/, (e) => e.batches[0]!.openStarts.push(`${ID}/workflow 1`)],
  ['wrong', /other than their workflow: job workflow 0/, (e) => (e.batches[0]!.jobs[3]!.status = 'failed')],
  [
    'wrong',
    /other than their workflow: job workflow 0/,
    (e) => (e.batches[0]!.workflows[0]!.chain!.status = 'RUNNING'),
  ],
  [
    'wrong',
    /other than their workflow: job workflow 0/,
    (e) => endWorkflow(e, 'TERMINATED', 'WorkflowCancelledError'),
  ],
  ['wrong', /ended as TERMINATED/, (e) => endWorkflow(e, 'TERMINATED', 'WorkflowTerminatedError')],
  ['wrong', /ended as CANCELLED/, (e) => endWorkflow(e, 'CANCELLED', 'WorkflowCancelledError')],
  ['wrong', /ended as FAILED/, (e) => endWorkflow(e, 'FAILED', 'FlakyError')],
  [
    'wrong',
    /held to be not started: job workflow 0/,
    (e) => (e.batches[0]!.jobs[3]!.errorClass = 'WorkflowNotStartedError'),
  ],
  ['wrong', /are another workflow: job workflow 0/, (e) => (e.batches[0]!.jobs[3]!.workflow!.runId = 'x1')],
  ['wrong', /not counted: job workflow 0/, (e) => (e.batches[0]!.jobs[3]!.attempts = 0)],
  [
    'wrong',
    /ended after a callback had started: job workflow 0/,
    (e) => (e.batches[0]!.workflows[0]!.chain!.endedAt = 1_050),
  ],
  [
    'wrong',
    /earlier round other than their workflow: job workflow 0/,
    (e) =>
      e.batches[0]!.pastJobs.push({ position: 4, round: 1, status: 'failed', attempts: 1, errorClass: 'X' }),
  ],
  [
    'wrong',
    /was refused with WorkflowExecutionAlreadyStartedError/,
    (e) =>
      e.ledger.push({
        ...stamp,
        what: 'workflow-not-started',
        name: 'workflow 0',
        error: 'WorkflowExecutionAlreadyStartedError',
        message: 'It runs',
      }),
  ],
  [
    'wrong',
    /was refused with WORKFLOW_ENROLLED/,
    (e) =>
      e.ledger.push({
        ...stamp,
        what: 'workflow-not-started',
        name: 'workflow 0',
        error: 'WORKFLOW_ENROLLED',
        message: 'It is a job',
      }),
  ],
  ['wrong', /nobody has started: job 4/, (e) => (e.batches[0]!.jobs[3]!.name = 'a child')],
];

const BREAKAGES_OF_WORKFLOWS_STARTED_AGAIN: readonly Breakage[] = [
  [
    'wrong',
    /other than their workflow: job workflow 0/,
    (e) => Object.assign(e.batches[0]!.jobs[3]!, { status: 'failed', errorClass: 'FlakyError' }),
  ],
  [
    'wrong',
    /ended after a callback had started: job workflow 0/,
    (e) => (e.batches[0]!.workflows[0]!.chain!.endedAt = 3_050),
  ],
  ['wrong', /ended as FAILED/, (e) => (e.batches[0]!.workflows[0]!.chain!.status = 'FAILED')],
  [
    'doubled',
    /was started more than once/,
    (e) => e.ledger.push({ ...stamp, at: 2_000, what: 'workflow-acted', name: 'workflow 0', runId: 'x2' }),
  ],
];

const BREAKAGES_OF_STOPS: readonly [ViolationKind, RegExp, () => MutableEvidence][] = [
  [
    'wrong',
    /nobody was to cancel it/,
    () => {
      const evidence = stopped('a fault');
      evidence.batches[0]!.runs[0]!.steering = [];
      return evidence;
    },
  ],
  [
    'wrong',
    /should be cancelled/,
    () => {
      const evidence = stopped('a fault', 'failed');
      return evidence;
    },
  ],
  [
    'wrong',
    /stopped itself without a reason/,
    () => stopped('too many jobs failed (failWhenFailed: any)', 'failed'),
  ],
  ['wrong', /by a deadline that it did not have/, () => stopped(DEADLINE, 'failed')],
  [
    'wrong',
    /should be cancelled/,
    () => {
      const evidence = pastDeadline();
      set(evidence, { afterDeadline: 'cancel' });
      return evidence;
    },
  ],
  [
    'wrong',
    /before its deadline/,
    () => {
      const evidence = pastDeadline();
      evidence.batches[0]!.rounds[0]!.settledAt = 1_000;
      return evidence;
    },
  ],
];

function expectFound(evidence: Evidence, kind: ViolationKind, message: RegExp): void {
  expect(check(evidence)).toContainEqual(
    expect.objectContaining({ kind, message: expect.stringMatching(message) as string }),
  );
}

describe.each([
  ['a batch', clean, BREAKAGES],
  ['a batch that was retried', retried, BREAKAGES_OF_ROUNDS],
  ['jobs that were added', grown, BREAKAGES_OF_FAMILIES],
  ['a workflow among the jobs', withWorkflow, BREAKAGES_OF_WORKFLOWS],
  ['a workflow that was started again', withWorkflowStartedAgain, BREAKAGES_OF_WORKFLOWS_STARTED_AGAIN],
] as const)('with %s', (_name, intact, breakages) => {
  test.each(breakages)('finds what is %s: %s', (kind, message, breakIt) => {
    const evidence = intact();
    breakIt(evidence);
    expectFound(evidence, kind, message);
  });
});

test.each(BREAKAGES_OF_STOPS)(
  'finds what is %s with a batch that was stopped: %s',
  (kind, message, broken) => {
    expectFound(broken(), kind, message);
  },
);

describe('a batch that waits without a reason', () => {
  /** Its third job starts eight seconds after the others. */
  const late = (change: (evidence: MutableEvidence) => void = () => {}): string[] => {
    const evidence = clean();
    const at = 9_000;
    for (const entry of evidence.ledger) {
      const isLate = 'position' in entry ? entry.position === 3 : entry.what.startsWith('callback');
      if (isLate) entry.at = at;
    }
    Object.assign(evidence.batches[0]!.rounds[0]!, { completedAt: at + 100, settledAt: at + 100 });
    change(evidence);
    return check(evidence as Evidence).map(({ message }) => message);
  };

  test('is found', () => {
    expect(late()).toEqual([expect.stringMatching(/^no job started for 6\.1 s/)]);
  });

  test.each<[string, (evidence: MutableEvidence) => void]>([
    ['that just came', ({ batches }) => (batches[0]!.jobs[2]!.createdAt = 4_000)],
    ['with a start delay', ({ batches }) => (batches[0]!.expected.jobs['2']!.startDelayMs = 8_000)],
    ['of a batch with limits', ({ batches }) => (batches[0]!.expected.limits.maxConcurrentJobs = 1)],
    ['after a fault', ({ disturbances }) => disturbances!.push({ from: 500, to: 600 })],
    ['where it is not known when processes died', (evidence) => (evidence.disturbances = null)],
    [
      'while all slots are taken',
      (evidence) => {
        evidence.slots = 1;
        // The second job ends as late as the third one starts.
        for (const entry of evidence.ledger)
          if (entry.what === 'job-end' && entry.position === 2) entry.at = 9_000;
      },
    ],
  ])('is not one that has a job %s', (_why, change) => {
    expect(late(change)).toEqual([]);
  });
});
