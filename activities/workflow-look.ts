import type { Execution } from '../src/database/executions.ts';
import { toJobError, type JobError } from '../src/jobs/outcome.ts';
import { nextRunIdOf, type HistoryEvent } from '../src/temporal-history.ts';
import { CHECKS } from '../src/timeouts.ts';

/**
 * The rules of looking at workflows and activities that are jobs: what Temporal's answers mean. Pure functions.
 *
 * A job is a workflow id's chain of runs: what continues as new, is retried by its policy, or runs by a schedule of its
 * own goes on in another run, and has not ended. An activity has one run, whatever its policy retries.
 */
export interface ExecutionJob extends Execution {
  readonly batchId: string;
  /** The first run of its chain, or the run that was met by a start that may attach; null: not known. */
  readonly runId: string | null;
  /** Whether its start may have found a workflow that ran already: that one is the job then. */
  readonly mayAttach: boolean;
  /** Of a later round: whatever runs by that id now is the job, an operator may have started it again. */
  readonly isRetried: boolean;
}

/** The newest run of an id. */
export interface SeenRun {
  readonly runId: string;
  /** Of its chain. */
  readonly firstRunId: string;
  readonly isClosed: boolean;
  /** Epoch milliseconds. */
  readonly startedAt: number;
  /** In its memo or headers; `unreadable` where it was encrypted by the app. */
  readonly mark: SeenMark | 'unreadable' | undefined;
}

/** For which batch a run was started, and under which id: what copies a memo has another one. */
export interface SeenMark {
  readonly batchId: string;
  readonly id: string;
}

/** Whether the newest run is the job's, or one of its chain. */
export function isOfJob(job: ExecutionJob, { runId, firstRunId, mark }: SeenRun): boolean {
  if (job.isRetried) return true;
  if (job.runId !== null) return job.runId === firstRunId || job.runId === runId;
  if (job.mayAttach || mark === 'unreadable') return true;
  return mark !== undefined && mark.batchId === job.batchId && mark.id === job.id;
}

export type TemporalFailure = NonNullable<
  NonNullable<HistoryEvent['workflowExecutionFailedEventAttributes']>['failure']
>;

/** How a run closed: by the start of the next one, or as the end of its chain. */
export type RunEnd = { readonly nextRunId: string } | FinalEnd;

export interface FinalEnd {
  readonly nextRunId?: undefined;
  readonly failure: JobError | undefined;
}

/** What the last event of a run says; undefined: it has not closed. */
export function endOf(event: HistoryEvent): RunEnd | undefined {
  const {
    workflowExecutionCompletedEventAttributes: completed,
    workflowExecutionFailedEventAttributes: failed,
    workflowExecutionTimedOutEventAttributes: timedOut,
    workflowExecutionCanceledEventAttributes: cancelled,
    workflowExecutionTerminatedEventAttributes: terminated,
  } = event;
  const nextRunId = nextRunIdOf(event);
  if (nextRunId) return { nextRunId };
  if (completed) return { failure: undefined };
  if (failed) return { failure: failureOf(failed.failure ?? undefined, 'WorkflowFailedError') };
  if (timedOut)
    return { failure: toJobError('WorkflowTimedOutError', 'The workflow did not end within its timeout.') };
  if (cancelled) return { failure: toJobError('WorkflowCancelledError', 'The workflow was cancelled.') };
  if (terminated) {
    const reason = terminated.reason ? `: ${terminated.reason}` : '.';
    return { failure: toJobError('WorkflowTerminatedError', `The workflow was terminated${reason}`) };
  }
  return undefined;
}

// The names of these values are in a package of Temporal's that apps do not install.
const COMPLETED = 2;
const FAILED = 3;
const CANCELLED = 4;
const TERMINATED = 5;
const TIMED_OUT = 6;

/** What the status of an activity says, and its failure where it has one; undefined: it has not ended. */
export function endOfActivity(
  status: number | null | undefined,
  failure: TemporalFailure | undefined,
): RunEnd | undefined {
  const because = failure?.message ? `: ${failure.message}` : '.';
  switch (status) {
    case COMPLETED:
      return { failure: undefined };
    case FAILED:
      return { failure: failureOf(failure, 'ActivityFailedError') };
    case CANCELLED:
      return { failure: toJobError('ActivityCancelledError', 'The activity was cancelled.') };
    case TERMINATED:
      return { failure: toJobError('ActivityTerminatedError', `The activity was terminated${because}`) };
    case TIMED_OUT:
      return { failure: toJobError('ActivityTimedOutError', `The activity did not end in time${because}`) };
    default:
      return undefined;
  }
}

/** The innermost application failure says what went wrong; what is around it, in which activity or child. */
export function failureOf(failure: TemporalFailure | undefined, otherwise: string): JobError {
  let innermost = failure;
  let application: TemporalFailure | undefined;
  // Of an error without a message, that of what is around it.
  let message = '';
  for (let cause: TemporalFailure | null | undefined = failure; cause; cause = cause.cause) {
    innermost = cause;
    if (cause.applicationFailureInfo) application = cause;
    if (cause.message && (cause.applicationFailureInfo || !application)) ({ message } = cause);
  }
  if (application)
    return toJobError(application.applicationFailureInfo?.type || 'ApplicationFailure', message);
  return toJobError(kindOf(innermost) ?? otherwise, message);
}

function kindOf(failure: TemporalFailure | undefined): string | undefined {
  if (failure?.timeoutFailureInfo) return 'TimeoutFailure';
  if (failure?.canceledFailureInfo) return 'CancelledFailure';
  if (failure?.terminatedFailureInfo) return 'TerminatedFailure';
  if (failure?.serverFailureInfo) return 'ServerFailure';
  return undefined;
}

const NAMES = { workflow: 'Workflow', activity: 'Activity' } as const;

/** It is gone from Temporal, or its retention is over. */
export function deleted({ kind, id }: Execution): JobError {
  return toJobError(
    `${NAMES[kind]}DeletedError`,
    `${NAMES[kind]} "${id}" is gone: it was deleted, or its retention is over.`,
  );
}

/** The answer of its start was lost, and it is not there. */
export function notStarted({ kind, id }: Execution): JobError {
  return toJobError(
    `${NAMES[kind]}NotStartedError`,
    `${NAMES[kind]} "${id}" is not there: its process died before the start was requested, or the request was lost.`,
  );
}

/** What looking at all of a batch's workflows and activities may cost: a hundred in a second. */
const LOOK_MS = 10;
/** Delays grow in steps, so that those of workflows of about the same age are the same. */
const STEP = 1.5;

/** How soon a workflow or an activity is looked at again. @param pending jobs of its batch that have not ended */
export function nextLookMs(
  ageMs: number,
  { pending, intervalMs }: { pending: number; intervalMs: number },
): number {
  const firstMs = CHECKS.executionCheck;
  const steps = Math.max(0, Math.floor(Math.log(ageMs / 10 / firstMs) / Math.log(STEP)));
  const byAge = ageMs <= 0 ? firstMs : firstMs * STEP ** steps;
  return Math.round(Math.max(Math.min(byAge, intervalMs), pending * LOOK_MS));
}
