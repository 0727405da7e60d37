import { submitJob, submitJobs, type JobTarget } from '../client/submit.ts';
import { InvalidOptionError } from '../errors.ts';
import { assertName } from '../options.ts';
import { RESERVED_PREFIX } from './member-batch.ts';
import {
  overrideJobOptions,
  resolveJobOptions,
  type JobCallOptions,
  type JobOptions,
  type ResolvedJobOptions,
} from './job-options.ts';

/** Argument lists for `performBulk`: an array, or anything that can be iterated, also asynchronously. */
export type ArgLists<Args extends readonly unknown[]> = Iterable<Args> | AsyncIterable<Args>;

/** Ways to start a job. */
export interface JobCalls<Args extends readonly unknown[]> {
  /**
   * Starts one job. Inside an enrolment block it becomes a member of the batch; elsewhere it runs as a plain job that
   * belongs to no batch. Waits only while too many jobs are on their way to the database. A start in a block need not be
   * awaited: `jobs()` rejects with its error.
   *
   * @returns the jid
   * @throws {@link InvalidArgumentsError} for arguments that JSON cannot carry exactly, or over 64 KiB
   * @throws {@link EnrollmentClosedError} in work that outlived its block
   * @throws {@link BatchError} with code `NO_CLIENT` outside of a block, when the process has no open `BatchClient`
   */
  performAsync(...args: Args): Promise<string>;
  /**
   * Starts one job for each argument list. The block stays open until it has, also where it is not awaited.
   *
   * @returns the jids, in order. For millions of jobs call `performAsync` in a loop: it keeps no list.
   */
  performBulk(argLists: ArgLists<Args>): Promise<string[]>;
  /** @internal */
  readonly target: JobTarget;
}

/**
 * A handler job. Import it where jobs are started and give it to the worker that runs them. `Result` is what its handler
 * returns.
 */
export interface Job<Args extends readonly unknown[], Result = unknown> extends JobCalls<Args> {
  readonly name: string;
  /** The function that does the work, as it was given: to be called in unit tests of it. */
  readonly handler: (...args: Args) => Result | PromiseLike<Result>;
  /** The same calls with other options. @throws {@link InvalidOptionError} */
  set(options: JobCallOptions): JobCalls<Args>;
  /** @internal */
  readonly options: ResolvedJobOptions;
  /** @internal */
  readonly storesResult: boolean;
}

/**
 * Defines a job: a name that rows and workers know it by, and the function that does the work. The function runs at
 * least once; make it safe to repeat.
 *
 * @param name unique among the jobs of a worker; stored in every row as `worker_class`
 * @throws {@link InvalidOptionError}
 * @example
 * export const scoreEntry = defineJob('ScoreEntry', async (entryId: number) => { await score(entryId); }, {
 *   retry: { maximumAttempts: 5 },
 * });
 */
export function defineJob<Args extends readonly unknown[], Returned = unknown>(
  name: string,
  handler: (...args: Args) => Returned,
  options?: JobOptions,
): Job<Args, Awaited<Returned>> {
  assertName('name', name);
  if (name.startsWith(RESERVED_PREFIX)) {
    throw new InvalidOptionError('name', `a name that does not begin with "${RESERVED_PREFIX}"`, name);
  }
  if (typeof handler !== 'function') throw new InvalidOptionError('handler', 'a function', handler);
  const resolved = resolveJobOptions(`defineJob("${name}")`, options);
  return {
    name,
    handler: handler as Job<Args, Awaited<Returned>>['handler'],
    options: resolved,
    storesResult: options?.storeResult ?? false,
    ...callsOf<Args>(name, resolved, false),
    set: (callOptions) =>
      callsOf<Args>(
        name,
        overrideJobOptions(`${name}.set()`, resolved, callOptions),
        hasOverrides(callOptions),
      ),
  };
}

/** Whether the row must keep more of these options than their columns do. */
function hasOverrides({
  key: _key,
  startDelay: _delay,
  taskQueue: _queue,
  ...others
}: JobCallOptions): boolean {
  return Object.keys(others).length > 0;
}

function callsOf<Args extends readonly unknown[]>(
  name: string,
  options: ResolvedJobOptions,
  isOverridden: boolean,
): JobCalls<Args> {
  const target = { name, options, isOverridden };
  return {
    // Not async: that would make another promise, whose rejection could end the process.
    performAsync: (...args) => submitJob(target, args),
    performBulk: (argLists) => submitJobs(target, argLists),
    target,
  };
}

/** Whether a value came from {@link defineJob}. */
export function isJob(value: unknown): value is Job<readonly unknown[]> {
  const candidate = value as Partial<Job<readonly unknown[]>> | null | undefined;
  return (
    typeof candidate?.name === 'string' &&
    typeof candidate.handler === 'function' &&
    typeof candidate.performAsync === 'function'
  );
}
