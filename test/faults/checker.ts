import type { BatchEvidence, BatchRow, Evidence, JobRow } from './evidence.ts';
import type { CallbackEntry, CallbackEvent, EnqueuerEntry, JobEntry } from './ledger.ts';

export type ViolationKind = 'lost' | 'doubled' | 'stuck' | 'wrong';

export interface Violation {
  readonly kind: ViolationKind;
  readonly batch: string | null;
  readonly message: string;
}

/** What the ledger says of one batch. */
interface Told {
  readonly starts: readonly JobEntry[];
  readonly ends: readonly JobEntry[];
  readonly callbacks: readonly CallbackEntry[];
  readonly created: boolean;
  readonly registered: ReadonlySet<CallbackEvent>;
  readonly enrolled: number;
  readonly closed: EnqueuerEntry | undefined;
  readonly broken: EnqueuerEntry | undefined;
}

const EVENTS: readonly CallbackEvent[] = ['complete', 'failure', 'settled'];
const STATUSES = ['pending', 'running', 'complete', 'failed', 'cancelled'];
/** Errors of a call that came to nothing: the block never began, and the batch ends by its timeouts. */
const NEVER_BEGAN = ['WORKER_UNAVAILABLE', 'TEMPORAL_UNAVAILABLE', 'BATCH_SETTLED', 'ENROLLMENT_TIMED_OUT'];
/** Errors of a block whose batch was cancelled meanwhile. */
const CANCELLED = ['BATCH_CANCELLED', 'BATCH_SETTLED'];
/** Epoch milliseconds of the ledger are whole. */
const CLOCK_STEP_MS = 2;
const EXAMPLES = 5;

/**
 * Judges what a round left behind, by the guarantees alone: it shares no rule and no query with the library.
 *
 * @returns everything that should not be
 */
export function check(evidence: Evidence): Violation[] {
  const violations: Violation[] = [];
  for (const who of evidence.stubborn) {
    violations.push({ kind: 'stuck', batch: null, message: `${who} did not end on SIGTERM` });
  }
  for (const session of evidence.sessions) {
    violations.push({ kind: 'stuck', batch: null, message: `a session of Postgres is left: ${session}` });
  }
  for (const batch of evidence.batches) {
    violations.push(...new BatchCheck(evidence, batch).run());
  }
  return violations;
}

class BatchCheck {
  readonly #evidence: Evidence;
  readonly #batch: BatchEvidence;
  readonly #told: Told;
  readonly #violations: Violation[] = [];

  constructor(evidence: Evidence, batch: BatchEvidence) {
    this.#evidence = evidence;
    this.#batch = batch;
    this.#told = tell(evidence, batch.id);
  }

  run(): Violation[] {
    const { row, runs } = this.#batch;
    this.#checkCallbacksDoubled();
    this.#checkSamples();
    const isStuck = this.#checkRuns();
    this.#checkEnqueuer();
    if (row === null) {
      // Its enqueuer may have died before the batch was made; then there is nothing to judge.
      if (this.#told.created) this.#add('lost', 'the batch has no row');
      return this.#violations;
    }
    if (runs.length === 0) this.#add('lost', 'the batch has a row and no workflow');
    if (isStuck) return this.#violations;
    this.#checkEnd(row);
    this.#checkMembers(row);
    this.#checkJobs();
    this.#checkCounts(row);
    this.#checkOutcome(row);
    for (const event of EVENTS) this.#checkCallback(row, event);
    this.#checkCallbackOrder();
    return this.#violations;
  }

  #add(kind: ViolationKind, message: string): void {
    this.#violations.push({ kind, batch: this.#batch.id, message });
  }

