import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/connect.ts';
import type { EnrolledJob } from '../database/enroll.ts';
import {
  insertNumbered,
  selectIsBusy,
  type Adder,
  type KeyedJob,
  type MemberCycles,
  type Numbered,
  type NotNumbered,
  type StartedExecution,
} from '../database/enroll-numbered.ts';
import { withRetry } from '../database/retry.ts';
import { executionKey } from '../database/executions.ts';
import { BatchCycleError, JobEndedError, type BatchError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';

export interface NumberedQueueOptions {
  readonly batchId: string;
  readonly database: Database;
  readonly adder: Adder;
  /** Asked when rows are refused. @returns what to throw */
  readonly whyClosed: () => Promise<BatchError>;
  readonly onRetry: (error: unknown, attempt: number) => void;
}

/** Identifies a job in its batch: adding it again gives the job that is there. */
export interface Identity {
  /** As its caller gave it. */
  readonly key?: string | undefined;
  /** Of a batch that is a job: its id. */
  readonly memberId?: string | undefined;
}

interface Waiting extends KeyedJob {
  readonly resolve: (jid: string) => void;
  readonly reject: (error: unknown) => void;
}

/** How often a handler looks whether its batch's block has closed. */
const BUSY_POLL_MS = 300;

/**
 * Jobs on their way to the database, which gives them their positions: for batches to which several enqueuers and
 * handlers add jobs, and for jobs with keys. Each waits until its row is committed.
 */
export class NumberedQueue {
  readonly #options: NumberedQueueOptions;
  /** Of the keys of jobs that were given none. */
  readonly #token = randomUUID();
  #keys = 0;
  #waiting: Waiting[] = [];
  /** Of the arguments and options that wait. */
  bytes = 0;

  constructor(options: NumberedQueueOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** @returns the jid, once the row is committed */
  add(job: EnrolledJob, { key, memberId }: Identity = {}): Promise<string> {
    if (memberId !== undefined) return this.#add({ job, key: `batch:${memberId}`, memberId });
    const own = key === undefined ? `auto:${this.#token}:${++this.#keys}` : `key:${key}`;
    return this.#add({ job, key: own });
  }

  /** What was started, or may have been. @returns the jid, once the row is committed */
  addExecution(job: EnrolledJob, execution: StartedExecution): Promise<string> {
    return this.#add({ job, key: executionKey(execution), execution });
  }

  #add(waiting: Omit<Waiting, 'resolve' | 'reject'>): Promise<string> {
    this.bytes += bytesOf(waiting.job);
    const jid = new Promise<string>((resolve, reject) => {
      this.#waiting.push({ ...waiting, resolve, reject });
    });
    // Who started it may look at others first: the block hears of what went wrong all the same.
    jid.catch(() => {});
    return jid;
  }

  /**
   * Writes the first of the jobs that wait.
   *
   * @param queues task queues of the jobs that the block has numbered itself, before it came to this
   * @throws why they were refused
   */
  async write(maxRows: number, maxBytes: number, queues: Iterable<string>): Promise<Numbered> {
    let rows = this.#take(maxRows, maxBytes);
    try {
      for (;;) {
        const named = rows.flatMap(({ job: [, , , queue] }) => (queue === null ? [] : [queue]));
        const result = await this.#insert(rows, [...new Set([...queues, ...named])]);
        if ('cycles' in result) {
          rows = rows.filter((row) => !this.#isRefused(row, result));
          continue;
        }
        for (const [index, { resolve }] of rows.entries()) {
          resolve(`${this.#options.batchId}/${result.positions[index]!}`);
        }
        return result;
      }
    } catch (error) {
      for (const { reject } of rows) reject(error);
      throw error;
    }
  }

  /** Nothing is written any more. */
  fail(error: unknown): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting = [];
    this.bytes = 0;
  }

  /** A batch that waits for this one is no job of it; the others of the same statement are. */
  #isRefused({ memberId, reject }: Waiting, { cycles }: MemberCycles): boolean {
    const path = memberId === undefined ? undefined : cycles.get(memberId);
    if (!path) return false;
    reject(
      new BatchCycleError(`Batch "${memberId}" cannot be a job of batch "${this.#options.batchId}"`, path),
    );
    return true;
  }

  async #insert(jobs: readonly Waiting[], queues: readonly string[]): Promise<Numbered | MemberCycles> {
    const { batchId, database, adder } = this.#options;
    let isRepeated = false;
    return persist(this.#options, () => {
      const input = { batchId, adder, jobs, queues, isRepeated };
      isRepeated = true;
      return insertNumbered(database, input);
    });
  }

  #take(maxRows: number, maxBytes: number): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < maxRows && bytes < maxBytes)
      bytes += bytesOf(this.#waiting[count++]!.job);
    this.bytes -= bytes;
    return this.#waiting.splice(0, count);
  }
}

/**
 * Adds to a batch until the database has answered, and, in a handler, until the batch's block lets it.
 *
 * @throws why the batch takes nothing @throws {@link DatabaseUnavailableError}
 */
export async function persist<T extends object>(
  { batchId, database, adder, whyClosed, onRetry }: NumberedQueueOptions,
  add: () => Promise<T | NotNumbered>,
): Promise<T> {
  const retry = { timeoutMs: CALLS.database, onRetry };
  for (;;) {
    const result = await withRetry(add, retry);
    if (typeof result !== 'string') return result;
    if (result === 'closed') throw await whyClosed();
    if (result === 'ended' || !('job' in adder)) {
      throw new JobEndedError(
        'JOB_ENDED',
        `A handler adds jobs to batch "${batchId}", and its attempt has ended, because its time was over. They were not added.`,
      );
    }
    do await delay(BUSY_POLL_MS);
    while (await withRetry(() => selectIsBusy(database, batchId, adder.job), retry));
  }
}

function bytesOf([, args, options]: EnrolledJob): number {
  return args.length + (options?.length ?? 0);
}
