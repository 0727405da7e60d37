import { inspect } from 'node:util';
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, msToNumber, TemporalFailure } from '@temporalio/common';
import type { RetryOptions } from '../../workflows/batch-state.ts';
import { toStorable } from '../json-value.ts';

/** Longest error message that a row keeps, in characters. */
export const MAX_MESSAGE_LENGTH = 10_000;

/** Class and message of what a handler threw, as rows show them. */
export interface JobError {
  readonly errorClass: string;
  readonly errorMessage: string;
}

/**
 * The user's own error, not a wrapper: its class name (or failure type) and its message, cut to what a row keeps.
 * Never throws: a job whose error cannot be described must fail all the same.
 */
export function describeError(error: unknown): JobError {
  try {
    return describe(error);
  } catch {
    return {
      errorClass: error instanceof Error ? 'Error' : 'NonError',
      errorMessage: 'An error that cannot be shown',
    };
  }
}

function describe(error: unknown): JobError {
  if (error instanceof ApplicationFailure)
    return toJobError(error.type ?? 'ApplicationFailure', error.message);
  if (isWrapper(error) && error.cause) return describe(error.cause);
  if (error instanceof Error) {
    // An error class that sets no name of its own still says what it is by its constructor.
    const name = error.name === 'Error' ? (error as Partial<Error>).constructor?.name : error.name;
    return toJobError(name, error.message);
  }
  return toJobError('NonError', typeof error === 'string' ? error : inspect(error, { depth: 3 }));
}

/** What Temporal puts around the error of an activity or a workflow that a handler waited for. */
function isWrapper(error: unknown): error is Error {
  return (
    error instanceof TemporalFailure ||
    error instanceof WorkflowFailedError ||
    error instanceof WorkflowUpdateFailedError
  );
}

/** When to try again after an attempt failed: in so many milliseconds, or null for never. */
export function retryDelay(
  retry: RetryOptions,
  attempt: { number: number; error: unknown; errorClass: string },
  limits: { ageMs: number; scheduleToCloseTimeoutMs?: number | undefined },
): number | null {
  const { error } = attempt;
  if (error instanceof ApplicationFailure && error.nonRetryable) return null;
  if (retry.nonRetryableErrorTypes.includes(attempt.errorClass)) return null;
  if (retry.maximumAttempts !== undefined && attempt.number >= retry.maximumAttempts) return null;
  const asked = error instanceof ApplicationFailure ? requestedDelay(error) : undefined;
  const delay =
    asked ??
    Math.min(
      retry.maximumIntervalMs,
      retry.initialIntervalMs * retry.backoffCoefficient ** (attempt.number - 1),
    );
  const { ageMs, scheduleToCloseTimeoutMs = Infinity } = limits;
  return ageMs + delay >= scheduleToCloseTimeoutMs ? null : delay;
}

/** What the failure asks for itself, if that is a time. */
function requestedDelay({ nextRetryDelay }: ApplicationFailure): number | undefined {
  if (nextRetryDelay === undefined || nextRetryDelay === null) return undefined;
  try {
    const ms = msToNumber(nextRetryDelay);
    return ms >= 0 ? ms : undefined;
  } catch {
    return undefined;
  }
}

/** Errors of other people's code do not always hold what their types say. */
/** As rows keep it: cut, and without what Postgres cannot store. */
export function toJobError(rawClass: unknown, rawMessage: unknown): JobError {
  const errorClass = typeof rawClass === 'string' ? rawClass : 'Error';
  const message = typeof rawMessage === 'string' ? rawMessage : inspect(rawMessage, { depth: 3 });
  const cut =
    message.length > MAX_MESSAGE_LENGTH
      ? `${message.slice(0, MAX_MESSAGE_LENGTH - 30)}... (${message.length} characters)`
      : message;
  return { errorClass: toStorable((errorClass || 'Error').slice(0, 200)), errorMessage: toStorable(cut) };
}
