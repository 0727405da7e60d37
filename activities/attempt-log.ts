import { log } from '@temporalio/activity';
import type { Logger } from '@temporalio/common';

/** Failed attempts of one name of jobs that are logged in a second: thousands may fail at once, all alike. */
export const MAX_LOGGED_PER_SECOND = 5;
const SECOND_MS = 1_000;

/** An attempt that failed, or a job that failed without one. */
export interface FailedAttemptLine {
  readonly jid: string;
  readonly batchId: string;
  readonly round: number;
  readonly workerClass: string;
  readonly attempt: number;
  readonly errorClass: string;
  readonly errorMessage: string;
  readonly stack?: string | undefined;
  /** When it is tried again; null: never. */
  readonly retryInMs: number | null;
}

interface Second {
  logged: number;
  /** Failures of it that were not logged. */
  omitted: number;
}

/** Of a message; its row has all of it. */
const MAX_LOGGED_LENGTH = 500;

/** The worker's log of failed attempts, of each name of jobs a few in a second, and how many there were beside them. */
export class AttemptLog {
  readonly #logger: () => Pick<Logger, 'warn'>;
  readonly #seconds = new Map<string, Second>();

  /** @param logger of the worker, for what concerns no single batch */
  constructor(logger: () => Pick<Logger, 'warn'>) {
    this.#logger = logger;
  }

  failed({ errorMessage, ...line }: FailedAttemptLine): void {
    const { workerClass, retryInMs } = line;
    const second = this.#seconds.get(workerClass) ?? this.#begin(workerClass);
    if (second.logged === MAX_LOGGED_PER_SECOND) {
      second.omitted++;
      return;
    }
    second.logged++;
    log.warn(retryInMs === null ? 'A job failed for good' : 'A job attempt failed; will retry', {
      ...line,
      errorMessage: errorMessage.slice(0, MAX_LOGGED_LENGTH),
    });
  }

  #begin(workerClass: string): Second {
    const second: Second = { logged: 0, omitted: 0 };
    this.#seconds.set(workerClass, second);
    setTimeout(() => this.#end(workerClass, second), SECOND_MS).unref();
    return second;
  }

  #end(workerClass: string, { omitted }: Second): void {
    this.#seconds.delete(workerClass);
    if (omitted > 0)
      this.#logger().warn('More job attempts failed than the log shows', { workerClass, omitted });
  }
}
