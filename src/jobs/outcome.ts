import { inspect } from 'node:util';
import { isNativeError } from 'node:util/types';
import { WorkflowFailedError, WorkflowUpdateFailedError } from '@temporalio/client';
import { ApplicationFailure, msToNumber, TemporalFailure } from '@temporalio/common';
import type { RetryOptions } from '../../workflows/batch-state.ts';
import { messageOf } from '../error-message.ts';
import { toStorable } from '../json-value.ts';

/** Longest error message that a row keeps, in characters. */
export const MAX_MESSAGE_LENGTH = 10_000;

/** Longest stack that a row keeps, in characters. */
export const MAX_STACK_LENGTH = 8_192;
/** Of these, the first lines, which repeat the message. */
const MAX_HEAD_LENGTH = 500;
const MAX_CAUSES = 5;

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
  const own = unwrapped(error);
  if (own instanceof ApplicationFailure) return toJobError(own.type ?? 'ApplicationFailure', messageOf(own));
  if (isError(own)) {
    // An error class that sets no name of its own still says what it is by its constructor.
    const name = own.name === 'Error' ? (own as Partial<Error>).constructor?.name : own.name;
    return toJobError(name, messageOf(own));
  }
  return toJobError('NonError', typeof own === 'string' && own !== '' ? own : inspect(own, { depth: 3 }));
}

/**
 * Where the error was thrown, with its causes and parts, cut to what a row keeps; undefined of what has no stack. Never
 * throws.
 */
export function stackOf(error: unknown): string | undefined {
  try {
    const stacks = stacksOf(unwrapped(error), new Set());
    return stacks.length === 0 ? undefined : toStorable(stacks.join('\n').slice(0, MAX_STACK_LENGTH));
  } catch {
    return undefined;
  }
}

function stacksOf(error: unknown, seen: Set<unknown>): string[] {
  if (!isError(error) || typeof error.stack !== 'string' || seen.size > MAX_CAUSES || seen.has(error))
    return [];
  seen.add(error);
  const { cause, errors } = error as { readonly cause?: unknown; readonly errors?: unknown };
  const parts: readonly unknown[] = Array.isArray(errors) ? errors : [];
  return [
    withShortHead(error.stack),
    ...stacksOf(cause, seen).map((stack, i) => (i === 0 ? `Caused by: ${stack}` : stack)),
    ...parts.flatMap((part) => stacksOf(part, seen).map((stack, i) => (i === 0 ? `Part: ${stack}` : stack))),
  ];
}

/** A long message would leave no room for the calls behind it, and the row has it already. */
function withShortHead(stack: string): string {
  const calls = stack.search(/^\s+at /m);
  const head = calls === -1 ? stack : stack.slice(0, calls);
  if (head.length <= MAX_HEAD_LENGTH) return stack;
  return `${head.slice(0, MAX_HEAD_LENGTH)}...\n${calls === -1 ? '' : stack.slice(calls)}`;
}

/** The user's own error. */
function unwrapped(error: unknown): unknown {
  let own = error;
  while (!(own instanceof ApplicationFailure) && isWrapper(own) && own.cause) own = own.cause;
  return own;
}

/** Also one of another realm, as tests in a VM and some libraries throw them. */
function isError(error: unknown): error is Error {
  return error instanceof Error || isNativeError(error);
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

/**
 * As rows keep it: cut, and without what Postgres cannot store. Errors of other people's code do not always hold what
 * their types say.
 */
export function toJobError(rawClass: unknown, rawMessage: unknown): JobError {
  const errorClass = typeof rawClass === 'string' ? rawClass : 'Error';
  const message = typeof rawMessage === 'string' ? rawMessage : inspect(rawMessage, { depth: 3 });
  const cut =
    message.length > MAX_MESSAGE_LENGTH
      ? `${message.slice(0, MAX_MESSAGE_LENGTH - 30)}... (${message.length} characters)`
      : message;
  return { errorClass: toStorable((errorClass || 'Error').slice(0, 200)), errorMessage: toStorable(cut) };
}
