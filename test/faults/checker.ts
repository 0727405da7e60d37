import { checkCallbacks, checkCallbacksDoubled } from './check-callbacks.ts';
import { checkEnqueuer, checkMembers } from './check-enrolment.ts';
import { checkIdleness } from './check-idleness.ts';
import { checkJobs, checkPastJobs } from './check-jobs.ts';
import { checkLimits, checkSharedLimit } from './check-limits.ts';
import { checkPrune } from './check-prune.ts';
import { checkCounts, checkEnds, checkOutcomes, checkRetries, checkRuns } from './check-rounds.ts';
import { checkSamples } from './check-samples.ts';
import { checkWorkflows } from './check-workflows.ts';
import type { Evidence } from './evidence.ts';
import { Findings, type Violation } from './findings.ts';

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
  const all = evidence.batches.map((batch) => new Findings(evidence, batch));
  for (const found of all) checkBatch(found);
  checkSharedLimit(all);
  for (const found of all) violations.push(...found.violations);
  violations.push(...checkPrune(evidence.prune));
  return violations;
}

function checkBatch(found: Findings): void {
  const { row, runs } = found.batch;
  const { last } = found;
  checkCallbacksDoubled(found);
  checkSamples(found);
  const isStuck = checkRuns(found);
  checkEnqueuer(found);
  if (row === null || last === undefined) {
    // Its enqueuer may have died before the batch was made; then there is nothing to judge.
    if (found.told.created) found.add('lost', 'the batch has no row');
    return;
  }
  if (runs.length === 0) found.add('lost', 'the batch has a row and no workflow');
  if (isStuck) return;
  checkEnds(found, row);
  checkMembers(found, row, last);
  checkJobs(found, last);
  checkPastJobs(found);
  checkIdleness(found);
  checkWorkflows(found);
  checkLimits(found);
  checkCounts(found, row);
  checkOutcomes(found, row);
  checkRetries(found);
  checkCallbacks(found, row);
}
