import type { BatchRow, RoundRow } from './evidence.ts';
import type { Findings } from './findings.ts';

/** What became of create() and of the enqueuer's blocks. */
export function checkEnqueuer(found: Findings): void {
  const { expected, row } = found.batch;
  const { closed, broken, created, creators, enrolled } = found.told;
  if (broken && !created && !expected.isEnqueuerDoomed) {
    found.add('wrong', `the batch could not be made: ${broken.error}: ${broken.message}`);
  }
  for (const { error, createdAt } of creators) {
    if (error !== undefined) found.add('wrong', `creating the batch once more was refused: ${error}`);
    else if (row && createdAt !== row.createdAt) {
      found.add(
        'doubled',
        `creating it once more gave a batch made at ${createdAt}, and not at ${row.createdAt}`,
      );
    }
  }
  if (closed) {
    const missing = expected.enrolled.length - new Set(enrolled.map(({ name }) => name)).size;
    // One that was resumed has told of its jobs as often as it was started.
    if (missing > 0 && !expected.isBroken)
      found.add('lost', `jobs() resolved, and ${missing} were not started`);
    if (row && row.enrollmentError !== null) {
      found.add('wrong', `jobs() resolved, and the batch says: ${row.enrollmentError}`);
    }
  }
  if (broken && created && !found.isPlannedBreak && !found.hasNeverBegun && !found.isGivenUp) {
    found.add('wrong', `jobs() threw after ${enrolled.length} jobs: ${broken.error}: ${broken.message}`);
  }
  if (!closed && !broken && !expected.isEnqueuerDoomed) found.add('stuck', 'jobs() did not end');
}

/** Who is a member: positions without holes, each name once, all that was promised. */
export function checkMembers(found: Findings, row: BatchRow, last: RoundRow): void {
  const { jobs, expected } = found.batch;
  const { closed } = found.told;
  const present = new Set(jobs.map(({ position }) => position));
  const all = Array.from({ length: last.total }, (_, index) => index + 1);
  found.addJobs(
    'lost',
    'members without a row',
    all.filter((position) => !present.has(position)),
  );
  found.addJobs(
    'wrong',
    'rows beyond the total',
    [...present].filter((position) => position > last.total),
  );
  checkNames(found);
  const own = jobs.filter(({ name }) => expected.jobs[name]?.parent === null).length;
  if (closed) {
    const { total } = closed;
    // Handlers may have added jobs before it resolved, and after.
    if (own !== expected.enrolled.length) {
      found.add('lost', `jobs() resolved, and ${own} of ${expected.enrolled.length} jobs are members`);
    }
    if (total! < own || total! > last.total) {
      found.add(
        'wrong',
        `jobs() resolved with ${total} jobs; ${own} were enrolled, and the total is ${last.total}`,
      );
    }
  }
  const mayBeCut = expected.isEnqueuerDoomed || found.first!.stopReason !== null;
  if (found.isPlannedBreak && !mayBeCut && own !== expected.enrolled.length) {
    found.add('lost', `the block broke after ${expected.enrolled.length} jobs, and ${own} are members`);
  }
  const mayBreak = expected.isEnqueuerDoomed || found.isPlannedBreak || found.hasNeverBegun;
  if (row.enrollmentError !== null && !mayBreak && !closed) {
    found.add('wrong', `a living enqueuer was given up: ${row.enrollmentError}`);
  }
  const isWhole = closed !== undefined || own === expected.enrolled.length;
  if (row.enrollmentError === null && found.first!.stopReason === null && !isWhole) {
    found.add('wrong', 'the enrolment broke, and the batch does not say so');
  }
}

function checkNames(found: Findings): void {
  const { jobs, expected, id } = found.batch;
  const { numberedFrom } = expected;
  const positions = new Map<string, number>();
  const doubled: string[] = [];
  for (const { name, position } of jobs) {
    if (positions.has(name)) doubled.push(name);
    positions.set(name, position);
  }
  found.addJobs('doubled', 'members of the same name or key', doubled);
  found.addJobs(
    'wrong',
    'members that nobody has started',
    jobs.filter(({ name }) => !expected.jobs[name]).map(({ position }) => position),
  );
  const jidOf = (name: string) => `${id}/${positions.get(name)}`;
  const promised = found.told.enrolled.filter(
    ({ name, jid }) =>
      jid !== undefined && (positions.has(name!) || (numberedFrom !== null && Number(name) >= numberedFrom)),
  );
  found.addJobs(
    'lost',
    'jobs whose jid was given away, and whose row is not there',
    promised.filter(({ name }) => !positions.has(name!)).map(({ name }) => name!),
  );
  found.addJobs(
    'wrong',
    'jobs whose jid is that of another job',
    promised.filter(({ name, jid }) => positions.has(name!) && jid !== jidOf(name!)).map(({ name }) => name!),
  );
  const isComplete = new Set(jobs.filter(({ status }) => status === 'complete').map(({ name }) => name));
  found.addJobs(
    'lost',
    'jobs that a complete job has added',
    Object.entries(expected.jobs).flatMap(([name, { parent }]) =>
      parent !== null && isComplete.has(parent) && !positions.has(name) ? [name] : [],
    ),
  );
  found.addJobs(
    'wrong',
    'jobs whose parent never ran',
    jobs.flatMap(({ name }) => {
      const parent = expected.jobs[name]?.parent ?? null;
      const wasStarted =
        parent === null || found.told.starts.some(({ position }) => position === positions.get(parent));
      return wasStarted ? [] : [name];
    }),
  );
}
