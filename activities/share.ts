import { acquire, type Slots } from '../src/worker/slots.ts';
import type { ChunkShare } from './contract.ts';
import { Pacer } from './pacer.ts';

/** What a chunk starts its jobs by: the worker's slots, or its part of the batch's limits before them. */
export type JobSlots = Pick<Slots, 'take' | 'withdraw' | 'release' | 'runExclusive'>;

/** How soon a worker that shuts down gives back what waits for its turn. */
const MAX_WAIT_MS = 500;

/**
 * A chunk's part of its batch's limits: so many of its jobs run at once, and so many start in a second, whatever slots
 * the worker has. One job waits at a time.
 */
export class ShareSlots implements JobSlots {
  #slots: JobSlots;
  readonly #isStopping: () => boolean;
  readonly #maxRunning: number;
  readonly #pacer: Pacer | undefined;
  #running = 0;
  /** A job was let start, and its start is not noted yet. */
  #isStarting = false;
  /** Waits for its turn. */
  #waiting: (() => void) | undefined;
  /** Has its turn, and waits for a slot of the worker. */
  #queued: { readonly start: () => void; readonly begin: () => void } | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param isStopping whether nothing starts any more: then nothing needs to wait for its turn to learn of it */
  constructor(slots: JobSlots, share: ChunkShare, isStopping: () => boolean) {
    const { maxConcurrentJobs = Infinity, perSecond, waitMs = 0 } = share;
    this.#slots = slots;
    this.#isStopping = isStopping;
    this.#maxRunning = maxConcurrentJobs;
    this.#pacer = perSecond === undefined ? undefined : new Pacer(perSecond, performance.now() + waitMs);
  }

  /** Sets the slots that jobs take after their share. Call it only while no job runs. */
  through(slots: JobSlots): this {
    this.#slots = slots;
    return this;
  }

  take(start: () => void): boolean {
    if (this.#isTurn()) return this.#takeSlot(start);
    this.#waiting = start;
    this.#wakeInTime();
    return false;
  }

  withdraw(start: () => void): boolean {
    if (this.#waiting === start) {
      this.#waiting = undefined;
      clearTimeout(this.#timer);
      return true;
    }
    if (this.#queued?.start !== start || !this.#slots.withdraw(this.#queued.begin)) return false;
    this.#queued = undefined;
    this.#running--;
    return true;
  }

  release(): void {
    this.#running--;
    this.#slots.release();
    this.#startNext();
  }

  async runExclusive<T>(run: () => Promise<T>): Promise<T> {
    // Its turn and a slot first, so that it is like any other; the slot is free again for the exclusive use.
    const isFree = acquire(this);
    if (isFree) await isFree;
    this.#slots.release();
    try {
      return await this.#slots.runExclusive(() => {
        this.#isStarting = true;
        return run();
      });
    } finally {
      this.#running--;
      this.#startNext();
    }
  }

  #isTurn(): boolean {
    // Noted when the next one asks: a job that starts a little later than it was let must not count as earlier.
    if (this.#isStarting) this.#pacer?.started(performance.now());
    this.#isStarting = false;
    if (this.#isStopping()) return true;
    return this.#running < this.#maxRunning && !(this.#pacer && this.#pacer.dueAt > performance.now());
  }

  #takeSlot(start: () => void): boolean {
    this.#running++;
    const begin = () => {
      this.#queued = undefined;
      this.#isStarting = true;
      start();
    };
    if (!this.#slots.take(begin)) {
      this.#queued = { start, begin };
      return false;
    }
    this.#isStarting = true;
    return true;
  }

  #startNext(): void {
    const start = this.#waiting;
    if (!start) return;
    if (!this.#isTurn()) {
      this.#wakeInTime();
      return;
    }
    this.#waiting = undefined;
    clearTimeout(this.#timer);
    if (this.#takeSlot(start)) start();
  }

  /** Time has come for a rate, or for the worker to shut down; the end of a job tells of itself. */
  #wakeInTime(): void {
    if (!this.#pacer) return;
    clearTimeout(this.#timer);
    const waitMs = Math.max(0, this.#pacer.dueAt - performance.now());
    this.#timer = setTimeout(() => this.#startNext(), Math.min(MAX_WAIT_MS, Math.ceil(waitMs)));
  }
}
