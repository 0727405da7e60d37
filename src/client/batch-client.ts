import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { SpanKind, type SpanOptions } from '@opentelemetry/api';
import { WithStartWorkflowOperation, type Client, type WorkflowStartOptions } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { Knex } from 'knex';
import type { BatchSettings, BatchStatus } from '../../workflows/batch-state.ts';
import type { batch as batchWorkflow } from '../../workflows/batch.ts';
import { cancelRequestedSignal, createdUpdate } from '../../workflows/messages.ts';
import type { RoundRequest } from '../../workflows/rounds.ts';
import type { CancelRequest } from '../../workflows/steering.ts';
import type { plainJob } from '../../workflows/plain-job.ts';
import {
  claimBlock,
  deleteBatch,
  selectBatch,
  selectBatches,
  selectOpenEnded,
  type ClaimedBlock,
} from '../database/batches.ts';
import { openDatabase, type Database } from '../database/connect.ts';
import { selectCycles } from '../database/members.ts';
import { assertMigrated } from '../database/migrate.ts';
import { preferPrimary } from '../database/primary.ts';
import { withRetry } from '../database/retry.ts';
import { describeSchema, isSameSchema, SchemaIdentity, type SchemaRef } from '../database/schema-identity.ts';
import { selectRoundBasis } from '../database/rounds.ts';
import { toBatchRecord, type BatchRecord, type BatchRow } from '../database/rows.ts';
import {
  BatchError,
  BatchExistsError,
  BatchNotFoundError,
  BatchRunningError,
  BatchSettledError,
  CodecMismatchError,
  DatabaseUnavailableError,
  InvalidOptionError,
} from '../errors.ts';
import {
  assertKnownKeys,
  assertName,
  assertPlainObject,
  assertWholeNumber,
  DEFAULT_TASK_QUEUE,
} from '../options.ts';
import {
  resolvePruneOptions,
  resolvePruneSchedule,
  resolveScheduleId,
  type PruneOptions,
  type PruneResult,
  type PruneScheduleOptions,
} from '../prune/options.ts';
import { countPrunable, filterOf, pruneBatches } from '../prune/prune-batches.ts';
import { deletePruneSchedule, savePruneSchedule } from '../prune/schedule.ts';
import { activeTrace, inSpan, withActiveTrace } from '../telemetry/tracing.ts';
import { CALLS } from '../timeouts.ts';
import { Batch } from './batch.ts';
import {
  assertBatchId,
  assertDeadlineAhead,
  differencesFrom,
  resolveBatchOptions,
  resolveRoundSettings,
  type BatchOptions,
  type BatchPolicyOptions,
  type ResolvedBatchOptions,
} from './batch-options.ts';
import { Enrollment, type EnrollmentOptions } from './enrollment.ts';
import { runOutsideEnrollment } from './enrollment-context.ts';
import { giveUp, isGivenUp } from './given-up.ts';
import { Limits } from './limits.ts';
import { parentOfNewBatch } from './lineage.ts';
import { openClients } from './open-clients.ts';
import { staticDetails } from './static-details.ts';
import type { JobTarget } from './submit.ts';
import {
  databaseMismatch,
  isDeadlineExceeded,
  isToBeSentAgain,
  isUncertain,
  toBatchError,
  toTemporalError,
} from './temporal-errors.ts';
import { whyClosed, whyNotOpened } from './why-closed.ts';
import { whyUnanswered } from './why-unanswered.ts';

export interface BatchClientOptions {
  /** A connected Temporal client of the app. Stays open when this client closes. */
  readonly client: Client;
  /** The app's Knex instance for Postgres (stays open; no transaction), or a connection string (`close()` closes the pool). */
  readonly database: string | Knex;
  /**
   * Told when rows or announcements are delayed and tried again.
   * @default warnings by `process.emitWarning`
   */
  readonly logger?: BatchLogger;
  /** Connections of a pool made from a connection string. @default 10 */
  readonly poolSize?: number;
  /** Schema that holds the tables. @default 'public' */
  readonly schema?: string;
  /** Task queue of batches and of jobs that name no other: one for each service, database and schema. @default 'batch-jobs' */
  readonly taskQueue?: string;
}

