/** The first of a batch's hints waits so long for others. */
const MIN_INTERVAL_MS = 100;
/** While more come, those of a batch wait up to so long: each signal costs the batch a look at its rows. */
const MAX_INTERVAL_MS = 500;
/** Of a signal. */
const MAX_IDS = 500;
/** Of a batch, while Temporal does not take them. What is more is left to be found without a hint. */
const MAX_HELD = 5_000;

interface Outgoing {
  ids: Set<string>;
  intervalMs: number;
  timer: NodeJS.Timeout | undefined;
  /** Never rejects. */
  sending: Promise<void> | undefined;
}

/**
 * Collects ids of workflows by batch and sends those of a batch together: soon where few come, and less often the longer
 * they keep coming. One signal a batch is under way at once.
 */
export class Hints {
  readonly #send: (batchId: string, workflowIds: readonly string[]) => Promise<void>;
  readonly #batches = new Map<string, Outgoing>();
  #isClosed = false;

  /** @param send does not reject */
  constructor(send: (batchId: string, workflowIds: readonly string[]) => Promise<void>) {
    this.#send = send;
  }

  add(batchId: string, workflowId: string): void {
    if (this.#isClosed) return;
    let outgoing = this.#batches.get(batchId);
    if (!outgoing) {
      outgoing = { ids: new Set(), intervalMs: MIN_INTERVAL_MS, timer: undefined, sending: undefined };
      this.#batches.set(batchId, outgoing);
      this.#sendLater(batchId, outgoing);
    }
    if (outgoing.ids.size < MAX_HELD) outgoing.ids.add(workflowId);
  }

  /** Sends what is left, and takes no more. */
  async flush(): Promise<void> {
    this.#isClosed = true;
    await Promise.all(
      [...this.#batches].map(async ([batchId, outgoing]) => {
        clearTimeout(outgoing.timer);
        await outgoing.sending;
        await this.#sendAll(batchId, outgoing);
      }),
    );
    this.#batches.clear();
  }

  /** Drops what is left, and takes no more. */
  discard(): void {
    this.#isClosed = true;
    for (const outgoing of this.#batches.values()) {
      clearTimeout(outgoing.timer);
      outgoing.ids.clear();
    }
    this.#batches.clear();
  }

  #sendLater(batchId: string, outgoing: Outgoing): void {
    outgoing.timer = setTimeout(() => void this.#sendDue(batchId, outgoing), outgoing.intervalMs);
  }

  async #sendDue(batchId: string, outgoing: Outgoing): Promise<void> {
    if (outgoing.ids.size === 0) {
      this.#batches.delete(batchId);
      return;
    }
    outgoing.sending = this.#sendAll(batchId, outgoing);
    await outgoing.sending;
    outgoing.sending = undefined;
    outgoing.intervalMs = Math.min(MAX_INTERVAL_MS, 2 * outgoing.intervalMs);
    if (!this.#isClosed) this.#sendLater(batchId, outgoing);
  }

  async #sendAll(batchId: string, outgoing: Outgoing): Promise<void> {
    const ids = [...outgoing.ids];
    outgoing.ids.clear();
    for (let first = 0; first < ids.length; first += MAX_IDS)
      await this.#send(batchId, ids.slice(first, first + MAX_IDS));
  }
}
