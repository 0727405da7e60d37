import type { PermitGroup, Waiting } from '../src/worker/permits.ts';
import { acquire, type Slots } from '../src/worker/slots.ts';
import type { JobSlots } from './share.ts';

/** Starts a chunk's jobs of one limit and key: each takes a permit, then a worker slot. */
export class PermitSlots implements JobSlots {
  readonly #group: PermitGroup;
  readonly #slots: Slots;
  readonly #isStopping: () => boolean;
  #waiting: Waiting | undefined;
  /** Entries that ended their wait without a permit because the chunk is stopping. */
  #bypassed = 0;
  #running = 0;
  #movedAt: number | undefined;

  constructor(group: PermitGroup, slots: Slots, isStopping: () => boolean) {
    this.#group = group;
    this.#slots = slots;
    this.#isStopping = isStopping;
  }

  /** Milliseconds for which jobs have waited while none ran. */
  get idleMs(): number {
    return this.#running > 0 || this.#movedAt === undefined ? 0 : performance.now() - this.#movedAt;
  }

  take(start: () => void): boolean {
    const waiting = {
      start: () => {
        this.#started();
        start();
      },
      isStopping: this.#isStopping,
      bypass: () => this.#bypassed++,
    };
    this.#waiting = waiting;
    this.#movedAt ??= performance.now();
    const isFree = this.#group.take(waiting);
    if (isFree) this.#started();
    return isFree;
  }

  withdraw(): boolean {
    return this.#waiting !== undefined && this.#group.withdraw(this.#waiting);
  }

  release(): void {
    if (this.#ended()) this.#group.release();
  }

  async runExclusive<T>(run: () => Promise<T>): Promise<T> {
    // Waits for a permit and a slot like other jobs, then frees the slot for the exclusive use.
    const isFree = acquire(this);
    if (isFree) await isFree;
    const isBypassed = this.#bypassed > 0;
    if (!isBypassed) this.#slots.release();
    try {
      return isBypassed ? await run() : await this.#slots.runExclusive(run);
    } finally {
      if (this.#ended()) this.#group.ended();
    }
  }

  #started(): void {
    this.#waiting = undefined;
    this.#running++;
  }

  /** @returns whether the job holds a permit */
  #ended(): boolean {
    this.#running--;
    this.#movedAt = performance.now();
    if (this.#bypassed === 0) return true;
    this.#bypassed--;
    return false;
  }
}
