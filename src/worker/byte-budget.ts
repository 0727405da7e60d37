/**
 * The worker's one bound for bytes of arguments and outcomes in memory, whatever chunks they belong to. First come,
 * first served. A chunk takes bytes before it takes a slot, never the other way around: who has a slot ends in time and
 * gives both back, so that nobody waits forever.
 */
export class ByteBudget {
  readonly max: number;
  #used = 0;
  #queue: { readonly bytes: number; readonly start: () => void }[] = [];

  constructor(max: number) {
    this.max = max;
  }

  /** Bytes that are taken. */
  get used(): number {
    return this.#used;
  }

  get isExceeded(): boolean {
    return this.#used > this.max;
  }

  /** Whether somebody waits for what is given back. */
  get isTight(): boolean {
    return this.isExceeded || this.#queue.length > 0;
  }

  /** Takes what is free, at most so many bytes; none while others wait. @returns how many it took */
  takeUpTo(bytes: number): number {
    if (this.#queue.length > 0) return 0;
    const taken = Math.max(0, Math.min(bytes, this.max - this.#used));
    this.#used += taken;
    return taken;
  }

  /**
   * Takes so many bytes. More than the bound holds are let through once nothing else is taken.
   *
   * @param start called once they were taken for it, if they are not free
   * @returns whether they were free
   */
  take(bytes: number, start: () => void): boolean {
    if (this.#queue.length > 0 || !this.#isFree(bytes)) {
      this.#queue.push({ bytes, start });
      return false;
    }
    this.#used += bytes;
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

  /** Counts bytes that are in memory already, even above the bound. */
  add(bytes: number): void {
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
    this.#startNext();
  }

  #isFree(bytes: number): boolean {
    return this.#used === 0 || this.#used + bytes <= this.max;
  }

  #startNext(): void {
    for (let next = this.#queue[0]; next && this.#isFree(next.bytes); next = this.#queue[0]) {
      this.#queue.shift();
      this.#used += next.bytes;
      next.start();
    }
  }
}
