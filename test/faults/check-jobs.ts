import type { ExpectedEnd, JobRow, RoundRow } from './evidence.ts';
import { CLOCK_STEP_MS, type Findings } from './findings.ts';
import type { JobEntry } from './ledger.ts';

/** What became of the members, in the last round in which each of them was to run. */
export function checkJobs(found: Findings, last: RoundRow): void {
  const { jobs, rounds } = found.batch;
  const { starts, ends } = entriesOf(found);
  const where = (isBroken: (job: JobRow) => boolean) => jobs.filter(isBroken).map(({ position }) => position);
  // What else must be true of those that are workflows is in check-workflows.ts.
  const whereHandled = (isBroken: (job: JobRow) => boolean) =>
    where((job) => job.workflow === null && isBroken(job));
  const isIn = (entries: ReadonlyMap<number, readonly JobEntry[]>, { position, round }: JobRow) =>
    (entries.get(position) ?? []).some(({ at }) => at + CLOCK_STEP_MS >= startOf(found, round));
  const planned = (job: JobRow) => plannedEnd(found, job.name, job.round);
  const hasEnded = ({ status }: JobRow) => status !== 'pending';
  found.addJobs(
    'lost',
    'members that are not terminal',
    // What a stopped round did not come to is cancelled, and stays so unless it is asked to run again.
    where((job) => !hasEnded(job) && (rounds[job.round - 1]?.stopReason ?? null) === null),
  );
  found.addJobs(
    'wrong',
    'jobs of another name than planned',
    where(({ name, workerClass }) => found.batch.expected.jobs[name]?.workerClass !== workerClass),
  );
  found.addJobs(
    'lost',
    'failed jobs that the next round left out',
    where(({ status, round }) => status === 'failed' && round < last.round),
  );
  found.addJobs(
    'lost',
    'complete jobs whose handler never returned',
    whereHandled((job) => job.status === 'complete' && !isIn(ends, job)),
  );
  found.addJobs(
    'lost',
    'failed jobs whose handler never started',
    whereHandled((job) => job.status === 'failed' && !isIn(starts, job)),
  );
  found.addJobs(
    'wrong',
    'jobs that lost their worker and were blamed',
    whereHandled(({ errorClass, status }) => status === 'failed' && errorClass === 'WorkerLostError'),
  );
  found.addJobs(
    'wrong',
    'jobs that ended other than planned',
    whereHandled((job) => hasEnded(job) && isOtherThan(planned(job), job)),
  );
  found.addJobs(
    'doubled',
    'attempts counted more than once',
    whereHandled((job) => job.attempts > (planned(job)?.attempts ?? 0)),
  );
  found.addJobs(
    'wrong',
    'attempts not counted',
    whereHandled((job) => hasEnded(job) && job.attempts < (planned(job)?.attempts ?? 0)),
  );
  found.addJobs(
    'doubled',
    'attempts beyond maximumAttempts',
    whereHandled(({ attempts, position }) => {
      const most = Math.max(attempts, ...(starts.get(position) ?? []).map(({ attempt }) => attempt));
      return most > found.evidence.maximumAttempts;
    }),
  );
  found.addJobs(
    'wrong',
    'jobs that started before their row existed',
    whereHandled(({ position, createdAt }) =>
      (starts.get(position) ?? []).some(({ at }) => at + CLOCK_STEP_MS < createdAt),
    ),
  );
  found.addJobs(
    'doubled',
    'complete jobs that ran again in a later round',
    // A worker that was cut off may go on with what it had, long after.
    whereHandled(
      ({ status, position, round }) =>
        !found.evidence.mayLinger &&
        status === 'complete' &&
        round < last.round &&
        (starts.get(position) ?? []).some(({ at }) => at > startOf(found, round + 1) + CLOCK_STEP_MS),
    ),
  );
  checkResults(found, ends);
}

/** What a complete job shows is what one of its executions returned, in its round. */
function checkResults(found: Findings, ends: ReadonlyMap<number, readonly JobEntry[]>): void {
  const { jobs, expected } = found.batch;
  const stored = jobs.filter(
    ({ status, workflow }) => expected.storesResults && workflow === null && status === 'complete',
  );
  found.addJobs(
    'lost',
    'complete jobs without their result',
    stored.filter(({ result }) => result === null).map(({ position }) => position),
  );
  found.addJobs(
    'wrong',
    'results that no execution has returned',
    stored
      .filter(({ result, position, round }) => {
        const isReturned = ({ at, result: returned }: JobEntry) =>
          returned?.nonce === result?.nonce &&
          returned?.name === result?.name &&
          returned?.attempt === result?.attempt &&
          at + CLOCK_STEP_MS >= startOf(found, round);
        return result !== null && !(ends.get(position) ?? []).some(isReturned);
      })
      .map(({ position }) => position),
  );
  const others = jobs.filter((job) => !stored.includes(job));
  found.addJobs(
    'wrong',
    'results of jobs that have none',
    others.filter(({ result }) => result !== null).map(({ position }) => position),
  );
}

/** What was kept of earlier rounds when jobs were to run again. */
export function checkPastJobs(found: Findings): void {
  const { pastJobs, jobs } = found.batch;
  const rows = new Map(jobs.map((job) => [job.position, job]));
  const where = (isBroken: (past: (typeof pastJobs)[number], job: JobRow | undefined) => boolean) =>
    pastJobs.filter((past) => isBroken(past, rows.get(past.position))).map(({ position }) => position);
  found.addJobs(
    'wrong',
    'jobs that did not run again, and whose round was kept as over',
    where((past, job) => job !== undefined && past.round >= job.round),
  );
  found.addJobs(
    'wrong',
    'jobs that ended an earlier round other than planned',
    where((past, job) => {
      if (job !== undefined && job.workflow !== null) return false;
      const planned = job && plannedEnd(found, job.name, past.round);
      if (past.status === 'failed') return isOtherThan(planned, past) || past.attempts !== planned?.attempts;
      return past.attempts > (planned?.attempts ?? 0);
    }),
  );
}

function isOtherThan(
  planned: ExpectedEnd | undefined,
  { status, errorClass }: { status: string; errorClass: string | null },
): boolean {
  return planned?.end !== status || planned.errorClass !== errorClass;
}

function plannedEnd({ batch }: Findings, name: string, round: number): ExpectedEnd | undefined {
  return batch.expected.jobs[name]?.[round === 1 ? 'first' : 'later'];
}

/** When the round began. Infinite: there was none. */
function startOf({ batch }: Findings, round: number): number {
  if (round === 1) return -Infinity;
  return batch.rounds[round - 1]?.startedAt ?? Infinity;
}

function entriesOf({ told }: Findings) {
  const byPosition = (entries: readonly JobEntry[]) => {
    const map = new Map<number, JobEntry[]>();
    for (const entry of entries) {
      const others = map.get(entry.position);
      if (others) others.push(entry);
      else map.set(entry.position, [entry]);
    }
    return map;
  };
  return { starts: byPosition(told.starts), ends: byPosition(told.ends) };
}
