import { lacksAdminCode } from './cities.ts';
import type { BatchFacts } from './facts.ts';
import { formatCount } from './format.ts';
import type { BatchPlan } from './run-batch.ts';

/** A claim of the demo, and whether it held. */
export interface Check {
  readonly claim: string;
  readonly ok: boolean;
}

/** What must hold for a batch that is over, whatever happened to its workers. */
export function checksOf(plan: BatchPlan, facts: BatchFacts): Check[] {
  const { total, complete, failed, pending, rows, callbackRuns } = facts;
  const bad = plan.cities.filter(lacksAdminCode).length;
  const event = plan.expectedStatus === 'failed' ? 'failure' : 'complete';
  const count = formatCount;
  return [
    {
      claim: `every city has its job: ${count(total)} of ${count(plan.cities.length)}`,
      ok: total === plan.cities.length,
    },
    {
      claim: `total = complete + failed: ${count(total)} = ${count(complete)} + ${count(failed)}, pending ${count(pending)}`,
      ok: total === complete + failed && pending === 0,
    },
    {
      claim: `the rows say the same: ${count(rows.complete)} complete, ${count(rows.failed)} failed, ${count(rows.pending)} pending`,
      ok: rows.total === total && rows.complete === complete && rows.failed === failed && rows.pending === 0,
    },
    { claim: `bad records failed, and nothing else: ${count(failed)} of ${count(bad)}`, ok: failed === bad },
    {
      claim: `a score for each complete job: ${count(facts.scores)} of ${count(complete)}`,
      ok: facts.scores === complete && complete === plan.cities.length - bad,
    },
    { claim: `it ended ${facts.status}`, ok: facts.status === plan.expectedStatus },
    {
      claim: `one callback ran, once: ${callbackRuns.map((run) => `${run.callback} for ${run.event}`).join(', ') || 'none'}`,
      ok: callbackRuns.length === 1 && callbackRuns[0]!.event === event,
    },
    {
      claim: `it rebuilt the leaderboard: ${count(facts.leaderboardRows)} cities`,
      ok: facts.leaderboardRows > 0,
    },
  ];
}
