import { randomUUID } from 'node:crypto';
import { withRetry } from '../database/retry.ts';
import { deleteStart, insertStarts, type TokenedStart, type ExecutionStart } from '../database/starts.ts';
import { ActivityEnrolledError, WorkflowEnrolledError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import { persist, type NumberedQueueOptions } from './numbered-queue.ts';

interface Waiting extends TokenedStart {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Workflows and activities that wait to be started as jobs: each until the database knows of it, so that none can run of which the
 * batch hears nothing. Those that are started at once share a statement.
 */
export class StartQueue {
  readonly #options: NumberedQueueOptions;
  #waiting: Waiting[] = [];

  constructor(options: NumberedQueueOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** @returns the start's token, once the request may leave @throws {@link WorkflowEnrolledError} {@link ActivityEnrolledError} */
  async add(start: ExecutionStart): Promise<string> {
    const token = randomUUID();
    await new Promise<void>((resolve, reject) => {
      this.#waiting.push({ start, token, resolve, reject });
    });
    return token;
  }

  /**
   * Writes the first of those that wait.
   *
   * @param queues task queues of the jobs that the block has numbered itself, before it came to this
   * @throws why they were refused
   */
  async write(maxRows: number, maxBytes: number, queues: Iterable<string>): Promise<void> {
    const { batchId, database, adder } = this.#options;
    const starts = this.#take(maxRows, maxBytes);
    try {
      const accepted = await persist(this.#options, () =>
        insertStarts(database, { batchId, adder, starts, queues: [...queues] }),
      );
      for (const { start, token, resolve, reject } of starts) {
        if (accepted.has(token)) resolve();
        else reject(enrolledError(batchId, start));
      }
    } catch (error) {
      for (const { reject } of starts) reject(error);
      throw error;
    }
  }

  /** The start was refused: it is as if it had never been. */
  async takeBack(token: string): Promise<void> {
    const { batchId, database, onRetry } = this.#options;
    await withRetry(() => deleteStart(database, batchId, token), { timeoutMs: CALLS.database, onRetry });
  }

  #take(maxRows: number, maxBytes: number): Waiting[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < maxRows && bytes < maxBytes)
      bytes += this.#waiting[count++]!.start.argsJson.length;
    return this.#waiting.splice(0, count);
  }

  /** Nothing is written any more. */
  fail(error: unknown): void {
    for (const { reject } of this.#waiting) reject(error);
    this.#waiting = [];
  }
}

function enrolledError(batchId: string, { kind, id }: ExecutionStart): Error {
  const Enrolled = kind === 'workflow' ? WorkflowEnrolledError : ActivityEnrolledError;
  return new Enrolled(batchId, id);
}
