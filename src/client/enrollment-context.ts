import { AsyncLocalStorage } from 'node:async_hooks';
import type { Enrollment } from './enrollment.ts';

const storage = new AsyncLocalStorage<Enrollment | undefined>();

/** The enrolment block that the caller runs in, open or closed; undefined outside of any. */
export function currentEnrollment(): Enrollment | undefined {
  return storage.getStore();
}

export function runInEnrollment<T>(enrollment: Enrollment, run: () => T): T {
  return storage.run(enrollment, run);
}

/** Runs a handler outside of any block: what jobs start is never a member, also when one process does both. */
export function runOutsideEnrollment<T>(run: () => T): T {
  return storage.run(undefined, run);
}
