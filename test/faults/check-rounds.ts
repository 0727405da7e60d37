import type { BatchRow, RoundRow, RunEvidence, Steering } from './evidence.ts';
import { CLOCK_STEP_MS, type Findings } from './findings.ts';
import { causeOf, mayStopItself, outcomesOf, type RoundFacts } from './outcome.ts';
import type { PolicyPlan } from './plan-policy.ts';

const OUTCOMES = ['complete', 'failed', 'cancelled'];
/** Longer than any outage: a deadline that passes meanwhile is noticed late. */
const DEADLINE_SLACK_MS = 60_000;

/** @returns whether something of the batch still runs */
export function checkRuns(found: Findings): boolean {
  const { runs, row } = found.batch;
  const own = `batch:${found.batch.id}`;
  let isStuck = false;
  const last = new Map(runs.map((run) => [`${run.workflowId} ${run.firstRunId}`, run]));
  for (const { workflowId, status, firstRunId } of last.values()) {
    if (status === 'RUNNING') {
      isStuck = true;
      found.add('stuck', `${workflowId} still runs`);
    }
    // Runners are terminated on purpose. A batch is terminated by a create() that found no worker; the next one may.
    const isOther = workflowId === own && firstRunId !== row?.firstRunId;
    const isGivenUp = isOther || (workflowId === own && !found.told.created);
    const isAllowed =
      status === 'COMPLETED' ||
      status === 'RUNNING' ||
      (status === 'TERMINATED' && (workflowId.includes('/runner/') || isGivenUp)) ||
      // A second create() that came when the batch was over, and whose look at the row had come too early to see it.
      (status === 'FAILED' && isOther && row !== null);
    if (!isAllowed) found.add('wrong', `${workflowId} ended as ${status}`);
  }
  return isStuck;
}

export function checkEnds(found: Findings, row: BatchRow): void {
  if (!row.isSealed) found.add('wrong', 'the batch ended without sealed_at');
  for (const { round, status, completedAt, settledAt } of found.batch.rounds) {
    const where = found.nameOf(round);
    if (!OUTCOMES.includes(status)) found.add('stuck', `the batch ended and is ${status}${where}`);
    if (completedAt === null) found.add('wrong', `the batch ended without completed_at${where}`);
    if (settledAt === null) found.add('wrong', `the batch ended without settled_at${where}`);
  }
}

/** Rows, what was kept of them, counters and workflow say the same of each round. */
export function checkCounts(found: Findings, row: BatchRow): void {
  const { jobs, pastJobs, rounds } = found.batch;
  for (const { round, status, total, complete, failed } of rounds) {
    const isLast = round === rounds.length;
    const kept = isLast ? jobs : pastJobs.filter((past) => past.round === round);
    const counted = {
      complete: jobs.filter((job) => job.status === 'complete' && job.round <= round).length,
      failed: kept.filter((job) => job.status === 'failed').length,
      ...(isLast ? { total: jobs.length } : {}),
    };
    const shown = { complete, failed, ...(isLast ? { total } : {}) };
    if (!isSame(counted, shown)) {
      const where = found.nameOf(round);
      found.add('wrong', `rows ${JSON.stringify(counted)}, counters ${JSON.stringify(shown)}${where}`);
    }
    const before = rounds[round - 2];
    if (before && (before.total > total || before.complete > complete)) {
      found.add(
        'wrong',
        `round ${round} has fewer jobs than the one before: ${JSON.stringify([before, rounds[round - 1]])}`,
      );
    }
    const run = endOf(found, round);
    if (run?.status !== 'COMPLETED') continue;
    const result = run.result as Record<string, unknown>;
    const told = Object.fromEntries(
      ['total', 'complete', 'failed', 'status', 'enrollmentError'].map((key) => [key, result[key]]),
    );
    const expected = { total, complete, failed, status, enrollmentError: row.enrollmentError };
    if (!isSame(told, expected)) {
      found.add('wrong', `the workflow says ${JSON.stringify(told)}, the mirror ${JSON.stringify(expected)}`);
    }
  }
}

/** Each round has an outcome that it may have, and was stopped only by what may stop it. */
export function checkOutcomes(found: Findings, row: BatchRow): void {
  const { id, rounds } = found.batch;
  if (found.evidence.cancelled.includes(id) && rounds.every(({ stopReason }) => stopReason === null)) {
    found.add('wrong', `the batch took a cancellation, and is ${found.last!.status}`);
  }
  for (const round of rounds) {
    const facts = factsOf(found, row, round);
    const where = found.nameOf(round.round);
    const outcomes = outcomesOf(facts);
    if (!outcomes.has(round.status)) {
      const expected = [...outcomes].join(' or ');
      found.add(
        'wrong',
        `the batch is ${round.status}${where}, and should be ${expected}: ${JSON.stringify(facts)}`,
      );
    }
    const steering = steeringIn(found, round.round);
    const isCancelled = steering.some(({ verb }) => verb === 'cancel');
    if (isCancelled && round.stopReason === null) {
      found.add('wrong', `the batch took a cancellation${where}, and went on to be ${round.status}`);
    }
    if (facts.stop === 'cancellation' && !isCancelled) {
      found.add('wrong', `the batch was stopped${where}, and nobody was to cancel it: ${round.stopReason}`);
    }
    if (facts.stop === 'failure' && !mayStopItself(facts)) {
      found.add('wrong', `the batch stopped itself${where} without a reason: ${round.stopReason}`);
    }
    checkDeadline(found, row, round, steering);
  }
  const policy = policiesOf(found, rounds.length).at(-1)!;
  if (!isSame(policy, row.policy)) {
    found.add(
      'wrong',
      `the policy is ${JSON.stringify(policy)}, and the row has ${JSON.stringify(row.policy)}`,
    );
  }
}

