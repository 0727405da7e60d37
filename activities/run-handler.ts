import type { JobContext } from '../src/jobs/job-context.ts';
import { runInJobContext } from '../src/jobs/job-context.ts';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import type { AnyJob } from './dependencies.ts';

/** The attempt took longer than its startToCloseTimeout, or the job than its scheduleToCloseTimeout. Rows show the name. */
export class JobTimeoutError extends Error {
  override readonly name = 'JobTimeoutError';
}

/** How long a handler may go on after the worker asked it to stop. */
const ABORT_GRACE_MS = 5_000;

/** How long an attempt may take, and because of which option. */
export interface TimeLimit {
  readonly ms: number;
  readonly option: 'startToCloseTimeout' | 'scheduleToCloseTimeout';
  readonly optionMs: number;
}

export function timedOut(name: string, { option, optionMs }: TimeLimit): JobTimeoutError {
  return new JobTimeoutError(`${name} did not end within ${optionMs / 1000} s (${option}).`);
}

export interface HandlerCall {
  readonly job: AnyJob;
  readonly args: readonly unknown[];
  readonly limit: TimeLimit;
  /** Fires when the worker gives up waiting. */
  readonly workerSignal: AbortSignal;
  readonly context: Omit<JobContext, 'signal'>;
}

/**
 * Runs a handler in its context, with its time limit. A handler that ignores its signal goes on in the background
 * when its time is over; its outcome is decided all the same.
 *
 * @throws what the handler throws, or {@link JobTimeoutError}
 */
export async function runHandler({ job, args, limit, workerSignal, context }: HandlerCall): Promise<void> {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  let abort!: () => void;
  const cutOff = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const error = timedOut(job.name, limit);
      controller.abort(error);
      reject(error);
    }, limit.ms);
    abort = () => {
      controller.abort(workerSignal.reason);
      clearTimeout(timer);
      // A handler that ignores its signal must not hold up the shutdown of its worker.
      timer = setTimeout(() => reject(new Error('The worker stopped waiting')), ABORT_GRACE_MS);
    };
  });
  if (workerSignal.aborted) abort();
  else workerSignal.addEventListener('abort', abort, { once: true });
  try {
    const running = runOutsideEnrollment(() =>
      runInJobContext({ ...context, signal: controller.signal }, async () => job.handler(...args)),
    );
    await Promise.race([running, cutOff]);
  } finally {
    clearTimeout(timer);
    workerSignal.removeEventListener('abort', abort);
  }
}
