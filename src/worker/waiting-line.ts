/** Those who wait for their share of what a worker has only so much of: first come, first served. */
export class WaitingLine<Share> {
  readonly #isFree: (share: Share) => boolean;
  readonly #give: (share: Share) => void;
  #waiting: { readonly share: Share; readonly start: () => void }[] = [];

  constructor(isFree: (share: Share) => boolean, give: (share: Share) => void) {
    this.#isFree = isFree;
    this.#give = give;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /**
   * Gives a share, or puts it at the end of the line.
   *
   * @param start called once it was given, if it is not free
   * @returns whether it was free
   */
  take(share: Share, start: () => void): boolean {
    if (!this.isEmpty || !this.#isFree(share)) {
      this.#waiting.push({ share, start });
      return false;
    }
    this.#give(share);
    return true;
  }

  /** Takes a waiting `start` out of the line. @returns whether it was there: it will not be called then */
  withdraw(start: () => void): boolean {
    const index = this.#waiting.findIndex((entry) => entry.start === start);
    if (index < 0) return false;
    this.#waiting.splice(index, 1);
    this.serve();
    return true;
  }

  /** Gives their shares to the first in line, as far as those are free. */
  serve(): void {
    for (let next = this.#waiting[0]; next && this.#isFree(next.share); next = this.#waiting[0]) {
      this.#waiting.shift();
      this.#give(next.share);
      next.start();
    }
  }
}
