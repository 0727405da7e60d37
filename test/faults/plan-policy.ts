import type { Random } from '../support/random.ts';

/** How many failed jobs a batch bears, as `failWhenFailed` says it. */
export type Tolerance = 'any' | 'all' | { readonly moreThan: number | `${number}%` };

/** What makes a batch fail, and what becomes of its rest. */
export interface PolicyPlan {
  readonly failWhen: 'settled' | 'immediate';
  readonly failWhenFailed: Tolerance;
  readonly afterFailure: 'continue' | 'cancelRemaining';
  readonly afterDeadline: 'fail' | 'cancel';
}

/** A further round of a batch, once it has settled. */
export interface RetryPlan {
  /** Whether cancelled jobs run again, too. */
  readonly cancelled: boolean;
  readonly changes: Partial<PolicyPlan>;
  /** Clients that ask for it at once: one of them opens it. */
  readonly callers: 1 | 2;
}

/** Mostly what batches are without options, so that what was tested before stays the most frequent case. */
export function planPolicy(random: Random): PolicyPlan {
  return {
    failWhen: random.chance(0.3) ? 'immediate' : 'settled',
    failWhenFailed: random.chance(0.6) ? 'any' : planTolerance(random),
    afterFailure: random.chance(0.15) ? 'cancelRemaining' : 'continue',
    afterDeadline: random.chance(0.5) ? 'fail' : 'cancel',
  };
}

function planTolerance(random: Random): Tolerance {
  const kind = random.next();
  if (kind < 0.2) return 'all';
  if (kind < 0.6) return { moreThan: random.int(0, 20) };
  return { moreThan: `${random.int(0, 60) / 2}%` };
}

/** At least one change. */
export function planChanges(random: Random): Partial<PolicyPlan> {
  const { failWhen, failWhenFailed, afterFailure } = planPolicy(random);
  const isTolerance = random.chance(0.7);
  return {
    ...(isTolerance ? { failWhenFailed: random.chance(0.3) ? failWhenFailed : planTolerance(random) } : {}),
    ...(!isTolerance || random.chance(0.3) ? { failWhen } : {}),
    ...(random.chance(0.25) ? { afterFailure } : {}),
  };
}

/** Milliseconds from a batch's creation, or from a change: soon enough to cut it, or never. */
export function planDeadline(random: Random): number {
  return random.chance(0.5) ? random.int(500, 8_000) : 600_000;
}

export function planRetries(random: Random): RetryPlan[] {
  const count = random.chance(0.35) ? (random.chance(0.3) ? 2 : 1) : 0;
  return Array.from({ length: count }, () => ({
    cancelled: random.chance(0.5),
    changes: random.chance(0.3) ? planChanges(random) : {},
    callers: random.chance(0.3) ? 2 : 1,
  }));
}

/** For people: what differs from a batch without options. */
export function describePolicy({ failWhen, failWhenFailed, afterFailure }: Partial<PolicyPlan>): string[] {
  return [
    ...(failWhen === 'immediate' ? ['fails at once'] : []),
    ...(failWhenFailed === undefined || failWhenFailed === 'any'
      ? []
      : [`fails when ${JSON.stringify(failWhenFailed)}`]),
    ...(afterFailure === 'cancelRemaining' ? ['cancels the rest when it fails'] : []),
  ];
}
