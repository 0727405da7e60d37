/**
 * The worker's one limit for jobs that run at once, whatever chunks they come in. First come, first served, so that a
 * large chunk does not starve a small one. Exclusive use waits until nothing else runs and lets nothing else start:
 * a job that is suspected of killing workers must not take others with it.
 */
export class Slots {
  readonly #limit: number;
  #used = 0;
  #isExclusive = false;
  #queue: { readonly isExclusive: boolean; readonly start: () => void }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Slots that are taken. */
  get used(): number {
    return this.#used;
  }

  /**
   * Takes a slot.
   *
   * @param start called once a slot was taken for it, if none is free
   * @returns whether one was free
   */
  take(start: () => void): boolean {
    if (this.#queue.length > 0 || !this.#isFree(false)) {
      this.#queue.push({ isExclusive: false, start });
      return false;
    }
    this.#used++;
    return true;
  }

  /** Takes a waiting `start` out of the queue. @returns whether it was there: it will not be called then */
  withdraw(start: () => void): boolean {
    const index = this.#queue.findIndex((entry) => entry.start === start);
    if (index < 0) return false;
    this.#queue.splice(index, 1);
    this.#startNext();
    return true;
  }

  release(): void {
    this.#used--;
    this.#startNext();
  }

  async runExclusive<T>(run: () => Promise<T>): Promise<T> {
    await new Promise<void>((start) => {
      this.#queue.push({ isExclusive: true, start });
      this.#startNext();
    });
    try {
      return await run();
    } finally {
      this.#isExclusive = false;
      this.release();
    }
  }

  #isFree(isExclusive: boolean): boolean {
    return isExclusive ? this.#used === 0 : !this.#isExclusive && this.#used < this.#limit;
  }

  #startNext(): void {
    for (let next = this.#queue[0]; next && this.#isFree(next.isExclusive); next = this.#queue[0]) {
      this.#queue.shift();
      this.#used++;
      this.#isExclusive = next.isExclusive;
      next.start();
    }
  }
}

/** Takes a slot. @returns undefined if it was free, else a promise */
export function acquire(slots: Pick<Slots, 'take'>): Promise<void> | undefined {
  let start!: () => void;
  const started = new Promise<void>((resolve) => (start = resolve));
  return slots.take(start) ? undefined : started;
}
