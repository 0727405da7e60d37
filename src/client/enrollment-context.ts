import { AsyncLocalStorage } from 'node:async_hooks';
import { asyncLocalStorage as activityStorage } from '@temporalio/activity';
import type { Enrollment } from './enrollment.ts';

interface Block {
  readonly enrollment: Enrollment;
  /** The activity that opened it, if one did. */
  readonly activity: unknown;
}

const storage = new AsyncLocalStorage<Block | undefined>();

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
  return storage.run(undefined, run);
}
