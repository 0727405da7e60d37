import type { PruneEvidence } from './evidence.ts';
import type { Violation } from './findings.ts';

/** All batches that settled and owe no callback are gone, without a trace, and nothing else is. */
export function checkPrune({ before, result, left }: PruneEvidence): Violation[] {
  const violations: Violation[] = [];
  const add = (kind: Violation['kind'], batch: string | null, message: string) =>
    violations.push({ kind, batch, message });
  for (const { id, isPrunable } of before) {
    const tables = Object.entries(left).flatMap(([table, ids]) => (ids.includes(id) ? [table] : []));
    if (isPrunable && tables.length > 0) add('stuck', id, `a prune left rows of it in ${tables.join(', ')}`);
    if (!isPrunable && !tables.includes('batches'))
      add('lost', id, 'a prune removed it, and it was not over');
  }
  const prunable = before.filter(({ isPrunable }) => isPrunable);
  const expected = { batches: prunable.length, jobs: prunable.reduce((sum, { jobs }) => sum + jobs, 0) };
  if (result.batches !== expected.batches || result.jobs !== expected.jobs) {
    add(
      'wrong',
      null,
      `a prune of ${JSON.stringify(expected)} says that it removed ${JSON.stringify(result)}`,
    );
  }
  return violations;
}
