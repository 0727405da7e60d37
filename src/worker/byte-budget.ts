import { WaitingLine } from './waiting-line.ts';

/**
 * The worker's one bound for bytes of arguments and outcomes in memory, whatever chunks they belong to. First come,
 * first served. A chunk takes bytes before it takes a slot, never the other way around: who has a slot ends in time and
 * gives both back, so that nobody waits forever.
 */
export class ByteBudget {
  readonly max: number;
  /** More than the bound holds are let through once nothing else is taken. */
  readonly #line = new WaitingLine<number>(
    (bytes) => this.#used === 0 || this.#used + bytes <= this.max,
    (bytes) => this.add(bytes),
  );
  #used = 0;

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
    return this.isExceeded || !this.#line.isEmpty;
  }

  /** Takes what is free, at most so many bytes; none while others wait. @returns how many it took */
  takeUpTo(bytes: number): number {
    if (!this.#line.isEmpty) return 0;
    const taken = Math.max(0, Math.min(bytes, this.max - this.#used));
    this.#used += taken;
    return taken;
  }

  /**
   * Takes so many bytes.
   *
   * @param start called once they were taken for it, if they are not free
   * @returns whether they were free
   */
  take(bytes: number, start: () => void): boolean {
    return this.#line.take(bytes, start);
  }

  /** Takes back the wish of a `start` that waits. @returns whether it waited: it will not be called then */
  withdraw(start: () => void): boolean {
    return this.#line.withdraw(start);
  }

  /** Counts bytes that are in memory already, even above the bound. */
  add(bytes: number): void {
    this.#used += bytes;
  }

  release(bytes: number): void {
    this.#used -= bytes;
    this.#line.serve();
  }
}
