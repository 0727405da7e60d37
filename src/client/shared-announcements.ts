/** Sends one announcement: the workflow may take up jobs up to this position, on these task queues. */
type Send<Answer> = (upTo: number, queues: readonly string[]) => Promise<Answer>;

interface Announcement<Answer> {
  upTo: number;
  readonly queues: Set<string>;
  readonly answer: Promise<Answer>;
}

/**
 * Announces the jobs of many blocks of one batch with few signals: one is on its way at a time, and what comes meanwhile
 * goes with the next one. So a server that is slow gets fewer.
 */
export class SharedAnnouncements<Answer> {
  readonly #send: Send<Answer>;
  #onItsWay: Promise<unknown> = Promise.resolve();
  #next: Announcement<Answer> | undefined;
  /** Announcements that have no answer yet. */
  #open = 0;

  constructor(send: Send<Answer>) {
    this.#send = send;
  }

  get isIdle(): boolean {
    return this.#open === 0;
  }

  /** @returns what the signal that carries it gave @throws what that threw */
  announce(upTo: number, queues: readonly string[]): Promise<Answer> {
    const next = (this.#next ??= this.#prepare());
    next.upTo = Math.max(next.upTo, upTo);
    for (const queue of queues) next.queues.add(queue);
    return next.answer;
  }

  #prepare(): Announcement<Answer> {
    const queues = new Set<string>();
    this.#open++;
    const answer = this.#onItsWay
      .then(() => {
        const { upTo } = this.#next!;
        this.#next = undefined;
        return this.#send(upTo, [...queues]);
      })
      .finally(() => this.#open--);
    this.#onItsWay = answer.catch(() => {});
    return { upTo: 0, queues, answer };
  }
}
