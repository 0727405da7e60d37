/** A start that went wrong, and whether anyone waits for it. */
export interface Failure {
  readonly error: unknown;
  readonly isHeard: () => boolean;
}

/**
 * A promise that knows whether its error is heard: by any `then`, and so by `await`, `catch` and `Promise.all`. Unheard,
 * it never ends the process as an unhandled rejection, and reports its error instead.
 *
 * A subclass, because `await` takes a plain promise without a call of its `then`.
 */
export class HeardPromise<T> extends Promise<T> {
  #isHeard = false;
  #report: (failure: Failure) => void = () => {};

  /** `then` derives plain promises, except where {@link HeardPromise.then} says otherwise. */
  static override get [Symbol.species](): PromiseConstructor {
    return Promise;
  }

  /** @param report called as soon as the promise rejects; a caller may still hear the error later */
  static of<T>(promise: Promise<T>, report: (failure: Failure) => void): HeardPromise<T> {
    const heard = new HeardPromise<T>((resolve) => resolve(promise));
    heard.#report = report;
    promise.catch((error: unknown) => report({ error, isHeard: () => heard.#isHeard }));
    // By the plain method, which does not count as hearing: from here on no rejection of it is unhandled.
    void Promise.prototype.then.call(heard, undefined, () => {});
    return heard;
  }

  // oxlint-disable-next-line unicorn/no-thenable -- it is a promise
  override then<Fulfilled = T, Rejected = never>(
    onFulfilled?: ((value: T) => Fulfilled | PromiseLike<Fulfilled>) | null,
    onRejected?: ((reason: unknown) => Rejected | PromiseLike<Rejected>) | null,
  ): Promise<Fulfilled | Rejected> {
    this.#isHeard = true;
    const derived = super.then(onFulfilled, onRejected);
    // A caller without a handler passes the error on to the derived promise, which may be heard or not.
    return typeof onRejected === 'function' ? derived : HeardPromise.of(derived, this.#report);
  }

  override finally(onFinally?: (() => void) | null): Promise<T> {
    return HeardPromise.of(super.finally(onFinally), this.#report);
  }
}
