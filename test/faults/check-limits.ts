import type { JobLimitPlan } from './plan-batch.ts';
import { CLOCK_STEP_MS, type Findings } from './findings.ts';
import type { JobEntry } from './ledger.ts';

/** Never more jobs of a limited batch, or of a limited name, ran at once or started in a second than may. */
export function checkLimits(found: Findings): void {
  // A worker that was cut off goes on with what it had, beside those that took its place.
  if (found.evidence.mayLinger) return;
  const { jobLimits } = found.batch.expected;
  const names = new Map(found.batch.jobs.map(({ position, workerClass }) => [position, workerClass]));
  checkLimit(found, highestOf(found), { what: 'jobs', isCounted: () => true });
  for (const [name, limit] of Object.entries(jobLimits)) {
    const isCounted = ({ position }: JobEntry) => names.get(position) === name;
    checkLimit(found, limit, { what: `jobs named ${name}`, isCounted });
  }
}

/** The same of the limit that batches share: over all of them, and for each key. */
export function checkSharedLimit(found: readonly Findings[]): void {
  const under = found.filter(({ batch }) => batch.expected.shared !== null);
  const [first] = under;
  if (!first || first.evidence.mayExceed) return;
  const { maxConcurrent, perSecond, keyMaxConcurrent } = first.batch.expected.shared!;
  checkRuns(first, under.flatMap(enrolledRuns), 'jobs of all batches', {
    maxConcurrentJobs: maxConcurrent,
    perSecond,
  });
  if (keyMaxConcurrent === null) return;
  const limit = { maxConcurrentJobs: keyMaxConcurrent, perSecond: null };
  for (const key of ['a', 'b']) {
    const ofKey = under.filter(({ batch }) => batch.expected.shared!.key === key);
    checkRuns(first, ofKey.flatMap(enrolledRuns), `jobs of key ${key}`, limit);
  }
}

/** Jobs that handlers add are under no such limit. */
function enrolledRuns({ batch, told }: Findings): JobEntry[] {
  const { enrolled } = batch.expected;
  const own = new Set(
    batch.jobs.flatMap(({ name, position }) => (enrolled.includes(name) ? [position] : [])),
  );
  return told.runs.filter(({ position }) => own.has(position));
}

/** The highest of the limits that the batch had: null where it had none for a while. */
function highestOf({ batch }: Findings): JobLimitPlan {
  const changes = batch.runs
    .flatMap((run) => run.steering)
    .flatMap((steering) => (steering.verb === 'update' ? [steering.changes] : []));
  const highest = (name: keyof JobLimitPlan) => {
    const values = [batch.expected.limits[name], ...changes.map((change) => change[name])];
    const known = values.filter((value) => value !== undefined);
    return known.includes(null) ? null : Math.max(...(known as number[]));
  };
  return { maxConcurrentJobs: highest('maxConcurrentJobs'), perSecond: highest('perSecond') };
}

interface Counted {
  readonly what: string;
  readonly isCounted: (entry: JobEntry) => boolean;
}

function checkLimit(found: Findings, limit: JobLimitPlan, { what, isCounted }: Counted): void {
  checkRuns(found, found.told.runs.filter(isCounted), what, limit);
}

function checkRuns(
  found: Findings,
  runs: readonly JobEntry[],
  what: string,
  { maxConcurrentJobs, perSecond }: JobLimitPlan,
): void {
  const together = maxConcurrentJobs === null ? 0 : mostAtOnce(found, runs);
  if (maxConcurrentJobs !== null && together > maxConcurrentJobs)
    found.add('wrong', `${together} ${what} ran at once, and ${maxConcurrentJobs} may`);
  if (perSecond === null) return;
  // A fraction more than one is rounded up for a single second.
  const most = Math.ceil(perSecond);
  const inASecond = mostInASecond(runs);
  if (inASecond > most)
    found.add('wrong', `${inASecond} ${what} started in a second, and ${most} may (perSecond ${perSecond})`);
}

/** Those of a process that was killed ran until the last that is known of it, if not longer. */
function mostAtOnce({ evidence }: Findings, runs: readonly JobEntry[]): number {
  const lastOf = new Map(evidence.ledger.map(({ pid, at }) => [pid, at]));
  const running = new Map<string, JobEntry>();
  let most = 0;
  for (const entry of runs.toSorted((a, b) => a.at - b.at)) {
    const execution = `${entry.pid} ${entry.batch} ${entry.position} ${entry.attempt}`;
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

/** In any second, not only in whole ones. */
function mostInASecond(runs: readonly JobEntry[]): number {
  const times = runs.flatMap(({ what, at }) => (what === 'job-start' ? [at] : [])).toSorted((a, b) => a - b);
  let first = 0;
  let most = 0;
  for (const [index, time] of times.entries()) {
    while (times[first]! <= time - 1_000 + CLOCK_STEP_MS) first++;
    most = Math.max(most, index - first + 1);
  }
  return most;
}
