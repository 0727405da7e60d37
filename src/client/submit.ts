import { BatchError, InvalidOptionError } from '../errors.ts';
import { toExactJson } from '../json-value.ts';
import type { ArgLists } from '../jobs/define-job.ts';
import { optionalJob } from '../jobs/job-context.ts';
import type { ResolvedJobOptions } from '../jobs/job-options.ts';
import type { BatchClient } from './batch-client.ts';
import type { Enrollment } from './enrollment.ts';
import { currentEnrollment } from './enrollment-context.ts';
import { notePlainStart } from './open-blocks.ts';
import { openClients } from './open-clients.ts';

/** What `performAsync` starts. */
export interface JobTarget {
  readonly name: string;
  readonly options: ResolvedJobOptions;
  /** Whether the options differ from the definition's, and so must travel with the job. */
  readonly isOverridden: boolean;
  /** Of a batch that is a job: its id. */
  readonly memberId?: string;
}

/** Plain jobs that are started at once by `performBulk`. */
const PLAIN_CONCURRENCY = 20;

/** Enrols the job if the caller is in an enrolment block, else starts it as a plain job. @returns the jid */
export function submitJob(target: JobTarget, args: readonly unknown[]): Promise<string> {
  const enrollment = currentEnrollment();
  return enrollment ? enrollJob(enrollment, target, args) : startPlain(target, args);
}

/** The same for one job for each argument list. @returns the jids, in order */
export function submitJobs<Args extends readonly unknown[]>(
  target: JobTarget,
  argLists: ArgLists<Args>,
): Promise<string[]> {
  const enrollment = currentEnrollment();
  return enrollment ? enrollEach(enrollment, target, argLists) : startEachPlain(target, argLists);
}

/** Enrolls a job. The block hears an error that the app does not. @returns the jid */
export function enrollJob(
  enrollment: Enrollment,
  target: JobTarget | undefined,
  args: readonly unknown[],
): Promise<string> {
  try {
    assertTarget(target);
    const json = toExactJson('args', args);
    const known = knownLimit(enrollment, target);
    if (known) return enrollment.hear(enrollment.hold(known.then(() => enrollNow(enrollment, target, json))));
    const jid = enrollment.enroll(target, json);
    const hasRoom = enrollment.hasRoom();
    // Most starts: nothing can go wrong with them any more.
    if (typeof jid === 'string' && hasRoom === true) return Promise.resolve(jid);
    return enrollment.hear(once(jid, hasRoom));
  } catch (error) {
    return enrollment.hear(Promise.reject<string>(error));
  }
}

/** Checks the limit of a job. @returns undefined when the job has none, or the block has checked it before */
function knownLimit(enrollment: Enrollment, { options: { limit } }: JobTarget): Promise<void> | undefined {
  return limit && enrollment.knowsLimit(limit.name);
}

function enrollNow(enrollment: Enrollment, target: JobTarget, json: string): Promise<string> {
  return once(enrollment.enroll(target, json), enrollment.hasRoom());
}

/** Enrolls a job for each argument list; the block stays open meanwhile. @returns the jids, in order */
export function enrollEach<Args extends readonly unknown[]>(
  enrollment: Enrollment,
  target: JobTarget | undefined,
  argLists: ArgLists<Args>,
): Promise<string[]> {
  return enrollment.hear(enrollment.hold(enrollEachOf(enrollment, target, argLists)));
}

async function enrollEachOf<Args extends readonly unknown[]>(
  enrollment: Enrollment,
  target: JobTarget | undefined,
  argLists: ArgLists<Args>,
): Promise<string[]> {
  assertTarget(target);
  assertNoKey(target);
  await knownLimit(enrollment, target);
  // Not one after the other: where the database numbers jobs, each waits until its row is committed.
  const enrolling: (string | Promise<string>)[] = [];
  for await (const args of argLists) {
    enrolling.push(enrollment.enroll(target, toExactJson('args', args)));
    const hasRoom = enrollment.hasRoom();
    if (hasRoom !== true) await hasRoom;
  }
  const jids: string[] = [];
  for (const jid of enrolling) jids.push(typeof jid === 'string' ? jid : await jid);
  return jids;
}

async function once(jid: string | Promise<string>, hasRoom: true | Promise<void>): Promise<string> {
  if (hasRoom !== true) await hasRoom;
  return jid;
}

/** @throws {@link InvalidOptionError} */
function assertTarget(target: JobTarget | undefined): asserts target is JobTarget {
  if (target === undefined)
    throw new InvalidOptionError('job', 'a job of defineJob, or what its set() gives', target);
}

function assertNoKey({ options: { key } }: JobTarget): void {
  if (key !== undefined)
    throw new InvalidOptionError('key', 'given to performAsync: it is one job whatever its arguments', key);
}

async function startPlain(target: JobTarget, args: readonly unknown[]): Promise<string> {
  toExactJson('args', args);
  const { key, limit } = target.options;
  for (const [option, value] of Object.entries({ key, limit: limit?.name })) {
    if (value === undefined) continue;
    throw new InvalidOptionError(
      option,
      'given inside of an enrollment block only: a plain job has none',
      value,
    );
  }
  const jid = await plainJobClient(target).startPlainJob(target, args);
  notePlainStart(jid);
  return jid;
}

async function startEachPlain<Args extends readonly unknown[]>(
  target: JobTarget,
  argLists: ArgLists<Args>,
): Promise<string[]> {
  assertNoKey(target);
  const jids: string[] = [];
  let starting: Promise<string>[] = [];
  for await (const args of argLists) {
    starting.push(startPlain(target, args));
    if (starting.length < PLAIN_CONCURRENCY) continue;
    jids.push(...(await Promise.all(starting)));
    starting = [];
  }
  return [...jids, ...(await Promise.all(starting))];
}

/** The client of the job that runs here, else the only one that is open in this process. */
function plainJobClient(target: JobTarget): BatchClient {
  const ofJob = optionalJob()?.batches;
  if (ofJob) return ofJob;
  const [client, ...others] = openClients;
  if (client && others.length === 0) return client;
  throw new BatchError(
    'NO_CLIENT',
    `${target.name}.performAsync was called outside of an enrolment block, and this process has ` +
      `${client ? `${others.length + 1} open BatchClients` : 'no open BatchClient'} to start it with. ` +
      'Call it inside batch.jobs(...), or keep exactly one BatchClient open.',
  );
}