  /** One violation for all jobs that break a rule. */
  #addJobs(kind: ViolationKind, rule: string, positions: readonly number[]): void {
    if (positions.length === 0) return;
    const examples = positions.slice(0, EXAMPLES).join(', ');
    const more = positions.length > EXAMPLES ? ` and ${positions.length - EXAMPLES} more` : '';
    this.#add(kind, `${rule}: ${positions.length === 1 ? 'job' : 'jobs'} ${examples}${more}`);
  }

  /** @returns whether something of the batch still runs */
  #checkRuns(): boolean {
    const { id, runs } = this.#batch;
    let isStuck = false;
    const last = new Map(runs.map((run) => [run.workflowId, run]));
    for (const { workflowId, status } of last.values()) {
      if (status === 'RUNNING') {
        isStuck = true;
        this.#add('stuck', `${workflowId} still runs`);
      }
      const isOwn = workflowId === `batch:${id}`;
      // Runners are terminated on purpose. A batch is terminated by a create() that found no worker.
      const isAllowed =
        status === 'COMPLETED' ||
        status === 'RUNNING' ||
        (status === 'TERMINATED' && (workflowId.includes('/runner/') || (isOwn && !this.#told.created)));
      if (!isAllowed) this.#add('wrong', `${workflowId} ended as ${status}`);
    }
    return isStuck;
  }

  #checkEnqueuer(): void {
    const { expected, row } = this.#batch;
    const { closed, broken, created, enrolled } = this.#told;
    if (broken && !created && !expected.isEnqueuerDoomed) {
      this.#add('wrong', `the batch could not be made: ${broken.error}: ${broken.message}`);
    }
    if (closed) {
      if (closed.total !== expected.jobs.length) {
        this.#add('lost', `jobs() resolved with ${closed.total} of ${expected.jobs.length} jobs`);
      }
      if (row && row.enrollmentError !== null) {
        this.#add('wrong', `jobs() resolved, and the batch says: ${row.enrollmentError}`);
      }
    }
    if (broken && created && !this.#isPlannedBreak() && !this.#hasNeverBegun() && !this.#isGivenUp()) {
      this.#add('wrong', `jobs() threw after ${enrolled} jobs: ${broken.error}: ${broken.message}`);
    }
    if (!closed && !broken && !expected.isEnqueuerDoomed) this.#add('stuck', 'jobs() did not end');
  }

  #isPlannedBreak(): boolean {
    return this.#batch.expected.throwsAt !== null && this.#told.broken?.error === 'BlockError';
  }

  #hasNeverBegun(): boolean {
    const { broken, enrolled } = this.#told;
    return broken !== undefined && enrolled === 0 && NEVER_BEGAN.includes(broken.error!);
  }

  /** The enqueuer was silent for too long, or its batch was cancelled, and heard so. */
  #isGivenUp(): boolean {
    if (this.#batch.row?.isStopped && CANCELLED.includes(this.#told.broken?.error ?? '')) return true;
    return this.#batch.expected.isEnqueuerDoomed && this.#told.broken?.error === 'ENROLLMENT_TIMED_OUT';
  }

  #checkEnd(row: BatchRow): void {
    const { status, isSealed, isCompleted, isSettled } = row;
    if (!STATUSES.slice(2).includes(status)) this.#add('stuck', `the batch ended and is ${status}`);
    if (!isSealed) this.#add('wrong', 'the batch ended without sealed_at');
    if (!isCompleted) this.#add('wrong', 'the batch ended without completed_at');
    if (!isSettled) this.#add('wrong', 'the batch ended without settled_at');
  }

  #checkMembers(row: BatchRow): void {
    const { jobs, expected } = this.#batch;
    const present = new Set(jobs.map(({ position }) => position));
    const all = Array.from({ length: row.total }, (_, index) => index + 1);
    this.#addJobs(
      'lost',
      'members without a row',
      all.filter((position) => !present.has(position)),
    );
    this.#addJobs(
      'wrong',
      'rows beyond the total',
      [...present].filter((position) => position > row.total),
    );
    const { closed } = this.#told;
    if (closed && row.total !== closed.total) {
      this.#add('lost', `jobs() resolved with ${closed.total} jobs, and the total is ${row.total}`);
    }
    const mayBeCut = expected.isEnqueuerDoomed || row.isStopped;
    if (this.#isPlannedBreak() && !mayBeCut && row.total !== expected.throwsAt) {
      this.#add('lost', `the block broke after ${expected.throwsAt} jobs, and the total is ${row.total}`);
    }
  }

  #checkJobs(): void {
    const { jobs, expected } = this.#batch;
    const started = new Map<number, JobEntry[]>();
    for (const entry of this.#told.starts) {
      const entries = started.get(entry.position);
      if (entries) entries.push(entry);
      else started.set(entry.position, [entry]);
    }
    const ended = new Set(this.#told.ends.map(({ position }) => position));
    const where = (isBroken: (job: JobRow) => boolean) =>
      jobs.filter(isBroken).map(({ position }) => position);
    const planned = ({ position }: JobRow) => expected.jobs[position - 1];
    this.#addJobs(
      'lost',
      'members that are not terminal',
      // What a stopped batch did not come to is cancelled.
      where(({ status }) => status === 'pending' && this.#batch.row?.isStopped !== true),
    );
    this.#addJobs(
      'lost',
      'complete jobs whose handler never returned',
      where(({ status, position }) => status === 'complete' && !ended.has(position)),
    );
    this.#addJobs(
      'lost',
      'failed jobs whose handler never started',
      where(({ status, position }) => status === 'failed' && !started.has(position)),
    );
    this.#addJobs(
      'wrong',
      'jobs that lost their worker and were blamed',
      where(({ errorClass, status }) => status === 'failed' && errorClass === 'WorkerLostError'),
    );
    this.#addJobs(
      'wrong',
      'jobs that ended other than planned',
      where((job) => job.status !== 'pending' && isOtherThan(planned(job), job)),
    );
    this.#addJobs(
      'doubled',
      'attempts counted more than once',
      where((job) => job.attempts > (planned(job)?.attempts ?? 0)),
    );
    this.#addJobs(
      'wrong',
      'attempts not counted',
      where((job) => job.status !== 'pending' && job.attempts < (planned(job)?.attempts ?? 0)),
    );
    this.#addJobs(
      'doubled',
      'attempts beyond maximumAttempts',
      where(({ attempts, position }) => {
        const most = Math.max(attempts, ...(started.get(position) ?? []).map(({ attempt }) => attempt));
        return most > this.#evidence.maximumAttempts;
      }),
    );
    this.#addJobs(
      'wrong',
      'jobs that started before their row existed',
      where(({ position, createdAt }) =>
        (started.get(position) ?? []).some(({ at }) => at + CLOCK_STEP_MS < createdAt),
      ),
    );
  }

  #checkCounts(row: BatchRow): void {
    const { id, jobs, runs } = this.#batch;
    const count = (status: string) => jobs.filter((job) => job.status === status).length;
    const counted = { total: jobs.length, complete: count('complete'), failed: count('failed') };
    const shown = { total: row.total, complete: row.complete, failed: row.failed };
    if (!isSame(counted, shown)) {
      this.#add('wrong', `rows ${JSON.stringify(counted)}, counters ${JSON.stringify(shown)}`);
    }
    const own = runs.findLast(({ workflowId }) => workflowId === `batch:${id}`);
    if (own?.status !== 'COMPLETED') return;
    const { status, enrollmentError } = row;
    const result = own.result as Record<string, unknown>;
    const told = {
      total: result['total'],
      complete: result['complete'],
      failed: result['failed'],
      status: result['status'],
      enrollmentError: result['enrollmentError'],
    };
    const expected = { ...counted, status, enrollmentError };
    if (!isSame(told, expected)) {
      this.#add('wrong', `the workflow says ${JSON.stringify(told)}, the mirror ${JSON.stringify(expected)}`);
    }
  }

  #checkOutcome(row: BatchRow): void {
    const { id, expected, jobs } = this.#batch;
    if (this.#evidence.cancelled.includes(id) && !row.isStopped) {
      this.#add('wrong', `the batch took a cancellation, and is ${row.status}`);
    }
    if (row.isStopped) {
      // A failure that decided at once came first.
      const isAllowed =
        row.status === 'cancelled' || (row.status === 'failed' && expected.failWhen === 'immediate');
      if (!isAllowed) this.#add('wrong', `the batch was stopped, and is ${row.status}`);
      if (!expected.mayBeCancelled) this.#add('wrong', 'the batch was stopped, and nobody was to cancel it');
      return;
    }
    const isFailing = jobs.some(({ position }) => expected.jobs[position - 1]?.end === 'failed');
    const outcome = isFailing || row.enrollmentError !== null ? 'failed' : 'complete';
    if (row.status !== outcome) this.#add('wrong', `the batch is ${row.status}, and should be ${outcome}`);
    const mayBreak = expected.isEnqueuerDoomed || this.#isPlannedBreak() || this.#hasNeverBegun();
    if (row.enrollmentError !== null && !mayBreak && !this.#told.closed) {
      this.#add('wrong', `a living enqueuer was given up: ${row.enrollmentError}`);
    }
    const isWhole = this.#told.closed !== undefined || row.total === expected.jobs.length;
    if (row.enrollmentError === null && !isWhole) {
      this.#add('wrong', 'the enrolment broke, and the batch does not say so');
    }
  }

  #checkCallback(row: BatchRow, event: CallbackEvent): void {
    const { expected, callbacks, effects, runs } = this.#batch;
    const entries = this.#told.callbacks.filter((entry) => entry.event === event);
    const starts = entries.filter(({ what }) => what === 'callback-start');
    const hasHappened =
      event === 'settled' || (event === 'complete' ? row.status === 'complete' : row.status === 'failed');
    if (!hasHappened) {
      if (starts.length > 0) this.#add('doubled', `'${event}' ran, and the batch is ${row.status}`);
      return;
    }
    const shown = callbacks.find((callback) => callback.event === event);
    if (this.#told.registered.has(event)) {
      const hasEnded = entries.some(({ what }) => what === 'callback-end');
      if (!hasEnded) this.#add('lost', `the callback of '${event}' never returned`);
      if (shown?.status !== 'completed') {
        this.#add('lost', `the callback of '${event}' is ${shown?.status ?? 'without a row'}`);
      }
      if (!runs.some(({ scheduled }) => scheduled.includes(event))) {
        this.#add('lost', `the callback of '${event}' was never scheduled`);
      }
      if (expected.isTransactional && !effects.includes(event)) {
        this.#add('lost', `the callback of '${event}' has no effect`);
      }
    }
    for (const { attempt, seen } of starts) {
      if (seen!.status !== row.status || (event === 'settled' && !seen!.isSettled)) {
        this.#add('doubled', `'${event}', attempt ${attempt}, ran ahead of the row: ${JSON.stringify(seen)}`);
      }
      const waitsForAll = event !== 'failure' || expected.failWhen === 'settled';
      const isAllThere = row.isStopped || seen!.complete + seen!.failed === seen!.total;
      if (waitsForAll && (seen!.pending !== 0 || !isAllThere)) {
        this.#add('wrong', `'${event}', attempt ${attempt}, ran before the jobs: ${JSON.stringify(seen)}`);
      }
    }
  }

  #checkCallbacksDoubled(): void {
    const { runs, effects, expected } = this.#batch;
    const scheduled = runs.flatMap((run) => run.scheduled);
    const starts = this.#told.callbacks.filter(({ what }) => what === 'callback-start');
    for (const event of EVENTS) {
      const times = scheduled.filter((other) => other === event).length;
      if (times > 1) this.#add('doubled', `the callback of '${event}' was scheduled ${times} times`);
      const attempts = starts.filter((entry) => entry.event === event).map(({ attempt }) => attempt);
      // An attempt whose transaction broke with the database is none: its number comes again.
      if (!expected.isTransactional && new Set(attempts).size < attempts.length) {
        this.#add('doubled', `the callback of '${event}' started with attempts ${attempts.join(', ')}`);
      }
      const committed = effects.filter((other) => other === event).length;
      if (committed > 1) this.#add('doubled', `the effect of '${event}' was committed ${committed} times`);
    }
    const isStarted = (event: CallbackEvent) =>
      scheduled.includes(event) || starts.some((entry) => entry.event === event);
    if (isStarted('complete') && isStarted('failure')) {
      this.#add('doubled', "both 'complete' and 'failure' started");
    }
  }

  /** The outcome's callback has returned once before that of `settled` starts. */
  #checkCallbackOrder(): void {
    const { callbacks, registered } = this.#told;
    const settled = callbacks.findIndex(
      ({ what, event }) => what === 'callback-start' && event === 'settled',
    );
    if (settled < 0) return;
    const status = this.#batch.row?.status;
    if (status === 'cancelled') return;
    const outcome: CallbackEvent = status === 'complete' ? 'complete' : 'failure';
    const ended = callbacks.findIndex(({ what, event }) => what === 'callback-end' && event === outcome);
    if (registered.has(outcome) && (ended < 0 || ended > settled)) {
      this.#add('wrong', `'settled' started before '${outcome}' had returned`);
    }
  }

  #checkSamples(): void {
    const samples = this.#evidence.samples.filter(({ id }) => id === this.#batch.id);
    for (const [index, sample] of samples.entries()) {
      const before = samples[index - 1];
      const text = JSON.stringify(sample);
      if (sample.complete + sample.failed > sample.total) this.#add('wrong', `counters above total: ${text}`);
      if (!before) continue;
      const isBack =
        sample.complete < before.complete ||
        sample.failed < before.failed ||
        STATUSES.indexOf(sample.status) < STATUSES.indexOf(before.status) ||
        (before.status === 'complete' && sample.status !== 'complete');
      if (isBack) this.#add('wrong', `the mirror went back from ${JSON.stringify(before)} to ${text}`);
      if (before.status !== 'pending' && before.total !== sample.total) {
        this.#add('wrong', `the total changed after the seal: ${JSON.stringify(before)}, ${text}`);
      }
    }
  }
}

