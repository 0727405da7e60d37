const WINDOW_MS = 3_000;

/** How fast a count grows: of late, and from the start. */
export class RateMeter {
  readonly #startedAt = performance.now();
  #samples: { readonly at: number; readonly count: number }[] = [{ at: this.#startedAt, count: 0 }];

  add(count: number): void {
    const at = performance.now();
    this.#samples.push({ at, count });
    // One sample older than the window stays, to measure from.
    const first = this.#samples.findIndex((sample) => sample.at > at - WINDOW_MS);
    this.#samples = this.#samples.slice(Math.max(0, first - 1));
  }

  /** A second, over the last seconds. */
  current(): number {
    return perSecond(this.#samples[0]!, this.#samples.at(-1)!);
  }

  /** A second, since the start. */
  mean(): number {
    return perSecond({ at: this.#startedAt, count: 0 }, this.#samples.at(-1)!);
  }
}

type Sample = { readonly at: number; readonly count: number };

function perSecond(from: Sample, to: Sample): number {
  return to.at > from.at ? ((to.count - from.count) / (to.at - from.at)) * 1_000 : 0;
}
