/** Thrown by inline batches for what needs the servers: a test against those shows it. Nothing has happened. */
export class InlineUnsupportedError extends Error {
  /** @param what that inline batches do not do */
  constructor(what: string) {
    super(`${what} needs Postgres and Temporal. Test it against the embedded servers: see docs/testing.md.`);
  }

  static {
    this.prototype.name = 'InlineUnsupportedError';
  }
}
