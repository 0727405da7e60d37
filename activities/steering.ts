import { AsyncResource } from 'node:async_hooks';
import { log } from '@temporalio/activity';
import { selectSteered } from '../src/database/batches.ts';
import type { Database } from '../src/database/connect.ts';
import { waitMs } from '../src/timeouts.ts';

/** How a batch stands, as its row says. */
export interface RowSteering {
  /** Counts its changes. */
  readonly number: number;
  /** How long handlers may go on, if it was stopped. */
  readonly graceMs: number | null;
}

type Listener = (steering: RowSteering) => void;

/**
 * Tells the chunks that run in this worker when their batch is paused, changed or stopped: one small query a second
 * for all of them. Temporal's own cancellation comes with a heartbeat, up to 3 s later, and knows no pause.
 */
export class SteeringWatch {
  readonly #database: Database;
  readonly #listeners = new Map<string, Set<Listener>>();
  #timer: NodeJS.Timeout | undefined;
  #isReading = false;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Whoever reads, and whenever: the listener sees its own activity. @returns how to stop listening */
  listen(batchId: string, onSteering: Listener): () => void {
    const listener = AsyncResource.bind(onSteering);
    const listeners = this.#listeners.get(batchId) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(batchId, listeners);
    this.#timer ??= setInterval(() => void this.read(), waitMs('controlPoll'));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(batchId) === listeners) this.#listeners.delete(batchId);
      if (this.#listeners.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  /** Reads how the batches stand now. A database that is away is asked again with the next poll. */
  async read(): Promise<void> {
    if (this.#isReading) return;
    this.#isReading = true;
    try {
      const rows = await selectSteered(this.#database, [...this.#listeners.keys()]);
      for (const { id, steering, graceMs } of rows) {
        for (const listener of this.#listeners.get(id) ?? []) listener({ number: steering, graceMs });
      }
    } catch (error) {
      log.debug('How batches stand could not be read', { error: String(error) });
    } finally {
      this.#isReading = false;
    }
  }
}
