import { AsyncLocalStorage } from 'node:async_hooks';
import { asyncLocalStorage as activityStorage } from '@temporalio/activity';
import { InvalidOptionError } from '../errors.ts';
import type { Enrollment } from './enrollment.ts';

interface Block {
  /** Undefined outside of any block. */
  readonly enrollment: Enrollment | undefined;
  /** The activity that opened it, if one did. */
  readonly activity: unknown;
}

const storage = new AsyncLocalStorage<Block | undefined>();

const OUTSIDE: Block = { enrollment: undefined, activity: undefined };

/**
 * The enrolment block that the caller runs in, open or closed; undefined outside of any. What activities do of a worker
 * that was created in a block is no part of it, though they inherit its context.
 */
export function currentEnrollment(): Enrollment | undefined {
  const block = storage.getStore();
  return block?.activity === activityStorage.getStore() ? block?.enrollment : undefined;
}

export function runInEnrollment<T>(enrollment: Enrollment, run: () => T): T {
  return storage.run({ enrollment, activity: activityStorage.getStore() }, run);
}

/** Runs a handler outside of any block: what jobs start is never a member, also when one process does both. */
export function runOutsideEnrollment<T>(run: () => T): T {
  return storage.run(OUTSIDE, run);
}

/** Whether the caller was put outside of blocks, and is not just in code that knows of none. */
export function isRunOutsideEnrollment(): boolean {
  return storage.getStore() === OUTSIDE;
}

/**
 * Runs a function outside of the enrollment block that the caller is in. Jobs that it starts, also later from a timer or
 * a listener that it creates, belong to no batch; so do workflows that it starts with a client that has `BatchPlugin`.
 *
 * @returns what the function returns
 * @throws {@link InvalidOptionError} when it is not given a function
 * @example
 * timer ??= outsideBlock(() => setInterval(() => void heartbeat.performAsync(), 1_000));
 */
export function outsideBlock<T>(run: () => T): T {
  if (typeof run !== 'function') throw new InvalidOptionError('run', 'a function', run);
  return runOutsideEnrollment(run);
}
