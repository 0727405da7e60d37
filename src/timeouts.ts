import { scaledMs, setTimeoutScale } from '../workflows/timeouts.ts';

/**
 * How long workers and clients wait for an actor, how often they look, and when they treat one as lost, in milliseconds.
 * workflows/timeouts.ts has those of workflows.
 *
 * None of these is an option: docs/operations.md lists them for operators. The project's own tests shorten them: the
 * environment variable `BATCH_JOBS_TIMEOUT_SCALE`, from more than 0 to 1, multiplies each of them.
 */
export const PROCESS_WAITS = {
  /** How often a running chunk or callback reports that its worker lives. */
  heartbeatInterval: 1_000,
  /** At most one of these heartbeats in this time goes to the server. By default the SDK would send one in 8 s. */
  heartbeatThrottle: 3_000,
  /** How soon a worker notices that a batch was paused, changed or stopped. */
  controlPoll: 1_000,
  /** How often a worker renews its permits while it has jobs under named limits. */
  permitPoll: 1_000,
  /** Permits expire this long after their worker renewed them last. */
  permitLease: 10_000,
  /** A worker stops using permits that it could not renew for this long. */
  permitValid: 5_000,
  /** How long a key keeps its turn when there are fewer permits than keys. */
  permitTurn: 5_000,
  /** Jobs that got no permit for this long leave their worker. They return after a tenth of their age. */
  permitPatience: 8_000,
  /** Longest pause before such jobs return. */
  permitPauseMax: 60_000,
  /** How long a handler may go on after its worker asked it to stop. */
  abortGrace: 5_000,
  /** Pause before a callback is offered again that the worker does not know. */
  unknownCallback: 5_000,
  /** Shortest pause before an activity is offered again that met a worker of another schema; later a tenth of its age. */
  otherSchema: 500,
  /** Longest such pause. */
  otherSchemaMax: 30_000,
  /** A job whose row is not found is asked for again for so long. Then a write decides whether the row is gone. */
  missingRow: 20_000,
  /** Longest pause between two checks of a nested batch. */
  nestedCheckMax: 30_000,
  /** A nested batch without a row is taken for deleted after this time; before, it may still be being created. */
  nestedMissing: 60_000,
  /** A workflow or activity whose start was never answered is taken for not started after this time. */
  unansweredStart: 60_000,
} as const;

/**
 * How long one call may take, in milliseconds. These bound a server that is slow, not an actor that is missing, so they
 * are never scaled.
 */
export const CALLS = {
  /** A call of the client that a worker has to answer: `create`, `on`, `cancel`, … */
  worker: 15_000,
  /** A query of the client for a caller who would rather hear that the database is away. */
  read: 15_000,
  /** A signal from an open block. */
  announce: 10_000,
  /** Pause before such a signal is sent again. */
  announceRetry: 1_000,
  /** Taking back a batch that no worker took up. */
  giveUp: 3_000,
  /** A worker whose write of a new batch takes longer looks whether its creator has given up. */
  creatorPatience: 5_000,
  /** A question to Temporal. */
  temporal: 10_000,
  /** A statement of Postgres that is not answered: its connection may be gone. */
  statement: 60_000,
  /** How long the app may hold the only connection of its pool while the library waits for it. */
  pool: 5_000,
  /** How long enrollment and running chunks wait for an unreachable database. */
  database: 10 * 60_000,
  /** How long a prune waits for an unreachable database. */
  pruneDatabase: 15_000,
  /** Creating, reading or deleting the schedule of a prune. */
  schedule: 15_000,
  /** How long a workflow task may wait for the worker that has its batch in the cache. */
  stickyQueue: 1_000,
  /** A worker that shuts down waits this long to take the marks off its watched jobs. */
  unmark: 2_000,
  /** `executeBatch`: a batch that reported its end closes its workflow within this time. */
  stepClosing: 5_000,
  /** `executeBatch`: otherwise one look is enough. */
  stepLook: 1_000,
  /** `BatchPlugin`: a workflow closes within this time after its code has ended. */
  closing: 10_000,
  /** `BatchPlugin`: one question whether it has closed. */
  closingPoll: 2_000,
  /** `BatchPlugin`: telling the batch. */
  report: 5_000,
  /** `BatchPlugin`: what is left to tell when the worker has stopped. */
  reportGrace: 1_500,
  /** `status --watch` and `wait`: how long the command waits for an unreachable database. */
  follow: 60_000,
  /** The command line: connecting to Temporal. */
  connect: 5_000,
  /** The command line: an answer of the codec server. */
  codec: 10_000,
  /** `doctor`: a query of a workflow. */
  query: 3_000,
} as const;

/** How soon cheap checks begin, in milliseconds. Later ones come after a tenth of the time waited. Never scaled. */
export const CHECKS = {
  /** First check of a nested batch. */
  nestedCheck: 500,
  /** First check of a workflow or activity that is a job. */
  executionCheck: 500,
} as const;

/**
 * From when on the doctor reports something as late, in milliseconds. Each is longer than the wait it judges, and none
 * is scaled.
 */
export const LATE = {
  /** A task that no worker takes: idle workers take one within milliseconds. */
  task: 10_000,
  /** A heartbeat: workers send one every 3 s and are lost after 10 s. */
  heartbeat: 15_000,
  /** A poll of a worker: each comes within a minute. */
  poll: 70_000,
  /** The rows, after the workflow: a write takes well under a second. */
  mirror: 10_000,
  /** The report of a workflow that is a job and has ended. */
  report: 5_000,
  /** Work that met a worker of another schema: longer ago, that worker may be gone. */
  mismatch: 5 * 60_000,
  /** A chunk: it is made to take about a second, so its jobs are slow or hang. */
  chunk: 60_000,
} as const;

const scale = process.env['BATCH_JOBS_TIMEOUT_SCALE'];
if (scale !== undefined && scale !== '') setTimeoutScale(Number(scale));

/** How long to wait for this, in milliseconds. */
export function waitMs(name: keyof typeof PROCESS_WAITS): number {
  return scaledMs(PROCESS_WAITS[name]);
}
