import { WaitingLine } from './waiting-line.ts';

/**
 * The worker's one limit for jobs that run at once, whatever chunks they come in. First come, first served, so that a
 * large chunk does not starve a small one. Exclusive use waits until nothing else runs and lets nothing else start:
 * a job that is suspected of killing workers must not take others with it.
 */
export class Slots {
  readonly #limit: number;
  readonly #line = new WaitingLine<{ readonly isExclusive: boolean }>(
    ({ isExclusive }) => (isExclusive ? this.#used === 0 : !this.#isExclusive && this.#used < this.#limit),
    ({ isExclusive }) => {
      this.#used++;
      this.#isExclusive = isExclusive;
    },
  );
  #used = 0;
  #isExclusive = false;

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
    return this.#line.take({ isExclusive: false }, start);
  }

  /** Takes back the wish of a `start` that waits. @returns whether it waited: it will not be called then */
  withdraw(start: () => void): boolean {
    return this.#line.withdraw(start);
  }

  release(): void {
    this.#used--;
    this.#line.serve();
  }

  async runExclusive<T>(run: () => Promise<T>): Promise<T> {
    await new Promise<void>((start) => {
      if (this.#line.take({ isExclusive: true }, start)) start();
    });
    try {
      return await run();
    } finally {
      this.#isExclusive = false;
      this.release();
    }
  }
}

/** Takes a slot. @returns undefined if it was free, else a promise */
export function acquire(slots: Pick<Slots, 'take'>): Promise<void> | undefined {
  let start!: () => void;
  const started = new Promise<void>((resolve) => (start = resolve));
  return slots.take(start) ? undefined : started;
}
