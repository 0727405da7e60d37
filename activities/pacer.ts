/** A worker that was held up may start so much sooner what it missed. */
const CATCH_UP_MS = 100;

/**
 * When jobs may start under a rate: evenly, and at most `ceil(perSecond)` in any window that many take. Times are of a
 * clock that never goes back.
 */
export class Pacer {
  readonly #intervalMs: number;
  readonly #windowMs: number;
  /** The last starts, as many as a window may have, in a ring. */
  readonly #starts: number[];
  #next = 0;
  #dueAt: number;

  /** @param notBefore when the first job may start */
  constructor(perSecond: number, notBefore: number) {
    const starts = Math.ceil(perSecond);
    this.#intervalMs = 1_000 / perSecond;
    this.#windowMs = starts * this.#intervalMs;
    this.#starts = Array.from<number>({ length: starts }).fill(-Infinity);
    this.#dueAt = notBefore;
  }

  /** When the next job may start. */
  get dueAt(): number {
    return Math.max(this.#dueAt, this.#starts[this.#next]! + this.#windowMs);
  }

  started(now: number): void {
    this.#starts[this.#next] = now;
    this.#next = (this.#next + 1) % this.#starts.length;
    this.#dueAt = Math.max(this.#dueAt, now - CATCH_UP_MS) + this.#intervalMs;
  }
}