function factsOf(
  found: Findings,
  row: BatchRow,
  { round, total, complete, failed, stopReason }: RoundRow,
): RoundFacts {
  const { rounds, jobs, expected } = found.batch;
  const own = jobs.filter(({ name }) => expected.jobs[name]?.parent === null).length;
  return {
    policies: policiesOf(found, round),
    isBroken: row.enrollmentError !== null,
    failed,
    total,
    leastTotal: rounds[round - 2]?.total ?? Math.min(own, total),
    cancelled: total - complete - failed,
    stop: stopReason === null ? null : causeOf(stopReason),
  };
}

/** A batch is stopped by a deadline that it has, not before, and not much later. */
function checkDeadline(found: Findings, row: BatchRow, round: RoundRow, steering: readonly Steering[]): void {
  const where = found.nameOf(round.round);
  const { deadlineMs } = found.batch.expected;
  const changed = steering.flatMap((one) =>
    one.verb === 'update' && one.changes.deadlineAt !== undefined ? [one.changes.deadlineAt] : [],
  );
  const stoppedBy = /^its deadline has passed \((.*)\)$/.exec(round.stopReason ?? '')?.[1];
  if (stoppedBy !== undefined) {
    const deadline = Date.parse(stoppedBy);
    // From the moment when create() was called, some time before the row was there.
    const isCreated =
      round.round === 1 && deadlineMs !== null && deadline <= row.createdAt + deadlineMs + CLOCK_STEP_MS;
    if (!isCreated && !changed.includes(deadline)) {
      found.add('wrong', `the batch was stopped${where} by a deadline that it did not have: ${stoppedBy}`);
    }
    if (round.settledAt !== null && round.settledAt + CLOCK_STEP_MS < deadline) {
      found.add('wrong', `the batch was stopped${where} before its deadline: ${stoppedBy}`);
    }
  }
  const isLast = round.round === found.batch.rounds.length;
  if (!isLast || round.stopReason !== null || row.deadlineAt === null || round.settledAt === null) return;
  if (round.settledAt > row.deadlineAt + DEADLINE_SLACK_MS) {
    found.add('wrong', `the batch settled${where} ${round.settledAt - row.deadlineAt} ms after its deadline`);
  }
}

/** The policies that a round had, one after the other. */
export function policiesOf(found: Findings, round: number): PolicyPlan[] {
  let policies = [found.batch.expected.policy];
  for (let number = 1; number <= round; number++) {
    const retry = found.told.retries.findLast((entry) => entry.what === 'retrying' && entry.round === number);
    policies = [{ ...policies.at(-1)!, ...retry?.retry?.changes }];
    for (const steering of steeringIn(found, number)) {
      if (steering.verb !== 'update') continue;
      const {
        deadlineAt: _deadlineAt,
        maxConcurrentJobs: _maxConcurrentJobs,
        perSecond: _perSecond,
        ...changes
      } = steering.changes;
      policies.push({ ...policies.at(-1)!, ...changes });
    }
  }
  return policies;
}

function steeringIn({ batch }: Findings, round: number): Steering[] {
  return batch.runs.flatMap((run) => (run.round === round ? run.steering : []));
}

/** Calls of retryFailed() get what they are told, and no round is opened twice. */
export function checkRetries(found: Findings): void {
  const { rounds } = found.batch;
  const { retries } = found.told;
  const opened = retries.filter(({ what }) => what === 'retried').map(({ round }) => round);
  for (const round of opened) {
    if (!rounds[round - 1]) found.add('lost', `round ${round} was opened, and is not there`);
  }
  if (new Set(opened).size < opened.length) {
    found.add('doubled', `rounds were opened by more than one: ${opened.join(', ')}`);
  }
  for (const { round } of rounds.slice(1)) {
    if (!retries.some((entry) => entry.what === 'retrying' && entry.round <= round)) {
      found.add('wrong', `nobody asked for round ${round}`);
    }
  }
  for (const { round, error } of retries.filter(({ what }) => what === 'not-retried')) {
    checkRefusal(found, round, error!);
  }
}

function checkRefusal(found: Findings, round: number, error: string): void {
  const calls = found.told.retries.filter((entry) => entry.what === 'retrying' && entry.round === round);
  const before = found.batch.rounds[round - 2];
  const cancelled = before ? before.total - before.complete - before.failed : 0;
  const isAlone = calls.length === 1;
  const mayRefuse = {
    // The other one may have opened it, and it may be over again.
    BATCH_RUNNING: !isAlone,
    NOTHING_TO_RETRY: !isAlone || (before?.failed === 0 && !(calls[0]?.retry?.cancelled && cancelled > 0)),
    TEMPORAL_OVERLOADED: true,
    TEMPORAL_UNAVAILABLE: true,
    DATABASE_UNAVAILABLE: true,
  }[error];
  if (!mayRefuse)
    found.add('wrong', `round ${round} was refused with ${error}, after ${JSON.stringify(before)}`);
}

/** The run with which a round ended: not one that was to open the round, too, and came too late. */
function endOf({ batch }: Findings, round: number): RunEvidence | undefined {
  const own = batch.runs.filter((run) => run.workflowId === `batch:${batch.id}` && run.round === round);
  if (round === batch.rounds.length)
    return own.findLast(({ firstRunId }) => firstRunId === batch.row?.firstRunId);
  return own.findLast(({ scheduled, result }) => {
    const status = (result as { status?: string } | null)?.status ?? '';
    return scheduled.length > 0 || OUTCOMES.includes(status);
  });
}

function isSame(a: object, b: object): boolean {
  const sorted = (value: object) =>
    JSON.stringify(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return sorted(a) === sorted(b);
}