/** What a client logs to; Temporal's `Logger` fits. */
export interface BatchLogger {
  warn(message: string, meta?: Record<string, unknown>): void;
}

export interface ListOptions {
  /** Most batches to return. @default 100 */
  readonly limit?: number;
  /** Skip so many. @default 0 */
  readonly offset?: number;
  /** Only batches that a block, job or callback of this batch created. @default any */
  readonly parentId?: string;
  /** Only batches in this status. @default any */
  readonly status?: BatchStatus;
}

/** Before an id is tried again whose batch is coming or going. */
const CREATED_RETRY_MS = 50;

const STATUSES: readonly string[] = [
  'pending',
  'running',
  'complete',
  'failed',
  'cancelled',
] satisfies BatchStatus[];

const WARNINGS: BatchLogger = {
  warn: (message, meta) => process.emitWarning(`${message} ${JSON.stringify(meta ?? {})}`, 'BatchWarning'),
};

function spanOptions(batchId: string): SpanOptions {
  return { kind: SpanKind.PRODUCER, attributes: { 'batch_jobs.batch_id': batchId } };
}

function databaseAway(what: string, cause: unknown): DatabaseUnavailableError {
  return new DatabaseUnavailableError(
    'DATABASE_UNAVAILABLE',
    `${what}: Postgres does not answer (${cause instanceof Error ? cause.message : String(cause)}). Nothing is left behind. Check that it runs and the connection settings, then create it again.`,
    { cause },
  );
}

/** Workflow id of a batch. */
export function batchWorkflowId(batchId: string): string {
  return `batch:${batchId}`;
}

/**
 * The app's side: creates batches and finds them again. Keep one open for the life of the process.
 *
 * @example
 * const batches = new BatchClient({ client: new Client({ connection }), database: process.env.DATABASE_URL });
 */
export class BatchClient {
  readonly taskQueue: string;
  /** Limits over all batches. */
  readonly limits: Limits;
  /** @internal */
  readonly database: Database;
  /** @internal Of the schema of `database`: batches carry it, and workers compare it. */
  readonly identity: SchemaIdentity;
  /** @internal */
  readonly logger: BatchLogger;
  #clientOf: () => Client;
  #migrated: Promise<void> | undefined;
  #isClosed = false;

