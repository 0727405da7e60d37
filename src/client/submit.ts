import { BatchError, InvalidOptionError } from '../errors.ts';
import { toExactJson } from '../json-value.ts';
import type { ArgLists } from '../jobs/define-job.ts';
import { optionalJob } from '../jobs/job-context.ts';
import type { ResolvedJobOptions } from '../jobs/job-options.ts';
import type { BatchClient } from './batch-client.ts';
import { currentEnrollment } from './enrollment-context.ts';
import { openClients } from './open-clients.ts';

/** What `performAsync` starts. */
export interface JobTarget {
  readonly name: string;
  readonly options: ResolvedJobOptions;
  /** Whether the options differ from the definition's, and so must travel with the job. */
  readonly isOverridden: boolean;
}

/** Plain jobs that are started at once by `performBulk`. */
const PLAIN_CONCURRENCY = 20;

/** Enrols the job if the caller is in an enrolment block, else starts it as a plain job. @returns the jid */
export async function submitJob(target: JobTarget, args: readonly unknown[]): Promise<string> {
  const argsJson = toExactJson('args', args);
  const enrollment = currentEnrollment();
  if (!enrollment) {
    const { key } = target.options;
    if (key !== undefined)
      throw new InvalidOptionError(
        'key',
        'given inside of an enrolment block only: a plain job has none',
        key,
      );
    return plainJobClient(target).startPlainJob(target, args);
  }
  const jid = enrollment.enroll(target, argsJson);
  const hasRoom = enrollment.hasRoom();
  if (hasRoom !== true) await hasRoom;
  return jid;
}

export async function submitJobs<Args extends readonly unknown[]>(
  target: JobTarget,
  argLists: ArgLists<Args>,
): Promise<string[]> {
  const { key } = target.options;
  if (key !== undefined)
    throw new InvalidOptionError('key', 'given to performAsync: it is one job whatever its arguments', key);
  const jids: string[] = [];
  const enrollment = currentEnrollment();
  if (enrollment) {
    // Not one after the other: where the database numbers jobs, each waits until its row is committed.
    const enrolling: (string | Promise<string>)[] = [];
    for await (const args of argLists) {
      enrolling.push(enrollment.enroll(target, toExactJson('args', args)));
      const hasRoom = enrollment.hasRoom();
      if (hasRoom !== true) await hasRoom;
    }
    for (const jid of enrolling) jids.push(typeof jid === 'string' ? jid : await jid);
    return jids;
  }
  let starting: Promise<string>[] = [];
  for await (const args of argLists) {
    starting.push(submitJob(target, args));
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
