import { activityInfo, log } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { activityPollers } from '../src/pollers.ts';

/** Names come from rows, so that there may be any number of them. */
const MAX_NAMES = 1_000;

/**
 * Says once for each name that this worker does not have it, and which other workers on the task queue may: two services
 * that share a task queue meet each other's jobs again and again.
 */
export class UnknownNames {
  readonly #client: Client;
  readonly #identity: () => string;
  readonly #said = new Set<string>();

  /** @param identity of this worker */
  constructor(client: Client, identity: () => string) {
    this.#client = client;
    this.#identity = identity;
  }

  /** To be called in an activity. Never throws, and nothing waits for it. */
  meet(kind: 'job' | 'callback', name: string, batchId?: string): void {
    const key = `${kind}:${name}`;
    if (this.#said.has(key) || this.#said.size >= MAX_NAMES) return;
    this.#said.add(key);
    void this.#say(kind, name, batchId);
  }

  async #say(kind: 'job' | 'callback', name: string, batchId: string | undefined): Promise<void> {
    const { taskQueue } = activityInfo();
    const others = await this.#others(taskQueue);
    const who =
      others === undefined
        ? ''
        : others.length === 0
          ? ' No other worker polls this task queue.'
          : ` Other workers poll this task queue and may have it: ${others.join(', ')}.`;
    log.warn(
      `This worker has no ${kind} named "${name}".${who} Give it to createBatchWorker({ ${kind}s }) of every worker ` +
        `on task queue "${taskQueue}", or give each service its own task queue.`,
      {
        [kind]: name,
        taskQueue,
        ...(batchId === undefined ? {} : { batchId }),
        ...(others === undefined ? {} : { otherWorkers: others }),
      },
    );
  }

  /** Undefined: Temporal did not say. */
  async #others(taskQueue: string): Promise<string[] | undefined> {
    try {
      const pollers = await activityPollers(this.#client, taskQueue);
      return pollers.filter((identity) => identity !== this.#identity());
    } catch {
      return undefined;
    }
  }
}
