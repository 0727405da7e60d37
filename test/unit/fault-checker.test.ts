import { expect, test } from 'vitest';
import { check, type ViolationKind } from '../faults/checker.ts';
import type { BatchEvidence, Evidence } from '../faults/evidence.ts';
import type { LedgerEntry } from '../faults/ledger.ts';

const ID = 'b';
const stamp = { batch: ID, pid: 1, at: 1_000 };
const seen = { status: 'failed', total: 3, complete: 2, failed: 1, pending: 0, isSettled: true };
const shown = { status: 'failed', total: 3, complete: 2, failed: 1 };

type Mutable<T> = T extends readonly (infer Item)[]
  ? Mutable<Item>[]
  : T extends object
    ? { -readonly [Key in keyof T]: Mutable<T[Key]> }
    : T;
type MutableEvidence = Mutable<Evidence>;

/** What a round leaves behind in which one batch of three jobs ran, and the last job failed as planned. */
function clean(): MutableEvidence {
  const jobs = [1, 2, 3].map((position) => ({
    position,
    status: position === 3 ? 'failed' : 'complete',
    attempts: position === 3 ? 4 : 1,
    errorClass: position === 3 ? 'FlakyError' : null,
    createdAt: 900,
  }));
  const ledger: LedgerEntry[] = [
    { ...stamp, what: 'created' },
    { ...stamp, what: 'registered', event: 'failure' },
    { ...stamp, what: 'registered', event: 'settled' },
    ...[1, 2, 3].map((position) => ({ ...stamp, what: 'enrolled' as const, jid: `${ID}/${position}` })),
    { ...stamp, what: 'closed', total: 3 },
    ...[1, 2].flatMap((position) => [
      { ...stamp, what: 'job-start' as const, position, attempt: 1 },
      { ...stamp, what: 'job-end' as const, position, attempt: 1 },
    ]),
    ...[1, 2, 3, 4].map((attempt) => ({ ...stamp, what: 'job-start' as const, position: 3, attempt })),
    { ...stamp, what: 'callback-start', event: 'failure', attempt: 1, seen },
    { ...stamp, what: 'callback-end', event: 'failure', attempt: 1 },
    { ...stamp, what: 'callback-start', event: 'settled', attempt: 1, seen },
    { ...stamp, what: 'callback-end', event: 'settled', attempt: 1 },
  ];
  const batch: BatchEvidence = {
    id: ID,
    expected: {
      jobs: jobs.map(({ status, attempts, errorClass }) => ({
        end: status as 'complete' | 'failed',
        attempts,
        errorClass,
      })),
      failWhen: 'settled',
      throwsAt: null,
      isEnqueuerDoomed: false,
      isTransactional: false,
      mayBeCancelled: false,
    },
    row: {
      ...shown,
      enrollmentError: null,
      isSealed: true,
      isCompleted: true,
      isSettled: true,
      isStopped: false,
    },
    jobs,
    callbacks: [
      { event: 'failure', status: 'completed', attempts: 1 },
      { event: 'settled', status: 'completed', attempts: 1 },
    ],
    effects: [],
    runs: [
      {
        workflowId: `batch:${ID}`,
        runId: 'r',
        status: 'COMPLETED',
        result: { ...shown, enrollmentError: null },
        scheduled: ['failure', 'settled'],
      },
    ],
  };
  return structuredClone({
    batches: [batch],
    ledger,
    samples: [
      { id: ID, status: 'pending', total: 2, complete: 1, failed: 0 },
      { id: ID, ...shown },
    ],
    maximumAttempts: 4,
    stubborn: [],
    cancelled: [],
    sessions: [],
  } satisfies Evidence) as unknown as MutableEvidence;
}

const without = (evidence: MutableEvidence, isGone: (entry: LedgerEntry) => boolean) => {
  evidence.ledger = evidence.ledger.filter((entry) => !isGone(entry as LedgerEntry));
};

test('finds nothing where nothing is wrong', () => {
  expect(check(clean())).toEqual([]);
});

const BREAKAGES: readonly [ViolationKind, RegExp, (evidence: MutableEvidence) => void][] = [
  ['stuck', /still runs/, (e) => (e.batches[0]!.runs[0]!.status = 'RUNNING')],
  ['stuck', /did not end on SIGTERM/, (e) => e.stubborn.push('worker 1')],
  ['wrong', /took a cancellation, and is failed/, (e) => e.cancelled.push(ID)],
  ['wrong', /nobody was to cancel it/, (e) => (e.batches[0]!.row!.isStopped = true)],
  ['wrong', /was stopped, and is failed/, (e) => (e.batches[0]!.row!.isStopped = true)],
  ['stuck', /session of Postgres is left/, (e) => e.sessions.push('idle in transaction')],
  ['stuck', /ended and is running/, (e) => (e.batches[0]!.row!.status = 'running')],
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
  ['lost', /'settled' was never scheduled/, (e) => e.batches[0]!.runs[0]!.scheduled.pop()],
  ['lost', /total is 2/, (e) => (e.batches[0]!.row!.total = 2)],
  ['doubled', /'failure' was scheduled 2 times/, (e) => e.batches[0]!.runs[0]!.scheduled.push('failure')],
  ['doubled', /both 'complete' and 'failure'/, (e) => e.batches[0]!.runs[0]!.scheduled.push('complete')],
  [
    'doubled',
    /'settled' started with attempts 1, 1/,
    (e) => e.ledger.push({ ...stamp, what: 'callback-start', event: 'settled', attempt: 1, seen }),
  ],
  [
    'doubled',
    /effect of 'failure' was committed 2 times/,
    (e) => e.batches[0]!.effects.push('failure', 'failure'),
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
  ['wrong', /should be failed/, (e) => (e.batches[0]!.row!.status = 'complete')],
  ['wrong', /blamed: job 3/, (e) => (e.batches[0]!.jobs[2]!.errorClass = 'WorkerLostError')],
  ['wrong', /other than planned: job 1/, (e) => (e.batches[0]!.jobs[0]!.status = 'failed')],
  ['wrong', /attempts not counted: job 3/, (e) => (e.batches[0]!.jobs[2]!.attempts = 3)],
  ['wrong', /before their row existed: job 2/, (e) => (e.batches[0]!.jobs[1]!.createdAt = 5_000)],
  ['wrong', /counters/, (e) => (e.batches[0]!.row!.complete = 3)],
  [
    'wrong',
    /the workflow says/,
    (e) => Object.assign(e.batches[0]!.runs[0]!.result as object, { complete: 1 }),
  ],
  ['wrong', /without settled_at/, (e) => (e.batches[0]!.row!.isSettled = false)],
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
];

test.each(BREAKAGES)('finds what is %s: %s', (kind, message, breakIt) => {
  const evidence = clean();
  breakIt(evidence);
  const violations = check(evidence);
  expect(violations).toContainEqual(
    expect.objectContaining({ kind, message: expect.stringMatching(message) as string }),
  );
});