  /** @throws {@link InvalidOptionError} */
  constructor(options: BatchClientOptions) {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['client', 'database', 'logger', 'poolSize', 'schema', 'taskQueue']);
    const { client, database, taskQueue = DEFAULT_TASK_QUEUE } = options;
    if (typeof client?.workflow?.start !== 'function') {
      throw new InvalidOptionError('client', 'a Client of @temporalio/client', client);
    }
    assertName('taskQueue', taskQueue);
    this.#clientOf = () => client;
    this.taskQueue = taskQueue;
    this.logger = options.logger ?? WARNINGS;
    this.database = openDatabase(database, {
      ...(options.schema === undefined ? {} : { schema: options.schema }),
      ...(options.poolSize === undefined ? {} : { poolSize: options.poolSize }),
    });
    this.identity = new SchemaIdentity(this.database);
    this.limits = new Limits(this);
    openClients.add(this);
  }

  /** @internal */
  get client(): Client {
    return this.#clientOf();
  }

  /** @internal Calls Temporal through another client from now on. @param clientOf asked at each call */
  callThrough(clientOf: () => Client): void {
    this.#clientOf = clientOf;
  }

  /**
   * Creates a batch: a Temporal workflow, and its row. In a block, job or callback of another batch, that one is its parent. Creating a batch of an id that exists, also at once from several
   * processes, gives that batch, wherever it stands, if it was created with the same options.
   *
   * @throws {@link InvalidOptionError} @throws {@link InvalidArgumentsError} for the context
   * @throws {@link BatchExistsError} when the id is that of a batch with other options
   * @throws {@link WorkerUnavailableError} when no worker answered for 15 s; nothing is left behind
   * @throws {@link DatabaseMismatchError} when only workers with another database or schema did; nothing is left behind
   * @throws {@link DatabaseUnavailableError} when Postgres did not answer; nothing is left behind
   * @throws {@link MigrationsPendingError} @throws {@link DatabaseRefusedError}
   * @throws {@link TemporalUnavailableError}
   */
  async create(options: BatchOptions): Promise<Batch> {
    return this.createResolved(resolveBatchOptions(options, randomUUID), options.id !== undefined);
  }

  /** @internal @param mayExist whether it can be a batch that is there */
  async createResolved(resolved: ResolvedBatchOptions, mayExist = true): Promise<Batch> {
    return inSpan('batch.create', spanOptions(resolved.id), () => this.#create(resolved, mayExist));
  }

  async #create(resolved: ResolvedBatchOptions, mayExist: boolean): Promise<Batch> {
    await this.ready();
    if (!mayExist) {
      assertDeadlineAhead(resolved);
      return this.#start(resolved);
    }
    const deadline = Date.now() + CALLS.worker;
    for (let isStarted = false; ; isStarted = true) {
      const existing = await this.#existing(resolved, isStarted);
      if (existing) return existing;
      assertDeadlineAhead(resolved);
      try {
        return await this.#start(resolved);
      } catch (error) {
        if (!(error instanceof BatchExistsError)) throw error;
        // Another creator was first. Its row may not be written yet, or be gone again, of a batch that came to nothing.
        if (Date.now() < deadline) {
          await this.#written(resolved.id, deadline);
          await delay(CREATED_RETRY_MS);
          continue;
        }
        const late = await this.#existing(resolved, true);
        if (!late) throw error;
        return late;
      }
    }
  }

  /**
   * Finds a batch by id.
   *
   * @throws {@link BatchNotFoundError} @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError}
   * @throws {@link DatabaseUnavailableError} @throws {@link DatabaseRefusedError}
   */
  async find(id: string): Promise<Batch> {
    assertBatchId(id);
    await this.ready();
    return this.#found(id);
  }

  /**
   * Batches, newest first.
   *
   * @throws {@link InvalidOptionError} @throws {@link DatabaseUnavailableError} @throws {@link DatabaseRefusedError}
   */
  async list(options: ListOptions = {}): Promise<Batch[]> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['limit', 'offset', 'parentId', 'status']);
    const { limit = 100, offset = 0, parentId, status } = options;
    if (parentId !== undefined) assertBatchId(parentId);
    assertWholeNumber('limit', limit, 1);
    assertWholeNumber('offset', offset, 0);
    if (status !== undefined && !STATUSES.includes(status)) {
      throw new InvalidOptionError('status', `one of ${STATUSES.join(', ')}`, status);
    }
    await this.ready();
    const rows = await this.read(async () => {
      const query = selectBatches(this.database).limit(limit).offset(offset);
      if (parentId !== undefined) query.where({ parent_batch_id: parentId });
      return status === undefined ? query : query.where({ status });
    });
    return rows.map((row) => this.batchOf(toBatchRecord(row)));
  }

  /**
   * Removes batches that settled long ago, with their jobs, in small transactions. What still runs stays, and so does a
   * batch whose callbacks have not all ended. A prune that dies is continued by the next one; several at once share the
   * work.
   *
   * @returns what this call removed, or with `dryRun` what would go
   * @throws {@link InvalidOptionError} @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError}
   * @example await batches.prune({ olderThan: '30 days', status: ['complete', 'cancelled'] });
   */
  async prune(options: PruneOptions): Promise<PruneResult> {
    const { selection, dryRun, onProgress } = resolvePruneOptions(options);
    await this.ready();
    const filter = await this.read(() => filterOf(this.database, selection));
    if (dryRun) return this.read(() => countPrunable(this.database, filter));
    return pruneBatches(this.database, filter, { onProgress });
  }

  /**
   * Creates or changes a Temporal Schedule that prunes this client's schema, by the workers of its task queue. Workers
   * with another database or schema refuse to. Calling it again with the same options changes nothing.
   *
   * @throws {@link InvalidOptionError} also when `scheduleId` belongs to a schedule of another kind
   * @throws {@link MigrationsPendingError} @throws {@link DatabaseUnavailableError} @throws {@link TemporalUnavailableError}
   * @example await batches.schedulePrune({ olderThan: '30 days', every: '1 day' });
   */
  async schedulePrune(options: PruneScheduleOptions): Promise<{ scheduleId: string }> {
    const resolved = resolvePruneSchedule(options, this.taskQueue);
    await this.ready();
    const schema = await this.#schema();
    const schedule = { ...resolved, input: { ...resolved.input, schema } };
    await runOutsideEnrollment(() => savePruneSchedule(this.client, this.taskQueue, schedule));
    return { scheduleId: schedule.scheduleId };
  }

  /**
   * Deletes the schedule that `schedulePrune` made. A prune that it has started goes on.
   *
   * @returns whether there was one
   * @throws {@link InvalidOptionError} also when `scheduleId` belongs to a schedule of another kind
   * @throws {@link TemporalUnavailableError}
   */
  async unschedulePrune(options: Pick<PruneScheduleOptions, 'scheduleId'> = {}): Promise<boolean> {
    assertPlainObject('options', options);
    assertKnownKeys('options', options, ['scheduleId']);
    this.assertOpen();
    return deletePruneSchedule(this.client, resolveScheduleId(options.scheduleId, this.taskQueue));
  }

  /**
   * Closes the pool that was opened from a connection string. Injected connections stay open. Every later call on this
   * client and on its batches throws `CLIENT_CLOSED`.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    openClients.delete(this);
    await this.database.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal @throws {@link BatchError} with code `CLIENT_CLOSED` */
  assertOpen(): void {
    if (!this.#isClosed) return;
    throw new BatchError(
      'CLIENT_CLOSED',
      'This BatchClient was closed by close(). Create another one, and close it after the last call on its batches.',
    );
  }

  /** @internal Reads, again and again while the database is away. @throws {@link DatabaseUnavailableError} */
  async read<T>(query: () => Promise<T>, timeoutMs: number = CALLS.read): Promise<T> {
    this.assertOpen();
    return withRetry(query, {
      timeoutMs,
      onRetry: (error, attempt) =>
        this.logger.warn('The database did not answer; reading again', { attempt, error: String(error) }),
    });
  }

  /**
   * @internal The batch's row; no replica says that it is gone.
   *
   * @param isCurrent no replica says an older state either
   * @throws {@link DatabaseUnavailableError}
   */
  async readRow(id: string, timeoutMs?: number, isCurrent = false): Promise<BatchRow | undefined> {
    return this.read(async () => {
      const row = isCurrent ? undefined : await selectBatch(this.database, id);
      return row ?? preferPrimary((options) => selectBatch(this.database, id, options));
    }, timeoutMs);
  }

  /**
   * @internal Starts the run of the batch's workflow that is its next round, if no other one is.
   *
   * @param cancel cancels the round at once, or the one that runs by then
   * @returns the run's id @throws {@link BatchRunningError}
   */
  async startRound(
    record: BatchRecord,
    request: Omit<RoundRequest, 'callbacks'>,
    policy: BatchPolicyOptions,
    cancel?: CancelRequest,
  ): Promise<string> {
    const start = () => this.#startRound(record, request, policy, cancel);
    return inSpan('batch.retry', spanOptions(record.id), start);
  }

  async #startRound(
    { id, description, context }: BatchRecord,
    request: Omit<RoundRequest, 'callbacks'>,
    policy: BatchPolicyOptions,
    cancel: CancelRequest | undefined,
  ): Promise<string> {
    const basis = await this.read(() =>
      preferPrimary((options) => selectRoundBasis(this.database, id, options)),
    );
    if (!basis) throw new BatchNotFoundError(id);
    const { callbacks } = basis;
    const settings = withActiveTrace(resolveRoundSettings(basis.settings, policy));
    const schema = await this.#schema();
    const options: WorkflowStartOptions<typeof batchWorkflow> = {
      ...this.#workflowOptions(id, `${description} (round ${request.number})`, context, settings),
      args: [{ schema, batchId: id, description, context, settings, round: { ...request, callbacks } }],
    };
    try {
      return await runOutsideEnrollment(async () => {
        const { workflow } = this.client;
        if (cancel === undefined) return (await workflow.start('batch', options)).firstExecutionRunId;
        const cancelled = {
          ...options,
          signal: cancelRequestedSignal,
          signalArgs: [cancel] as [CancelRequest],
        };
        return (await workflow.signalWithStart('batch', cancelled)).signaledRunId;
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw toBatchError(id, error);
      throw new BatchRunningError(
        'BATCH_RUNNING',
        `Batch "${id}" still runs its callbacks, or its failed jobs again. Wait for its end.`,
        { cause: error },
      );
    }
  }

  /** @internal Which of these batches wait for that one, and how: see `selectCycles`. @throws {@link DatabaseUnavailableError} */
  async findCycles(
    batchId: string,
    memberIds: readonly string[],
  ): Promise<ReadonlyMap<string, readonly string[]>> {
    return this.read(() => selectCycles(this.database, batchId, memberIds));
  }

  /** @internal Opens a batch's one block. @throws why that cannot be @throws {@link DatabaseUnavailableError} */
  async claimBlock(batchId: string, name: string = randomUUID()): Promise<ClaimedBlock> {
    const block = await this.read(() => claimBlock(this.database, batchId, name));
    if (!block) throw whyNotOpened(batchId, await this.readRow(batchId));
    return block;
  }

  /** @internal Whether an open-ended batch takes blocks. @throws why not @throws {@link DatabaseUnavailableError} */
  async joinBlock(batchId: string, token: string): Promise<ClaimedBlock> {
    const block = await this.read(() => selectOpenEnded(this.database, batchId, token));
    if (!block) throw whyClosed(batchId, await this.readRow(batchId), { token });
    return block;
  }

  /** @internal */
  openBlock(options: EnrollmentOptions): Enrollment {
    return new Enrollment({ ...options, assertClientOpen: () => this.assertOpen() });
  }

  /** @internal */
  batchOf(record: BatchRecord): Batch {
    return new Batch(this, record);
  }

  /** @internal */
  async startPlainJob(target: JobTarget, args: readonly unknown[]): Promise<string> {
    this.assertOpen();
    const jid = randomUUID();
    const { startDelayMs, ...options } = target.options;
    const trace = activeTrace();
    try {
      await this.client.workflow.start<typeof plainJob>('plainJob', {
        workflowId: `job:${jid}`,
        taskQueue: this.taskQueue,
        args: [{ jid, workerClass: target.name, args, ...(trace ? { trace } : {}) }, options],
        staticSummary: target.name,
        ...(startDelayMs === undefined ? {} : { startDelay: startDelayMs }),
      });
    } catch (error) {
      throw toTemporalError(`the start of plain job "${jid}" (${target.name})`, error);
    }
    return jid;
  }

  /** What each round's run of the batch's workflow has in common, and what people see of it. */
  #workflowOptions(id: string, summary: string, context: unknown, { priority = {} }: BatchSettings) {
    return {
      workflowId: batchWorkflowId(id),
      taskQueue: this.taskQueue,
      // Its activities and child workflows inherit it.
      priority,
      memo: { batchId: id, description: summary },
      staticSummary: summary,
      staticDetails: staticDetails(id, context),
    };
  }

  /** Starts the batch's workflow. @throws {@link BatchExistsError} when one of this id runs, or has left a row */
  async #start(resolved: ResolvedBatchOptions): Promise<Batch> {
    const { id, description, context, definition, callbacks, settings } = resolved;
    const creationId = randomUUID();
    const schema = await this.#schema();
    const parentBatchId = parentOfNewBatch();
    const start = new WithStartWorkflowOperation<typeof batchWorkflow>('batch', {
      ...this.#workflowOptions(id, description, context, settings),
      workflowIdConflictPolicy: 'FAIL',
      args: [
        {
          schema,
          batchId: id,
          description,
          context,
          definition,
          callbacks,
          settings: withActiveTrace(settings),
          ...(parentBatchId === undefined ? {} : { parentBatchId }),
        },
      ],
      memo: {
        batchId: id,
        creationId,
        description,
        ...(parentBatchId === undefined ? {} : { parentBatchId }),
      },
      staticDetails: staticDetails(id, context, parentBatchId),
    });
    try {
      await this.client.withDeadline(Date.now() + CALLS.worker, () =>
        // A batch that a block creates is no job of it: `enrol` makes it one.
        runOutsideEnrollment(() =>
          this.client.workflow.executeUpdateWithStart(createdUpdate, { startWorkflowOperation: start }),
        ),
      );
    } catch (error) {
      if (!isUncertain(error)) {
        const known = toBatchError(id, error);
        if (known instanceof CodecMismatchError) await this.#discard(id, settings);
        throw known;
      }
      const what = `Batch "${id}" was not created`;
      // Asked before the workflow is gone.
      const why = isDeadlineExceeded(error)
        ? await whyUnanswered(this, id, what, error)
        : toBatchError(id, error);
      const end = await giveUp(this, id, creationId);
      if (end.databaseError !== undefined) throw databaseAway(what, end.databaseError);
      if (end.isTakenBack) throw why;
    }
    // The batch is made: nothing that happens from here on may hide it from its creator.
    try {
      return await this.#found(id, CALLS.database);
    } catch (error) {
      if (!(error instanceof DatabaseUnavailableError)) throw error;
      throw new DatabaseUnavailableError(
        'DATABASE_UNAVAILABLE',
        `Batch "${id}" was created, and could not be read: ${error.message} Then use find("${id}"); without a block it ends failed after openTimeout.`,
        { cause: error },
      );
    }
  }

  /** Ends a batch whose creator cannot read what its workflow answers: with an empty block its workflow removes it. */
  async #discard(id: string, { autoSeal }: BatchSettings): Promise<void> {
    // One that others add to is theirs by now; `openTimeout` ends it if nobody does.
    if (!autoSeal) return;
    try {
      const batch = await this.#found(id);
      await runOutsideEnrollment(() => batch.jobs(() => {}));
    } catch {
      // That it is empty, or again that the answer cannot be read.
    }
  }

  /**
   * The batch of this id, if there is one.
   *
   * @param isStarted another creator has started it. If not, a replica may say that there is none: then the start is refused
   * @throws {@link BatchExistsError} when it was created with other options
   */
  async #existing(resolved: ResolvedBatchOptions, isStarted: boolean): Promise<Batch | undefined> {
    const { id } = resolved;
    const row = isStarted ? await this.readRow(id) : await this.read(() => selectBatch(this.database, id));
    if (!row) return undefined;
    if (await isGivenUp(this.client, row)) {
      const { id: batchId, first_execution_run_id: firstExecutionRunId } = row;
      await this.read(() => deleteBatch(this.database, { batchId, firstExecutionRunId }));
      return undefined;
    }
    const differences = differencesFrom(row, resolved);
    if (differences.length > 0) throw new BatchExistsError(resolved.id, { differences });
    return this.batchOf(toBatchRecord(row));
  }

  /** Waits until the batch that another creator has started has its row. It may have ended since. */
  async #written(id: string, deadline: number): Promise<void> {
    try {
      const { schema } = await this.client.withDeadline(deadline, () =>
        this.client.workflow
          .getHandle<typeof batchWorkflow>(batchWorkflowId(id))
          .executeUpdate(createdUpdate),
      );
      const own = await this.#schema();
      if (schema !== undefined && !isSameSchema(schema, own)) {
        throw databaseMismatch(
          `Batch "${id}" was not created`,
          `A batch of this id runs in schema ${describeSchema(schema)}, and this client has opened schema ` +
            `${describeSchema(own)}. Temporal's namespace has one batch of an id. Give each environment its own ` +
            'namespace, or use other ids.',
        );
      }
    } catch (error) {
      if (isDeadlineExceeded(error))
        throw await whyUnanswered(this, id, `Batch "${id}" is not there yet`, error);
      if (isToBeSentAgain(error)) return;
      const known = toBatchError(id, error);
      if (!(known instanceof BatchSettledError) && !(known instanceof BatchExistsError)) throw known;
    }
  }

  async #found(id: string, timeoutMs?: number): Promise<Batch> {
    const row = await this.readRow(id, timeoutMs);
    if (!row) throw new BatchNotFoundError(id);
    return this.batchOf(toBatchRecord(row));
  }

  /** Where the batches of this client are, for the workers. @throws {@link DatabaseUnavailableError} */
  async #schema(): Promise<SchemaRef> {
    return this.read(() => this.identity.ref());
  }

  /** @internal Checks once that the database is there and migrated. */
  async ready(): Promise<void> {
    this.assertOpen();
    this.#migrated ??= this.read(() => assertMigrated(this.database));
    try {
      await this.#migrated;
    } catch (error) {
      this.#migrated = undefined;
      throw error;
    }
  }
}
