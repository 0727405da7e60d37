import { nearestName } from './near-miss.ts';

/** Stable codes of the errors that this library throws. Branch on these, not on message texts. */
export type BatchErrorCode =
  | 'ACTIVITY_ENROLLED'
  | 'ALREADY_ENROLLED'
  | 'BATCH_CANCELLED'
  | 'BATCH_CYCLE'
  | 'BATCH_EXISTS'
  | 'BATCH_FAILED'
  | 'BATCH_NOT_FOUND'
  | 'BATCH_RUNNING'
  | 'BATCH_SEALED'
  | 'BATCH_SETTLED'
  | 'BATCH_TERMINATED'
  | 'CALLBACK_ALREADY_REGISTERED'
  | 'CALLBACK_NOT_FAILED'
  | 'CALLBACK_NOT_REGISTERED'
  | 'CALLBACK_RUNNING'
  | 'CLIENT_CLOSED'
  | 'CODEC_MISMATCH'
  | 'CODEC_UNAVAILABLE'
  | 'CONTEXT_LOST'
  | 'DATABASE_MISMATCH'
  | 'DATABASE_REFUSED'
  | 'DATABASE_UNAVAILABLE'
  | 'EMPTY_BATCH'
  | 'ENROLLMENT_BROKEN'
  | 'ENROLLMENT_CLOSED'
  | 'ENROLLMENT_TIMED_OUT'
  | 'INVALID_ARGUMENTS'
  | 'INVALID_OPTION'
  | 'JOB_ENDED'
  | 'JOB_NOT_LIMITED'
  | 'MIGRATIONS_PENDING'
  | 'NAMESPACE_UNKNOWN'
  | 'NESTED_ENROLLMENT'
  | 'NO_CLIENT'
  | 'NO_ENROLLMENT'
  | 'NO_JOB_CONTEXT'
  | 'NOT_ENROLLABLE'
  | 'NOTHING_TO_RETRY'
  | 'TEMPORAL_ACCESS_DENIED'
  | 'TEMPORAL_OVERLOADED'
  | 'TEMPORAL_UNAVAILABLE'
  | 'UNKNOWN_LIMIT'
  | 'WAIT_TIMED_OUT'
  | 'WORKER_BUSY'
  | 'WORKER_FAILING'
  | 'WORKER_UNAVAILABLE'
  | 'WORKFLOW_ENROLLED';

/** Base class of every error that this library throws on purpose. */
export class BatchError extends Error {
  /** Stable, machine-readable reason. */
  readonly code: BatchErrorCode;

  constructor(code: BatchErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }

  static {
    this.prototype.name = 'BatchError';
  }
}

/** Thrown by every public call whose option or argument is not what it expects. Nothing has happened. */
export class InvalidOptionError extends BatchError {
  /** Name of the option or argument that was refused. */
  readonly option: string;

  constructor(option: string, expected: string, given: unknown, hint?: string) {
    const problem = `${option} must be ${expected}, but was ${show(given)}.`;
    super('INVALID_OPTION', hint === undefined ? problem : `${problem} ${hint}`);
    this.option = option;
  }

  static {
    this.prototype.name = 'InvalidOptionError';
  }
}

/** Thrown by `performAsync`, `performBulk` and `create` for values that JSON cannot carry or that are too large. */
export class InvalidArgumentsError extends BatchError {
  /** Where the value stands, for example `args[0].user.birthday`. */
  readonly path: string;

  constructor(path: string, problem: string) {
    super('INVALID_ARGUMENTS', `${path} ${problem}`);
    this.path = path;
  }

  static {
    this.prototype.name = 'InvalidArgumentsError';
  }
}

/** Thrown by `find`, and by a batch's methods once its row is gone. */
export class BatchNotFoundError extends BatchError {
  readonly batchId: string;

  constructor(batchId: string, options?: ErrorOptions) {
    super(
      'BATCH_NOT_FOUND',
      `Batch "${batchId}" does not exist in this database schema. Check the id, the schema, and whether its retention has passed.`,
      options,
    );
    this.batchId = batchId;
  }

  static {
    this.prototype.name = 'BatchNotFoundError';
  }
}

/** Thrown by `create` when the given id belongs to a batch already that was created with other options. */
export class BatchExistsError extends BatchError {
  readonly batchId: string;
  /** Names of the options that differ. */
  readonly differences: readonly string[];

  constructor(batchId: string, options?: ErrorOptions & { readonly differences?: readonly string[] }) {
    const differences = options?.differences ?? [];
    const how = differences.length > 0 ? ` with another definition (${differences.join(', ')})` : '';
    super(
      'BATCH_EXISTS',
      `Batch "${batchId}" exists already${how}. Use find("${batchId}"), or create it with another id.`,
      options?.cause === undefined ? undefined : { cause: options.cause },
    );
    this.batchId = batchId;
    this.differences = differences;
  }

