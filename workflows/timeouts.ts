/**
 * How long workflows wait for a worker, a child or a count, and when they treat one as lost, in milliseconds.
 *
 * None of these is an option: docs/operations.md lists them for operators. The project's own tests shorten them, see
 * `setTimeoutScale`.
 */
export const WORKFLOW_WAITS = {
  /** A worker that sends no heartbeat for this long is lost. Workers heartbeat every 3 s at the latest. */
  heartbeat: 10_000,
  /** The same for a prune, which nobody waits for. */
  pruneHeartbeat: 30_000,
  /** Pause before a chunk runs again that gave up on an unreachable database. */
  postponedChunk: 5_000,
  /** A chunk with a share of the limits that no worker takes up gives the share back after this time. */
  untakenChunk: 10_000,
  /** After that, its task queue asks for no share for this long. */
  untakenQueue: 30_000,
  /**
   * A workflow with a long history waits this long for its chunks in flight to end. Then it treats the oldest one as
   * slow, and keeps the other jobs running beside it.
   */
  drain: 2_000,
  /** Pause before a lost runner is replaced. */
  runnerReplacement: 5_000,
  /** How often a batch checks that the children of an earlier run are there. */
  childCheck: 60_000,
  /** Pause before the batch counts its jobs from the rows, because counts are missing. */
  recount: 10_000,
  /** How long handlers may go on when a batch stops itself. `cancel` has its own `gracePeriod`. */
  stopGrace: 10_000,
  /** First look of `executeBatch` for a batch that did not report its end; each later look waits twice as long. */
  stepCheck: 60_000,
  /** Longest pause between two of these looks. */
  stepCheckMax: 10 * 60_000,
} as const;

/**
 * Pauses before a job runs again whose name the worker did not know, in milliseconds: the first one that is longer than
 * half of the time waited so far.
 */
export const UNKNOWN_JOB_PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 30_000] as const;

/**
 * How long one call may take, in milliseconds. These bound a server that is slow, not an actor that is missing, so they
 * are never scaled.
 */
export const WORKFLOW_CALLS = {
  /** A write of the mirror by a local activity. It then goes on as a regular one. */
  localWrite: 1_500,
  /** A write of the mirror by a regular activity. It is retried without a limit. */
  write: 10_000,
  /** Longest pause between these retries. */
  writeRetryMax: 30_000,
  /** Opening a round of a million failed jobs. */
  openRound: 60 * 60_000,
  /** Starting, reading or cancelling the batch of `executeBatch`. */
  step: 60 * 60_000,
  /** Requesting the cancellation of all workflows of a batch. */
  cancelWorkflows: 24 * 60 * 60_000,
  /** One attempt of a prune. */
  prune: 24 * 60 * 60_000,
  /** A chunk whose worker lives and never ends it. Jobs have their own timeouts. */
  chunk: 7 * 24 * 60 * 60_000,
} as const;

let scale = 1;

/**
 * Multiplies every wait, here and in src/timeouts.ts. For the project's own tests only: workflows of one batch must all
 * run with the same scale, or a replay decides differently.
 *
 * @param factor more than 0, at most 1
 * @throws RangeError for any other value
 */
export function setTimeoutScale(factor: number): void {
  if (!(factor > 0 && factor <= 1)) {
    throw new RangeError(`The timeout scale must be more than 0 and at most 1, but was ${factor}.`);
  }
  scale = factor;
}

/** A wait as the current scale has it, in whole milliseconds. */
export function scaledMs(ms: number): number {
  return Math.ceil(ms * scale);
}

/** How long to wait for this, in milliseconds. Read it when it is needed, not when a module loads. */
export function waitMs(name: keyof typeof WORKFLOW_WAITS): number {
  return scaledMs(WORKFLOW_WAITS[name]);
}
