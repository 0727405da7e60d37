/**
 * How many failed jobs make a batch `failed`: `'any'` one; `'all'` of them; or more than a number, or more than a
 * percentage of the sealed total. Percentages are not rounded: of 30 jobs, `'5%'` is 1.5, so that a second failed job
 * is more than that.
 */
export type FailurePolicy = 'any' | 'all' | { readonly moreThan: number | `${number}%` };

export function isFailurePolicy(policy: unknown): policy is FailurePolicy {
  if (policy === 'any' || policy === 'all') return true;
  if (typeof policy !== 'object' || policy === null || Object.keys(policy).join() !== 'moreThan')
    return false;
  const { moreThan } = policy as { moreThan: unknown };
  if (typeof moreThan === 'number') return Number.isSafeInteger(moreThan) && moreThan >= 0;
  if (typeof moreThan !== 'string' || !/^\d+(\.\d+)?%$/.test(moreThan)) return false;
  return Number.parseFloat(moreThan) <= 100;
}

/** Whether so many failed jobs of a total are too many. */
export function isExceeded(policy: FailurePolicy, failed: number, total: number): boolean {
  if (policy === 'any') return failed > 0;
  if (policy === 'all') return total > 0 && failed >= total;
  const { moreThan } = policy;
  return typeof moreThan === 'number'
    ? failed > moreThan
    : failed * 100 > Number.parseFloat(moreThan) * total;
}

/** For rows and messages. */
export function describePolicy(policy: FailurePolicy): string {
  return typeof policy === 'string' ? policy : `more than ${policy.moreThan}`;
}