  static {
    this.prototype.name = 'BatchExistsError';
  }
}

/** Thrown by `retryFailed` while jobs or callbacks of the batch still run. */
export class BatchRunningError extends BatchError {
  static {
    this.prototype.name = 'BatchRunningError';
  }
}

/** Thrown by `jobs` and `performAsync` when the batch was cancelled while its block was open, or before. */
export class BatchCancelledError extends BatchError {
  static {
    this.prototype.name = 'BatchCancelledError';
  }
}

/**
 * Thrown where batches would wait for each other forever: by `enrol` of a batch that has the other one as a job, itself
 * or through others; by `wait` in a job, callback or block of a batch that the batch waits for. Nothing was enrolled.
 */
export class BatchCycleError extends BatchError {
  /** Ids of the batches: each waits for the next one, and the last is the first. */
  readonly path: readonly string[];

  constructor(what: string, path: readonly string[]) {
    super(
      'BATCH_CYCLE',
      `${what}: each of these batches would wait for the next one, forever: ${path.map((id) => `"${id}"`).join(' → ')}.`,
    );
    this.path = path;
  }

  static {
    this.prototype.name = 'BatchCycleError';
  }
}

/**
 * Thrown by `jobs` and `performAsync` when the batch was stopped while its block was open, or before, and ends `failed`:
 * its deadline has passed, or too many of its jobs failed.
 */
export class BatchFailedError extends BatchError {
  static {
    this.prototype.name = 'BatchFailedError';
  }
}

/**
 * Thrown by every call that needs the batch's workflow, once an operator has terminated that workflow. Nothing moves the
 * batch until `retryFailed` runs its unfinished jobs as a new round, or `cancel` ends it.
 */
export class BatchTerminatedError extends BatchError {
  static {
    this.prototype.name = 'BatchTerminatedError';
  }
}

/**
 * Thrown by `on` once the event can no longer fire, or fired already; by `cancel`, `pause`, `resume` and `update` when
 * all jobs are terminal, or the batch was stopped.
 */
export class BatchSettledError extends BatchError {
  static {
    this.prototype.name = 'BatchSettledError';
  }
}

/** Thrown by `on` when another callback is registered for the event. */
export class CallbackAlreadyRegisteredError extends BatchError {
  static {
    this.prototype.name = 'CallbackAlreadyRegisteredError';
  }
}

/** Thrown by `jobs` and `performAsync` of an open-ended batch that was sealed: nothing can be added from outside. */
export class BatchSealedError extends BatchError {
  static {
    this.prototype.name = 'BatchSealedError';
  }
}

/** Thrown in a handler that adds jobs to its batch and whose attempt has ended, because its time was over. */
export class JobEndedError extends BatchError {
  static {
    this.prototype.name = 'JobEndedError';
  }
}

/** Most known names that a message lists. */
const MAX_NAMES = 20;

/** Thrown by `performAsync` for a job under a limit that does not exist. The job is not enrolled. */
export class UnknownLimitError extends BatchError {
  /** The unknown name. */
  readonly limit: string;

  constructor(limit: string, known: readonly string[]) {
    const nearest = nearestName(limit, known);
    const names = known.slice(0, MAX_NAMES).map((name) => `"${name}"`);
    const list = [...names, ...(known.length > MAX_NAMES ? ['…'] : [])].join(', ');
    super(
      'UNKNOWN_LIMIT',
      `There is no limit "${limit}"${nearest === undefined ? '' : ` (did you mean "${nearest}"?)`}. ` +
        `${list === '' ? 'No limit was set.' : `Limits that were set: ${list}.`} ` +
        'Set it with batches.limits.set, or `batch-jobs limits`, before jobs under it are started.',
    );
    this.limit = limit;
  }

  static {
    this.prototype.name = 'UnknownLimitError';
  }
}

/** Thrown by `update` for `jobLimits` of a name that had no entry when the batch was created. Nothing has changed. */
export class JobNotLimitedError extends BatchError {
  static {
    this.prototype.name = 'JobNotLimitedError';
  }
}

/**
 * Thrown by `jobs` when a block was opened for this batch before, in this or any other process; by `performAsync` when
 * another process has taken the block over.
 */
export class AlreadyEnrolledError extends BatchError {
  static {
    this.prototype.name = 'AlreadyEnrolledError';
  }
}

/** Thrown by `jobs` when its block ended without a single job; the batch has been removed. */
export class EmptyBatchError extends BatchError {
  static {
    this.prototype.name = 'EmptyBatchError';
  }
}