function tell({ ledger }: Evidence, batchId: string): Told {
  const starts: JobEntry[] = [];
  const ends: JobEntry[] = [];
  const callbacks: CallbackEntry[] = [];
  const registered = new Set<CallbackEvent>();
  const told = { created: false, enrolled: 0, closed: undefined, broken: undefined } as {
    -readonly [Key in keyof Told]: Told[Key];
  };
  for (const entry of ledger) {
    if (entry.batch !== batchId) continue;
    switch (entry.what) {
      case 'job-start':
        starts.push(entry);
        break;
      case 'job-end':
        ends.push(entry);
        break;
      case 'callback-start':
      case 'callback-end':
        callbacks.push(entry);
        break;
      case 'created':
        told.created = true;
        break;
      case 'registered':
        registered.add(entry.event!);
        break;
      case 'enrolled':
        told.enrolled++;
        break;
      case 'closed':
        told.closed = entry;
        break;
      case 'broken':
        told.broken = entry;
        break;
    }
  }
  return { ...told, starts, ends, callbacks, registered };
}

function isOtherThan(planned: { end: string; errorClass: string | null } | undefined, job: JobRow): boolean {
  return planned?.end !== job.status || planned.errorClass !== job.errorClass;
}

function isSame(a: object, b: object): boolean {
  const sorted = (value: object) =>
    JSON.stringify(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return sorted(a) === sorted(b);
}
