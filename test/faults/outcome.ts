import type { PolicyPlan, Tolerance } from './plan-policy.ts';

/** What is known of a round of a batch once it is over. */
export interface RoundFacts {
  /** The policies that it had, one after the other. */
  readonly policies: readonly PolicyPlan[];
  /** Whether its enrolment broke: then it fails, whatever the policy. */
  readonly isBroken: boolean;
  readonly failed: number;
  readonly total: number;
  /** The fewest jobs of which it may have been judged: handlers may have added some since. */
  readonly leastTotal: number;
  /** Jobs that were neither complete nor failed at its end. */
  readonly cancelled: number;
  readonly stop: StopCause | null;
}

/** By its reason: somebody's cancellation, its deadline, or that it was certain to fail. */
export type StopCause = 'cancellation' | 'deadline' | 'failure';

export function causeOf(stopReason: string): StopCause {
  if (stopReason.startsWith('its deadline has passed')) return 'deadline';
  if (stopReason.startsWith('too many jobs failed') || stopReason === 'its enrolment broke') return 'failure';
  return 'cancellation';
}

/**
 * The outcomes that a round may have. One, but for races: a change of the policy may come before or after the failure
 * that decides, and jobs that handlers add before or after it.
 */
export function outcomesOf(facts: RoundFacts): ReadonlySet<string> {
  const { policies, stop, cancelled } = facts;
  const outcomes = new Set<string>();
  const isFailedEarly = policies.some((policy) => policy.failWhen === 'immediate' && mayFail(policy, facts));
  if (isFailedEarly) outcomes.add('failed');
  switch (stop) {
    case 'failure':
      outcomes.add('failed');
      break;
    case 'deadline':
      for (const { afterDeadline } of policies)
        outcomes.add(afterDeadline === 'fail' ? 'failed' : 'cancelled');
      break;
    case 'cancellation':
      outcomes.add('cancelled');
      break;
    case null: {
      const { failWhenFailed } = policies.at(-1)!;
      const isFailed = facts.isBroken || isTooMany(failWhenFailed, facts.failed, facts.total);
      outcomes.add(isFailed ? 'failed' : cancelled > 0 ? 'cancelled' : 'complete');
    }
  }
  return outcomes;
}

/** Whether a round may have stopped itself because it was certain to fail. */
export function mayStopItself(facts: RoundFacts): boolean {
  return facts.policies.some((policy) => policy.afterFailure === 'cancelRemaining' && mayFail(policy, facts));
}

/** Whether it may have been certain at some time that the round fails by this policy: failed jobs only become more. */
function mayFail({ failWhenFailed }: PolicyPlan, { isBroken, failed, leastTotal }: RoundFacts): boolean {
  return isBroken || isTooMany(failWhenFailed, failed, leastTotal);
}

function isTooMany(tolerance: Tolerance, failed: number, total: number): boolean {
  if (failed === 0) return false;
  if (tolerance === 'any') return true;
  if (tolerance === 'all') return failed >= total;
  const { moreThan } = tolerance;
  if (typeof moreThan === 'number') return failed > moreThan;
  return 100 * failed > Number(moreThan.slice(0, -1)) * total;
}
