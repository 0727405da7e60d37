import type { BatchClient } from '../src/client/batch-client.ts';
import type { Database } from '../src/database/connect.ts';
import type { Callback } from '../src/jobs/define-callback.ts';
import type { Job } from '../src/jobs/define-job.ts';
import type { ByteBudget } from '../src/worker/byte-budget.ts';
import type { Permits } from '../src/worker/permits.ts';
import type { Slots } from '../src/worker/slots.ts';
import type { AttemptLog } from './attempt-log.ts';
import type { SteeringWatch } from './steering.ts';
import type { UnknownNames } from './unknown-names.ts';

/** A job of any arguments. Jobs differ in their argument types; rows bring the arguments back as they were given. */
// oxlint-disable-next-line typescript/no-explicit-any -- parameter types are contravariant: no other type takes all jobs
export type AnyJob = Job<any>;

/** What the activities work with. */
export interface ActivityDependencies {
  readonly database: Database;
  readonly jobs: ReadonlyMap<string, AnyJob>;
  readonly callbacks: ReadonlyMap<string, Callback>;
  /** A client on the worker's connections, for handlers. */
  readonly batches: BatchClient;
  /** The worker's limit for jobs that run at once. */
  readonly slots: Slots;
  /** The worker's permits for jobs under limits over all batches. */
  readonly permits: Permits;
  /** The worker's bound for arguments and outcomes in memory. */
  readonly bytes: ByteBudget;
  /** Logs names that the worker does not know. */
  readonly unknownNames: UnknownNames;
  /** Whether rows keep the stacks of errors. */
  readonly storesStacks: boolean;
  /** Logs attempts that failed. */
  readonly attemptLog: AttemptLog;
  /** Tells chunks that their batch was paused, changed or stopped. */
  readonly steering: SteeringWatch;
  /** Whether the worker shuts down: then no further job starts. */
  readonly isDraining: () => boolean;
}
