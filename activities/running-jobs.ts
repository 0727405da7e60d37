import { context, type Context } from '@opentelemetry/api';
import type { Logger } from '@temporalio/common';
import { runOutsideEnrollment } from '../src/client/enrollment-context.ts';
import type { BatchClient } from '../src/client/batch-client.ts';
import { runInJobContext, type JobContext } from '../src/jobs/job-context.ts';
import { waitMs } from '../src/timeouts.ts';
import type { AnyJob } from './dependencies.ts';
import { jobLogger } from './job-logger.ts';

/** The attempt took longer than its startToCloseTimeout, or the job than its scheduleToCloseTimeout. Rows show the name. */
export class JobTimeoutError extends Error {
  override readonly name = 'JobTimeoutError';
}

/** The longest time that a timer takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Timers fire up to a millisecond early. */
const TIMER_TOLERANCE_MS = 1;

/** How long an attempt may take, and because of which option. */
export interface TimeLimit {
  readonly ms: number;
  readonly option: 'startToCloseTimeout' | 'scheduleToCloseTimeout';
  readonly optionMs: number;
}

export function timedOut(name: string, { option, optionMs }: TimeLimit): JobTimeoutError {
  return new JobTimeoutError(`${name} did not end within ${optionMs / 1000} s (${option}).`);
}

export interface HandlerCall extends Pick<JobContext, 'jid' | 'batchId' | 'round' | 'attempt' | 'batches'> {
  readonly job: AnyJob;
  readonly args: readonly unknown[];
  readonly limit: TimeLimit;
  /** The trace context that the handler is to run in, if that is traced. */
  readonly trace?: Context | undefined;
}

/** Told once how a handler ended: with undefined and what it returned, or with what it threw. */
export type OnEnd = (failure: { readonly error: unknown } | undefined, result?: unknown) => void;

/**
 * Handlers that run in an activity, each in its context and with its time limit. A handler that ignores its signal
 * goes on in the background when its time is over; its outcome is decided all the same.
 *
 * By callbacks, with one timer and one listener for all of them: promises, timers and signals for each job were two
 * thirds of what a job that does nothing costs (20 of 33 µs).
 */
export class RunningJobs {
  readonly #workerSignal: AbortSignal;
  readonly #running = new Set<RunningJob>();
  readonly #onAbort = () => this.stop(this.#workerSignal.reason, waitMs('abortGrace'));
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Infinity;

  /** @param workerSignal fires when the worker gives up waiting */
  constructor(workerSignal: AbortSignal) {
    this.#workerSignal = workerSignal;
    workerSignal.addEventListener('abort', this.#onAbort, { once: true });
  }

  start(call: HandlerCall, onEnd: OnEnd): void {
    const job = new RunningJob(call, onEnd);
    this.#running.add(job);
    if (this.#workerSignal.aborted) this.#stop(job, this.#workerSignal.reason, waitMs('abortGrace'));
    this.#wakeAt(job.endsAt);
    let result: unknown;
    try {
      result = call.trace ? context.with(call.trace, () => handle(job, call)) : handle(job, call);
    } catch (error) {
      this.#end(job, { error });
      return;
    }
    if (!isThenable(result)) this.#end(job, undefined, result);
    else
      result.then(
        (value) => this.#end(job, undefined, value),
        (error: unknown) => this.#end(job, { error }),
      );
  }

  /** To be called when all have ended. */
  close(): void {
    clearTimeout(this.#timer);
    this.#workerSignal.removeEventListener('abort', this.#onAbort);
  }

  #end(job: RunningJob, failure: { readonly error: unknown } | undefined, result?: unknown): void {
    if (this.#running.delete(job)) job.onEnd(failure, result);
  }

  /** Asks all that run to stop. @param graceMs how long one that ignores its signal is waited for */
  stop(reason: unknown, graceMs: number): void {
    for (const job of this.#running) {
      this.#stop(job, reason, graceMs);
      this.#wakeAt(job.endsAt);
    }
  }

  /** A handler that ignores its signal must not hold up the shutdown of its worker, nor the end of its batch. */
  #stop(job: RunningJob, reason: unknown, graceMs: number): void {
    job.abort(reason);
    job.isStopped = true;
    job.endsAt = Math.min(job.endsAt, performance.now() + graceMs);
  }

  #wakeAt(time: number): void {
    if (time >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = time;
    this.#timer = setTimeout(
      () => this.#endOverdue(),
      Math.min(MAX_TIMER_MS, Math.max(0, time - performance.now())),
    );
  }

  #endOverdue(): void {
    this.#timerAt = Infinity;
    const now = performance.now() + TIMER_TOLERANCE_MS;
    for (const job of this.#running) {
      if (job.endsAt > now) {
        this.#wakeAt(job.endsAt);
        continue;
      }
      const error = job.isStopped ? new Error('Nobody waits for it any more') : job.timedOut();
      job.abort(error);
      this.#end(job, { error });
    }
  }
}

/** What `currentJob()` returns. Logger and signal are made when they are asked for. */
class RunningJob implements JobContext {
  readonly jid: string;
  readonly batchId: string | undefined;
  readonly round: number;
  readonly attempt: number;
  readonly batches: BatchClient;
  readonly onEnd: OnEnd;
  /** When its time is over, by `performance.now()`. */
  endsAt: number;
  /** Whether it was asked to stop. */
  isStopped = false;
  readonly #call: HandlerCall;
  #logger: Logger | undefined;
  #controller: AbortController | undefined;
  #abort: { readonly reason: unknown } | undefined;

  constructor(call: HandlerCall, onEnd: OnEnd) {
    this.jid = call.jid;
    this.batchId = call.batchId;
    this.round = call.round;
    this.attempt = call.attempt;
    this.batches = call.batches;
    this.onEnd = onEnd;
    this.endsAt = performance.now() + call.limit.ms;
    this.#call = call;
  }

  get logger(): Logger {
    return (this.#logger ??= jobLogger(this.#call));
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController();
      if (this.#abort) this.#controller.abort(this.#abort.reason);
    }
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#abort ??= { reason };
    this.#controller?.abort(reason);
  }

  timedOut(): JobTimeoutError {
    return timedOut(this.#call.job.name, this.#call.limit);
  }
}

function handle(job: RunningJob, call: HandlerCall): unknown {
  return runOutsideEnrollment(() => runInJobContext(job, () => call.job.handler(...call.args)));
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as PromiseLike<unknown>).then === 'function'
  );
}
