import type { JobContext } from '../src/jobs/job-context.ts';
import { runInJobContext } from '../src/jobs/job-context.ts';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import type { AnyJob } from './dependencies.ts';

/** The attempt took longer than its startToCloseTimeout. Its class name is what rows show. */
export class JobTimeoutError extends Error {
  override readonly name = 'JobTimeoutError';
}

export interface HandlerCall {
  readonly job: AnyJob;
  readonly args: readonly unknown[];
  readonly timeoutMs: number;
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
export async function runHandler({
  job,
  args,
  timeoutMs,
  workerSignal,
  context,
}: HandlerCall): Promise<void> {
  const controller = new AbortController();
  const abort = () => controller.abort(workerSignal.reason);
  if (workerSignal.aborted) abort();
  else workerSignal.addEventListener('abort', abort, { once: true });
  let timer: NodeJS.Timeout | undefined;
  try {
    const running = runOutsideEnrollment(() =>
      runInJobContext({ ...context, signal: controller.signal }, async () => job.handler(...args)),
    );
    const timedOut = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        const error = new JobTimeoutError(
          `${job.name} did not end within ${timeoutMs / 1000} s (startToCloseTimeout).`,
        );
        controller.abort(error);
        reject(error);
      }, timeoutMs);
    });
    await Promise.race([running, timedOut]);
  } finally {
    clearTimeout(timer);
    workerSignal.removeEventListener('abort', abort);
  }
}
