/** What is to be undone at the end, whichever way it comes: last opened, first closed. */
export class Cleanup {
  readonly #steps: (() => unknown)[] = [];

  add(step: () => unknown): void {
    this.#steps.push(step);
  }

  /** Takes every step, also after one that failed: what could be closed is closed. */
  async run(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step();
      } catch {
        // Its server may have ended before it: Ctrl-C reaches all processes of a terminal at once.
      }
    }
  }
}
