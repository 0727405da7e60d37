const WINDOW_MS = 10_000;

interface Sample {
  readonly at: number;
  readonly done: number;
}

/** How fast a count grows of late: over the last ten seconds, as far as there are samples. */
export class RateMeter {
  #samples: Sample[] = [];

  /** @param at - milliseconds of any clock that only goes forward */
  add(done: number, at: number): void {
    const last = this.#samples.at(-1);
    // Failed jobs run again in the next round: what had ended is pending once more.
    if (last && done < last.done) this.#samples = [];
    this.#samples.push({ at, done });
    // One sample that is older stays, to measure from.
    const firstInside = this.#samples.findIndex((sample) => sample.at > at - WINDOW_MS);
    this.#samples = this.#samples.slice(Math.max(0, firstInside - 1));
  }

  /** A second; undefined before there are two samples. */
  perSecond(): number | undefined {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.at <= first.at) return undefined;
    return ((last.done - first.done) / (last.at - first.at)) * 1_000;
  }
}
