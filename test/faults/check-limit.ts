import type { Findings } from './findings.ts';
import type { JobEntry } from './ledger.ts';

/** Never more jobs of a limited batch ran at once than may. */
export function checkLimit(found: Findings): void {
  const limit = found.batch.expected.maxConcurrentJobs;
  // A worker that was cut off goes on with what it had, beside those that took its place.
  if (limit === null || found.evidence.mayLinger) return;
  const most = mostAtOnce(found);
  if (most > limit) found.add('wrong', `${most} jobs ran at once, and ${limit} may`);
}

/** Those of a process that was killed ran until the last that is known of it, if not longer. */
function mostAtOnce({ evidence, told }: Findings): number {
  const lastOf = new Map(evidence.ledger.map(({ pid, at }) => [pid, at]));
  const running = new Map<string, JobEntry>();
  let most = 0;
  for (const entry of told.runs) {
    const execution = `${entry.pid} ${entry.position} ${entry.attempt}`;
    if (entry.what !== 'job-start') {
      running.delete(execution);
      continue;
    }
    for (const [other, { pid }] of running) if (lastOf.get(pid)! < entry.at) running.delete(other);
    running.set(execution, entry);
    most = Math.max(most, running.size);
  }
  return most;
}
