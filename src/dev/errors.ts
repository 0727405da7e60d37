/**
 * Thrown by the functions of `temporal-batch-jobs/dev` when a development server cannot be found, built, started
 * or controlled.
 */
export class DevServerError extends Error {
  /** Stable, machine-readable reason. */
  readonly code = 'DEV_SERVER';

  static {
    this.prototype.name = 'DevServerError';
  }
}
