import { appendFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import type { RetryPlan } from './plan-policy.ts';

export type CallbackEvent = 'complete' | 'failure' | 'cancelled' | 'settled' | 'idle';

/** What the batch's row said when a callback began. */
export interface SeenProgress {
  readonly status: string;
  readonly total: number;
  readonly complete: number;
  readonly failed: number;
  readonly cancelled: number;
  readonly pending: number;
  readonly isSettled: boolean;
}

/** What a job's handler returned. */
export interface JobResult {
  readonly name: string;
  readonly attempt: number;
  /** Tells this execution from all others. */
  readonly nonce: string;
}

interface Written {
  readonly batch: string;
  readonly pid: number;
  /** Epoch milliseconds. */
  readonly at: number;
}

export interface JobEntry extends Written {
  /** `job-end`: its handler returned; `job-stop`: it threw. */
  readonly what: 'job-start' | 'job-end' | 'job-stop';
  readonly position: number;
  readonly attempt: number;
  /** In a `job-end`. */
  readonly result?: JobResult;
}

export interface CallbackEntry extends Written {
  readonly what: 'callback-start' | 'callback-end';
  readonly event: CallbackEvent;
  /** The run of the workflow that scheduled it: says of which round it is. */
  readonly runId: string;
  readonly attempt: number;
  readonly seen?: SeenProgress;
}

export interface EnqueuerEntry extends Written {
  /** `closed`: jobs() or seal() resolved; `broken`: it threw, or the batch could not be made. */
  readonly what: 'created' | 'registered' | 'enrolled' | 'closed' | 'broken';
  readonly event?: CallbackEvent;
  /** Absent for a job that is a workflow. */
  readonly jid?: string;
  /** Of the job that was enrolled. */
  readonly name?: string;
  readonly total?: number;
  /** Code or class of what was thrown. */
  readonly error?: string;
  readonly message?: string;
}

/** Somebody else than the enqueuer called create() with the same options. */
export interface CreatorEntry extends Written {
  readonly what: 'created-again' | 'not-created-again';
  /** Of the batch that it got, in epoch milliseconds: tells it from another one of the same id. */
  readonly createdAt?: number;
  readonly error?: string;
}

/** A call of retryFailed(): that it was made, and what came of it. */
export interface RetryEntry extends Written {
  readonly what: 'retrying' | 'retried' | 'not-retried';
  /** The round that it was to open, or has opened. */
  readonly round: number;
  readonly retry?: RetryPlan;
  readonly error?: string;
}

/** What became of a workflow that is to be a job. */
export interface WorkflowEntry extends Written {
  /** `workflow-acted`: one of its runs did its work; `-started-again`: by hand, before a round; the others are its enqueuer's. */
  readonly what:
    | 'workflow-starting'
    | 'workflow-started'
    | 'workflow-not-started'
    | 'workflow-acted'
    | 'workflow-started-again';
  readonly name: string;
  /** The first of its runs, or the one that acted. */
  readonly runId?: string;
  /** The one before which it was started again. */
  readonly round?: number;
  /** The runs that it had until then. */
  readonly earlier?: readonly string[];
  /** Code or class of what was thrown. */
  readonly error?: string;
  readonly message?: string;
}

export type LedgerEntry =
  JobEntry | CallbackEntry | EnqueuerEntry | CreatorEntry | RetryEntry | WorkflowEntry;

type WithoutStamp<T> = T extends Written ? Omit<T, 'pid' | 'at'> : never;

/**
 * What handlers, callbacks and enqueuers did, in their own words: a file that needs neither Postgres nor Temporal.
 * Written synchronously, so that a line is there when the process is killed right after it.
 */
export class Ledger {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  write(entry: WithoutStamp<LedgerEntry>): void {
    appendFileSync(this.#file, `${JSON.stringify({ ...entry, pid: process.pid, at: Date.now() })}\n`);
  }
}

/** Reads a ledger that is being written, entry by entry: a long one is not read again from its beginning. */
export class LedgerReader {
  readonly #file: string;
  #offset = 0;
  #rest = Buffer.alloc(0);

  constructor(file: string) {
    this.#file = file;
  }

  /** Entries since the last call; complete lines only. A file that is not there yet has none. */
  async next(): Promise<LedgerEntry[]> {
    const read = await this.#readOn();
    if (read === undefined) return [];
    const bytes = Buffer.concat([this.#rest, read]);
    const end = bytes.lastIndexOf('\n') + 1;
    this.#rest = bytes.subarray(end);
    return bytes
      .subarray(0, end)
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LedgerEntry);
  }

  async #readOn(): Promise<Buffer | undefined> {
    const file = await open(this.#file, 'r').catch(() => undefined);
    if (!file) return undefined;
    try {
      const { size } = await file.stat();
      const { bytesRead, buffer } = await file.read({
        buffer: Buffer.alloc(size - this.#offset),
        position: this.#offset,
      });
      this.#offset += bytesRead;
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  }
}

/** All entries. */
export async function readLedger(file: string): Promise<LedgerEntry[]> {
  return new LedgerReader(file).next();
}