/** Thrown by `jobs` when it is called inside another enrolment block; the outer block goes on. */
export class NestedEnrollmentError extends BatchError {
  static {
    this.prototype.name = 'NestedEnrollmentError';
  }
}

/**
 * Thrown by `jobs` when its block returns jids of jobs that were started in the context of other code: they are jobs of
 * another batch, or of none. The batch ends `failed`.
 */
export class ContextLostError extends BatchError {
  /** Jids of jobs that are not in the batch. */
  readonly jids: readonly string[];

  constructor(batchId: string, jids: readonly string[], advice: string) {
    const example = jids[0]!;
    const slash = example.lastIndexOf('/');
    const owner = slash < 0 ? 'no batch' : `batch "${example.slice(0, slash)}"`;
    super(
      'CONTEXT_LOST',
      `The enrollment block of batch "${batchId}" returned jids of ${jids.length} job${jids.length === 1 ? '' : 's'} ` +
        `that ${jids.length === 1 ? 'is' : 'are'} not in the batch, for example "${example}" of ${owner}: ${advice}`,
    );
    this.jids = jids;
  }

  static {
    this.prototype.name = 'ContextLostError';
  }
}

/**
 * Thrown by `jobs` with `once` when the block of an earlier call broke: it threw, or its process fell silent. The batch
 * ends `failed`, and takes no block any more.
 */
export class EnrollmentBrokenError extends BatchError {
  static {
    this.prototype.name = 'EnrollmentBrokenError';
  }
}

/** Thrown by `performAsync` in work that outlived its enrolment block; the job was not started. */
export class EnrollmentClosedError extends BatchError {
  static {
    this.prototype.name = 'EnrollmentClosedError';
  }
}

/** Thrown by `jobs` and `performAsync` when the batch closed its block because nothing was heard for `enrollmentTimeout`. */
export class EnrollmentTimedOutError extends BatchError {
  static {
    this.prototype.name = 'EnrollmentTimedOutError';
  }
}

/** Thrown by `wait` when the batch has not finished before the deadline. The batch goes on. */
export class WaitTimedOutError extends BatchError {
  static {
    this.prototype.name = 'WaitTimedOutError';
  }
}

/** Thrown when the database schema lacks migrations that this version needs. */
export class MigrationsPendingError extends BatchError {
  /** Names of the missing migrations, in order. Empty where a statement met a missing table, column or function. */
  readonly pending: readonly string[];

  constructor(
    schema: string,
    pending: readonly string[],
    options?: ErrorOptions & { readonly reason?: string },
  ) {
    const lacks =
      pending.length === 0
        ? `what this version needs: ${options?.reason}`
        : `${pending.length} migration${pending.length === 1 ? '' : 's'}: ${pending.join(', ')}`;
    super(
      'MIGRATIONS_PENDING',
      `Schema "${schema}" lacks ${lacks}. Run: npx batch-jobs migrate --schema ${schema}`,
      options?.cause === undefined ? undefined : { cause: options.cause },
    );
    this.pending = pending;
  }

  static {
    this.prototype.name = 'MigrationsPendingError';
  }
}

/** Thrown when no worker answered for 15 s, because none polls the task queue. Its subclasses have other reasons. */
export class WorkerUnavailableError extends BatchError {
  static {
    this.prototype.name = 'WorkerUnavailableError';
  }
}

/** Thrown when workers poll the task queue, and none answered for 15 s: they are overloaded, or hang. */
export class WorkerBusyError extends WorkerUnavailableError {
  static {
    this.prototype.name = 'WorkerBusyError';
  }
}

/** Thrown when a worker took the call and keeps failing it. The message has the worker's error. */
export class WorkerFailingError extends WorkerUnavailableError {
  static {
    this.prototype.name = 'WorkerFailingError';
  }
}

/**
 * Thrown by `create` and by calls to a batch when only workers with another database or schema answered. The message
 * names both schemas with their IDs. `create` has left nothing behind.
 */
export class DatabaseMismatchError extends WorkerUnavailableError {
  static {
    this.prototype.name = 'DatabaseMismatchError';
  }
}

/**
 * Thrown when Temporal cannot be reached. `cause` has the client's error. Its subclasses are thrown when Temporal
 * answers, and refuses the call.
 */
export class TemporalUnavailableError extends BatchError {
  static {
    this.prototype.name = 'TemporalUnavailableError';
  }
}

/** Thrown when Temporal has no namespace of the client's name. */
export class NamespaceUnknownError extends TemporalUnavailableError {
  static {
    this.prototype.name = 'NamespaceUnknownError';
  }
}

/** Thrown when Temporal does not accept the client's credentials, or they do not permit the call. */
export class TemporalAccessDeniedError extends TemporalUnavailableError {
  static {
    this.prototype.name = 'TemporalAccessDeniedError';
  }
}

/** Thrown when Temporal refuses the call because a rate limit, or a limit of updates, is reached. */
export class TemporalOverloadedError extends TemporalUnavailableError {
  static {
    this.prototype.name = 'TemporalOverloadedError';
  }
}

/**
 * Thrown when the client and the workers of a batch have different payload codecs, so that one cannot read what the
 * other wrote.
 */
export class CodecMismatchError extends BatchError {
  static {
    this.prototype.name = 'CodecMismatchError';
  }
}

/** Thrown by commands with `--codec-endpoint` when the codec server does not answer as it should. */
export class CodecUnavailableError extends BatchError {
  static {
    this.prototype.name = 'CodecUnavailableError';
  }
}

/**
 * Thrown when Postgres cannot be reached or cannot serve now, after retries: it is down, read-only, full, or a lock or
 * a timeout was in the way. `cause` has the driver's error.
 */
export class DatabaseUnavailableError extends BatchError {
  /** The SQLSTATE that Postgres answered with; undefined where it did not answer. */
  readonly sqlstate: string | undefined;

  constructor(
    code: BatchErrorCode,
    message: string,
    options?: ErrorOptions & { readonly sqlstate?: string | undefined },
  ) {
    super(code, message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.sqlstate = options?.sqlstate;
  }

  static {
    this.prototype.name = 'DatabaseUnavailableError';
  }
}

/**
 * Thrown when Postgres refuses a statement for good: a wrong password, an unknown database, a missing grant, or a
 * constraint. Repeating the call without a change does not help. `cause` has the driver's error.
 */
export class DatabaseRefusedError extends BatchError {
  /** The SQLSTATE that Postgres answered with; undefined where the connection was not made. */
  readonly sqlstate: string | undefined;

  constructor(
    code: BatchErrorCode,
    message: string,
    options?: ErrorOptions & { readonly sqlstate?: string | undefined },
  ) {
    super(code, message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.sqlstate = options?.sqlstate;
  }

  static {
    this.prototype.name = 'DatabaseRefusedError';
  }
}

/**
 * Thrown by a client with `BatchPlugin` that starts a workflow inside an enrolment block whose id is a job of the batch
 * already. Nothing was started.
 */
export class WorkflowEnrolledError extends BatchError {
  readonly workflowId: string;

  constructor(batchId: string, workflowId: string) {
    super(
      'WORKFLOW_ENROLLED',
      `Workflow "${workflowId}" is a job of batch "${batchId}" already, or is being started as one. It was not started ` +
        'again; give each job a workflow id of its own.',
    );
    this.workflowId = workflowId;
  }

  static {
    this.prototype.name = 'WorkflowEnrolledError';
  }
}

/**
 * Thrown by a client with `BatchPlugin` that starts an activity inside an enrolment block whose id is a job of the batch
 * already. Nothing was started.
 */
export class ActivityEnrolledError extends BatchError {
  readonly activityId: string;

  constructor(batchId: string, activityId: string) {
    super(
      'ACTIVITY_ENROLLED',
      `Activity "${activityId}" is a job of batch "${batchId}" already, or is being started as one. It was not started ` +
        'again; give each job an activity id of its own.',
    );
    this.activityId = activityId;
  }

  static {
    this.prototype.name = 'ActivityEnrolledError';
  }
}

/**
 * Thrown by a client with `BatchPlugin` inside an enrollment block for what cannot be a job, because it never ends:
 * schedules, and workflows with a `cronSchedule`. Nothing was created.
 */
export class NotEnrollableError extends BatchError {
  constructor(batchId: string, what: string) {
    super(
      'NOT_ENROLLABLE',
      `${what} was to be created inside the enrollment block of batch "${batchId}", and cannot be a job of it. Do it outside of the block: outsideBlock(() => …).`,
    );
  }

  static {
    this.prototype.name = 'NotEnrollableError';
  }
}

/** Renders a refused value for an error message: its type and a short form of it. */
export function show(value: unknown): string {
  if (value === undefined || value === null) return String(value);
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`;
  if (typeof value === 'number') return `${value} (number)`;
  if (typeof value === 'bigint') return `${value}n (bigint)`;
  let text: string;
  try {
    text = typeof value === 'object' ? (JSON.stringify(value) ?? typeof value) : JSON.stringify(value);
  } catch {
    text = Object.prototype.toString.call(value);
  }
  text ??= typeof value;
  return `${text.length > 80 ? `${text.slice(0, 77)}...` : text} (${Array.isArray(value) ? 'array' : typeof value})`;
}
