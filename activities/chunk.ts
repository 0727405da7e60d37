import { AsyncResource } from 'node:async_hooks';
import { activityInfo, Context, log } from '@temporalio/activity';
import { CancelledFailure } from '@temporalio/common';
import {
  clearMarks,
  countLosses,
  DUE_TOLERANCE_MS,
  markStarting,
  missingFrom,
  selectArgs,
  selectChunk,
  selectChunkStates,
  type ChunkJob,
  type Failure,
} from '../src/database/chunks.ts';
import { batchWorkflowId } from '../src/client/batch-client.ts';
import type { Execution } from '../src/database/executions.ts';
import { selectFailedJobs } from '../src/database/failed-sample.ts';
import { selectMembers, type MemberBatch } from '../src/database/members.ts';
import { markMissing, MISSING_ERROR, MISSING_JOB } from '../src/database/missing-rows.ts';
import { withRetry } from '../src/database/retry.ts';
import { isSameSchema } from '../src/database/schema-identity.ts';
import { selectLookPace, updateRunIds, type LookPace } from '../src/database/workflow-jobs.ts';
import { MEMBER_BATCH } from '../src/jobs/member-batch.ts';
import { MAX_JSON_BYTES } from '../src/json-value.ts';
import { describeError, retryDelay, stackOf } from '../src/jobs/outcome.ts';
import { resultJson } from '../src/jobs/result.ts';
import type { PermitGroup } from '../src/worker/permits.ts';
import { acquire } from '../src/worker/slots.ts';
import { CALLS, CHECKS, waitMs } from '../src/timeouts.ts';
import { jobFailure, MAX_CHUNK_SAMPLE, sampled, type FailedJob } from '../workflows/failed-sample.ts';
import { chunkDrainedSignal, jobFailedSignal } from '../workflows/messages.ts';
import type { ChunkLeft, ChunkReport } from '../workflows/range-state.ts';
import { countOf, formatSpans, parseSpans, spansOf, type Span } from '../workflows/spans.ts';
import { ChunkArgs } from './chunk-args.ts';
import { observeChunk, type AttemptOutcome, type ChunkTelemetry } from './chunk-telemetry.ts';
import type { ChunkInput } from './contract.ts';
import type { ActivityDependencies, AnyJob } from './dependencies.ts';
import type { Look } from './executions.ts';
import { withHeartbeat } from './heartbeat.ts';
import { isShareUsed } from './loop-share.ts';
import { Outbox, type FailedAttempt } from './outbox.ts';
import { patiently } from './patiently.ts';
import { RunningJobs, timedOut, type TimeLimit } from './running-jobs.ts';
import { PermitSlots } from './permit-slots.ts';
import { ShareSlots, type JobSlots } from './share.ts';
import type { RowSteering } from './steering.ts';
import { nextLookMs } from './workflow-look.ts';
import { lookAtAll, type LookRequest } from './workflow-looks.ts';

/** A job that was lost so often while it was watched runs alone in its worker, so that it is proven guilty or not. */
const LOSSES_BEFORE_SOLO = 1;
/** ... and fails for good after so many watched losses: two of them alone, and two more before it was watched. */
const LOSSES_BEFORE_FAILURE = 3;
const DELAY_STEP_MS = 100;
/** A chunk that ends within this time of its last start is not worth a message. */
const DRAINED_AFTER_MS = 50;
/** A chunk in which many jobs fail does not say so more often. */
const NOTICE_INTERVAL_MS = 1_000;
/** A chunk that waits for its last jobs collects for so long what others are to run again. */
const LEFT_INTERVAL_MS = 500;

/** Every waiting chunk keeps an activity slot. Above this number, chunks wait for two requests only. */
const MAX_PATIENT_CHUNKS = 10;

/** Jobs of a chunk that share arguments, slots and a place in line. */
interface JobRun {
  readonly jobs: readonly ChunkJob[];
  readonly args: ChunkArgs;
  slots: JobSlots;
  /** Index of the first job that has not started. */
  next: number;
  /** The jobs that have not started leave the worker because they got no permit for too long. */
  isOut: boolean;
}

/** Runs the jobs of a chunk and writes their outcomes. A second execution runs what is still pending. */
export async function runChunk(dependencies: ActivityDependencies, input: ChunkInput): Promise<ChunkReport> {
  return withHeartbeat(() =>
    observeChunk(dependencies.database, input, (telemetry) =>
      new ChunkRun(dependencies, input, telemetry).run(),
    ),
  );
}

class ChunkRun {
  readonly #deps: ActivityDependencies;
  readonly #input: ChunkInput;
  readonly #spans: readonly Span[];
  /** Fires when the server gave the chunk up, or the worker stops waiting for it: then its report goes nowhere. */
  readonly #givenUp = new AbortController();
  readonly #unlisten: (() => void)[] = [];
  readonly #scheduledAt = activityInfo().currentAttemptScheduledTimestampMs;
  /** From there to the start of the first job. */
  #queueMs: number | undefined;
  readonly #outbox: Outbox;
  readonly #args: ChunkArgs;
  readonly #running: RunningJobs;
  /** Undefined: nobody observes. */
  readonly #telemetry: ChunkTelemetry | undefined;
  readonly #remaining: number[] = [];
  readonly #unknown: number[] = [];
  /** Jobs whose rows were not found. */
  readonly #missing: number[] = [];
  /** Jobs that are batches. */
  readonly #members: ChunkJob[] = [];
  /** Jobs that are workflows or activities. */
  readonly #executions: ChunkJob[] = [];
  /** Local time when each of these is due again. */
  readonly #dueAt = new Map<number, number>();
  /** Some of those that another execution of the chunk has failed: their rows say why. */
  #failedBefore: number[] = [];
  /** Jobs that count as failed without a row: their batch has none either, or its round is over. */
  #failedWithoutRow = 0;
  #completed = 0;
  #failed = 0;
  /** Jobs that were cancelled in an earlier round; or in this one, of which a later round runs them. */
  #cancelled = 0;
  #ran = 0;
  #busyMs = 0;
  #noticedAt = -Infinity;
  /** Jobs that were left to other chunks while some of this one's still run. */
  readonly #left = new Set<number>();
  /** All jobs have started, some run, and their workflow knows: it is told of what they leave meanwhile. */
  #sayLeft: (() => void) | undefined;
  /** Local time when the rows were read, and so their ages. */
  #loadedAt = 0;
  /** Number of the batch's newest change. After one that its workflow did not know, what has not started goes back. */
  #steering: number;
  /** The batch was stopped: handlers were asked to end, and what has not ended is no failure. */
  #isStopped = false;
  /** One function per run that gives back its jobs that wait for arguments or a slot. */
  readonly #giveUps = new Set<() => void>();
  /** Number of runs with unstarted jobs, and number of running jobs. */
  #unstarted = 0;
  #open = 0;
  #drainedTimer: NodeJS.Timeout | undefined;
  #starting: number[] = [];
  #marking: Promise<void> | undefined;
  /** The database stayed away: the chunk runs again later. */
  #error: unknown;

  constructor(dependencies: ActivityDependencies, input: ChunkInput, telemetry: ChunkTelemetry | undefined) {
    this.#deps = dependencies;
    this.#input = input;
    this.#telemetry = telemetry;
    this.#spans = parseSpans(input.spans);
    this.#steering = input.steering;
    const { bytes, database } = dependencies;
    this.#outbox = new Outbox(database, input, { bytes, onFailed: (failed) => this.#notice(failed) });
    this.#args = this.#argsWith(input.share ? { sliceBytes: MAX_JSON_BYTES } : {});
    this.#running = new RunningJobs(this.#givenUp.signal);
  }

  #argsWith(options: { readonly sliceBytes?: number }): ChunkArgs {
    const { bytes, database } = this.#deps;
    return new ChunkArgs({
      budget: bytes,
      read: (positions) => this.#retrying(() => selectArgs(database, this.#input.batchId, positions)),
      isStopping: () => this.#isStopping(),
      ...options,
    });
  }

  #listen(): void {
    const { steering } = this.#deps;
    this.#unlisten.push(steering.listen(this.#input.batchId, (row) => this.#steered(row)));
    const context = Context.current();
    const onAbort = () => {
      // The batch was stopped; its row says how long handlers may go on.
      if (context.cancellationDetails?.cancelRequested) void steering.read();
      else this.#givenUp.abort(context.cancellationSignal.reason);
    };
    context.cancellationSignal.addEventListener('abort', onAbort, { once: true });
    this.#unlisten.push(() => context.cancellationSignal.removeEventListener('abort', onAbort));
    if (context.cancellationSignal.aborted) onAbort();
  }

  #steered({ number, graceMs }: RowSteering): void {
    if (number <= this.#input.steering) return;
    this.#steering = Math.max(this.#steering, number);
    if (graceMs !== null && !this.#isStopped) {
      this.#isStopped = true;
      this.#running.stop(new Error('The batch was stopped'), graceMs);
    }
    // Nobody frees a slot for what will not start.
    for (const giveUp of this.#giveUps) giveUp();
  }

  async run(): Promise<ChunkReport> {
    this.#listen();
    let jobs: readonly ChunkJob[] = [];
    try {
      jobs = await this.#load();
      const runs = this.#runsOf(this.#fitting(jobs.filter((job) => this.#sort(job))));
      await this.#askMembers();
      const looks = this.#lookAtExecutions();
      await this.#runAll(runs);
      await looks;
      if (this.#error !== undefined) throw this.#error;
    } finally {
      this.#running.close();
      this.#args.close();
      for (const unlisten of this.#unlisten) unlisten();
      await this.#outbox.close();
      await this.#unmark();
    }
    // Given up by the server: whoever runs these jobs now reports them.
    if (this.#givenUp.signal.aborted && !this.#deps.isDraining())
      throw new CancelledFailure('The chunk was given up');
    if (this.#outbox.contested > 0) await this.#readBack();
    return this.#report(await this.#sample(jobs));
  }

  async #load(): Promise<ChunkJob[]> {
    const { batchId, taskQueue, name, careful } = this.#input;
    const { database } = this.#deps;
    if (careful) await this.#retrying(() => countLosses(database, batchId, this.#spans));
    const jobs = await this.#args.withRows(countOf(this.#spans), (maxBytesEach) =>
      this.#retrying(() => selectChunk(database, this.#spans, this.#input, maxBytesEach)),
    );
    this.#loadedAt = Date.now();
    // A chunk that waited for a worker may be older than the pause.
    this.#steering = Math.max(this.#steering, jobs[0]?.steering ?? 0);
    // Rows that are not there belong to the batch's own queue, so that one runner counts them and not several.
    if (taskQueue === null && name === undefined && jobs.length < countOf(this.#spans)) {
      await this.#miss(missingFrom(this.#spans, new Set(jobs.map(({ position }) => position))));
    }
    return jobs;
  }

  /**
   * Rows of enrolled jobs that a read did not find. That is no proof: a replica may lag, and a proxy may have sent the
   * read there. So they are asked for again, like jobs of unknown names, for a while. After that a write decides.
   */
  async #miss(missing: readonly number[]): Promise<void> {
    const { batchId, round, unknownForMs = 0 } = this.#input;
    if (unknownForMs < waitMs('missingRow')) {
      log.warn('Rows of enrolled jobs were not found; asking again later', {
        batchId,
        jobs: formatSpans(spansOf(missing)),
        waitedMs: unknownForMs,
      });
      this.#missing.push(...missing);
      return;
    }
    await this.#assertSameSchema();
    const { gone: marked, isOpen } = await this.#retrying(() =>
      markMissing(this.#deps.database, { batchId, round }, missing),
    );
    // Those that are not marked are there: the read was late. Of a batch that is gone or over, nothing is.
    const gone = isOpen === true ? marked : missing;
    this.#missing.push(...missing.filter((position) => !gone.includes(position)));
    if (gone.length === 0) return;
    if (isOpen === true) this.#failedBefore.push(...gone.slice(0, MAX_CHUNK_SAMPLE));
    else this.#failedWithoutRow = gone.length;
    this.#failed += gone.length;
    log.error('Rows of enrolled jobs are gone; these jobs count as failed', {
      batchId,
      jobs: formatSpans(spansOf(gone)),
      isBatchGone: isOpen === undefined,
    });
  }

  /** Before anything is counted because it is not there: the schema may have been replaced beneath this worker. */
  async #assertSameSchema(): Promise<void> {
    const { identity } = this.#deps.batches;
    const [before, now] = [await identity.ref(), await this.#retrying(() => identity.reread())];
    if (!isSameSchema(before, now))
      throw new Error(`The schema of this worker was ${before}, and is ${now}.`);
  }

  /** Puts a job where it belongs. @returns whether it is to run now */
  #sort(job: ChunkJob): boolean {
    if (!job.mine) return false;
    if (job.status === 'complete') this.#completed++;
    else if (job.status === 'failed') {
      this.#failed++;
      if (this.#failedBefore.length < MAX_CHUNK_SAMPLE) this.#failedBefore.push(job.position);
    } else if (job.round !== this.#input.round) this.#cancelled++;
    else if (job.due_in_ms > DUE_TOLERANCE_MS) this.#dueAt.set(job.position, Date.now() + job.due_in_ms);
    else if (job.workflow_id !== null || job.activity_id !== null) this.#executions.push(job);
    else if (job.worker_class === MEMBER_BATCH.name) this.#members.push(job);
    else if (job.worker_class === MISSING_JOB) this.#failForGood(job, MISSING_ERROR);
    else if (!this.#deps.jobs.has(job.worker_class)) this.#reportUnknown(job);
    else if (job.losses >= LOSSES_BEFORE_FAILURE) this.#failLost(job);
    else return true;
    return false;
  }

  /** Looks how the batches stand that are jobs of this one. Those that have not settled are asked again later. */
  async #askMembers(): Promise<void> {
    if (this.#members.length === 0) return;
    const idOf = (job: ChunkJob) => job.member_id!;
    const rows = await this.#readMembers();
    for (const job of this.#members) {
      const batch = rows.get(idOf(job));
      const ageMs = this.#ageOf(job);
      if (batch ? batch.outcome === null : ageMs < waitMs('nestedMissing')) {
        const delayMs = Math.min(waitMs('nestedCheckMax'), Math.max(CHECKS.nestedCheck, ageMs / 10));
        this.#dueAt.set(job.position, Date.now() + delayMs);
      } else if (batch?.outcome === 'complete') {
        this.#completed++;
        this.#telemetry?.ended(job.worker_class, 'complete');
        const { startedAt, settledAt } = batch;
        this.#outbox.succeeded({ position: job.position, startedAt, finishedAt: settledAt! });
      } else this.#failForGood(job, memberFailure(idOf(job), batch));
    }
  }

  /** Rows of the batches that are jobs of this one. One that is about to count as deleted is asked for at the primary. */
  async #readMembers(): Promise<ReadonlyMap<string, MemberBatch>> {
    const { database } = this.#deps;
    const idOf = (job: ChunkJob) => job.member_id!;
    const rows = await this.#retrying(() => selectMembers(database, this.#members.map(idOf)));
    const lost = this.#members.filter(
      (job) => !rows.has(idOf(job)) && this.#ageOf(job) >= waitMs('nestedMissing'),
    );
    if (lost.length === 0) return rows;
    const found = await this.#retrying(() => selectMembers(database, lost.map(idOf), { isLocking: true }));
    return new Map([...rows, ...found]);
  }

  /** Looks how the workflows and activities stand that are jobs of this batch, beside handlers that run. Never throws. */
  async #lookAtExecutions(): Promise<void> {
    if (this.#executions.length === 0) return;
    const { batchId } = this.#input;
    const { batches, database } = this.#deps;
    const rows = new Map(this.#executions.map((row) => [row.position, row]));
    const found: { position: number; runId: string }[] = [];
    try {
      const pace = await this.#retrying(() => selectLookPace(database, batchId));
      this.#queueMs ??= Math.max(0, Date.now() - this.#scheduledAt);
      const requests = this.#executions.map((row) => this.#lookRequest(row));
      const rest = await lookAtAll(
        batches.client,
        requests,
        () => this.#isStopping(),
        ({ position, ageMs }, look, tookMs) => {
          // What has a part of a limit is to give it back: a look is no start.
          if (!this.#input.share) {
            this.#ran++;
            this.#busyMs += tookMs;
          }
          this.#looked(rows.get(position)!, look, { ageMs, pace });
          if (look?.isOver === false && look.firstRunId !== undefined)
            found.push({ position, runId: look.firstRunId });
        },
      );
      for (const { position } of rest) this.#remaining.push(position);
      if (found.length > 0) await this.#retrying(() => updateRunIds(database, batchId, found));
    } catch (error) {
      this.#error ??= error;
    }
  }

  #lookRequest(row: ChunkJob): LookRequest {
    return {
      position: row.position,
      ageMs: this.#ageOf(row),
      job: {
        batchId: this.#input.batchId,
        ...executionOf(row),
        runId: row.run_id,
        mayAttach: row.options?.mayAttach ?? false,
        isRetried: row.round > 1 && this.#input.round > 1,
      },
    };
  }

  #looked(
    row: ChunkJob,
    look: Look | undefined,
    { ageMs, pace }: { readonly ageMs: number; readonly pace: LookPace },
  ): void {
    const { position } = row;
    if (!look?.isOver) {
      this.#dueAt.set(position, Date.now() + nextLookMs(ageMs, pace));
      this.#sayLeft?.();
      return;
    }
    const { failure, startedAt, endedAt: finishedAt } = look;
    this.#telemetry?.ended(row.worker_class, failure ? 'failed' : 'complete');
    if (failure) {
      this.#failed++;
      this.#recordFailure(row, { startedAt, finishedAt, retryAt: null, ...failure });
    } else {
      this.#completed++;
      this.#outbox.succeeded({ position, startedAt, finishedAt });
    }
  }

  /** Those that are to run; what is more than the chunk's share goes back. */
  #fitting(jobs: ChunkJob[]): ChunkJob[] {
    const { share } = this.#input;
    if (!share) return jobs;
    // What waits for its turn does not wait for the worker.
    this.#queueMs = Math.max(0, Date.now() - this.#scheduledAt);
    for (const { position } of jobs.slice(share.maxJobs)) this.#remaining.push(position);
    return jobs.slice(0, share.maxJobs);
  }

  /** Splits jobs into runs: one for jobs without a limit, and one for each limit and key. */
  #runsOf(jobs: readonly ChunkJob[]): JobRun[] {
    const { permits, slots } = this.#deps;
    const limited = new Map<PermitGroup, ChunkJob[]>();
    const unlimited: ChunkJob[] = [];
    for (const job of jobs) {
      const group = job.options?.limit && permits.group(job.options.limit);
      const others = group ? limited.get(group) : unlimited;
      if (others) others.push(job);
      else limited.set(group!, [job]);
    }
    this.#args.setOrder(unlimited);
    const runs = [...limited].map(([group, ofGroup]) => this.#runUnder(group, ofGroup));
    if (unlimited.length > 0) runs.push({ jobs: unlimited, args: this.#args, slots, next: 0, isOut: false });
    return runs;
  }

  #runUnder(group: PermitGroup, jobs: readonly ChunkJob[]): JobRun {
    const { permits, slots: ofWorker } = this.#deps;
    const slots = new PermitSlots(group, ofWorker, () => this.#isOver(run));
    const args = this.#argsWith({ sliceBytes: MAX_JSON_BYTES });
    args.setOrder(jobs);
    const run: JobRun = { jobs, args, slots, next: 0, isOut: false };
    const leave = group.join(() => jobs.length - run.next);
    const timer = setInterval(
      () => {
        const isCrowded = permits.chunks > MAX_PATIENT_CHUNKS;
        const patienceMs = isCrowded ? 2 * waitMs('permitPoll') : waitMs('permitPatience');
        if (slots.idleMs > patienceMs && !group.isInSlotLine) run.isOut = true;
      },
      waitMs('permitPoll') / 2,
    );
    permits.chunks++;
    this.#unlisten.push(() => {
      permits.chunks--;
      clearInterval(timer);
      leave();
      args.close();
    });
    // The wait for permits is not the worker's queue time.
    this.#queueMs ??= Math.max(0, Date.now() - this.#scheduledAt);
    return run;
  }

  /** Whether no further job of the run may start. */
  #isOver(run: JobRun): boolean {
    return run.isOut || this.#isStopping();
  }

  /** Leaves a job to another chunk: at once, or after a pause if it got no permit. */
  #pass(run: JobRun, job: ChunkJob): void {
    if (!run.isOut || this.#isStopping()) {
      this.#remaining.push(job.position);
      return;
    }
    const pauseMs = Math.max(2 * waitMs('permitPoll'), this.#ageOf(job) / 10);
    this.#dueAt.set(job.position, Date.now() + Math.min(waitMs('permitPauseMax'), pauseMs));
  }

  async #runAll(runs: readonly JobRun[]): Promise<void> {
    this.#unstarted = runs.length;
    const start = (run: JobRun) => (this.#input.careful ? this.#runWatched(run) : this.#runTogether(run));
    const { share } = this.#input;
    if (share && runs.length > 0) {
      // One run at a time: they have one share of the batch's limits together.
      const slots = new ShareSlots(this.#deps.slots, share, () => this.#isStopping());
      for (const run of runs) {
        run.slots = slots.through(run.slots);
        await start(run);
      }
    } else await Promise.all(runs.map(start));
    clearTimeout(this.#drainedTimer);
    this.#sayLeft = undefined;
    for (const { args } of runs) this.#error ??= args.error;
  }

  /** Starts each job as soon as it has a slot, and waits for the ends of all. Without a promise for each. */
  #runTogether(run: JobRun): Promise<void> {
    const { jobs, args, slots } = run;
    return new Promise((resolve) => {
      let running = 0;
      /** Ends the wait for arguments or a slot, if it waits. */
      let withdraw: (() => boolean) | undefined;
      const ended = () => {
        running--;
        this.#open--;
        slots.release();
        endIfDone();
      };
      const endIfDone = () => {
        if (running > 0 || run.next < jobs.length) return;
        this.#giveUps.delete(giveUp);
        resolve();
      };
      const drained = () => {
        if (--this.#unstarted > 0 || this.#open === 0) return;
        this.#drainedTimer = this.#sayDrainedSoon(() => this.#open);
      };
      const giveBack = () => {
        for (; run.next < jobs.length; run.next++) this.#pass(run, jobs[run.next]!);
        drained();
        endIfDone();
      };
      const giveUp = () => {
        if (!withdraw?.()) return;
        withdraw = undefined;
        giveBack();
      };
      // Arguments first, then a slot: who has a slot never waits for the memory that others hold.
      const take = () => {
        withdraw = undefined;
        if (!args.whenLoaded(run.next, takeHere)) {
          withdraw = () => args.withdraw();
          return false;
        }
        const isFree = slots.take(goOnHere);
        if (!isFree) withdraw = () => slots.withdraw(goOnHere);
        return isFree;
      };
      /** Goes on with a slot that is taken. */
      const goOn = () => {
        withdraw = undefined;
        for (;;) {
          if (this.#isOver(run) || args.error !== undefined) {
            slots.release();
            giveBack();
            return;
          }
          running++;
          this.#open++;
          this.#start(run, jobs[run.next++]!, ended);
          if (run.next === jobs.length) {
            drained();
            return;
          }
          if (isShareUsed()) {
            setImmediate(() => take() && goOn());
            return;
          }
          if (!take()) return;
        }
      };
      // A slot is freed by a job of any batch: what goes on with it is to see this chunk's activity, not that job's.
      const goOnHere = AsyncResource.bind(goOn);
      const takeHere = () => {
        withdraw = undefined;
        if (this.#isOver(run)) giveBack();
        else if (take()) goOn();
      };
      this.#giveUps.add(giveUp);
      if (take()) goOn();
    });
  }

  /** Runs jobs of which one may kill its worker: each start is recorded, and those that were lost so run alone. */
  async #runWatched(run: JobRun): Promise<void> {
    const { jobs, args, slots } = run;
    const running = new Set<Promise<unknown>>();
    for (const [index, job] of jobs.entries()) {
      await new Promise<void>((loaded) => args.whenLoaded(index, loaded) && loaded());
      if (args.error !== undefined) break;
      if (job.losses >= LOSSES_BEFORE_SOLO) {
        await slots.runExclusive(() => this.#watch(run, job));
        continue;
      }
      const free = acquire(slots);
      if (free) await free;
      const watched = this.#watch(run, job)
        .catch((error: unknown) => (this.#error ??= error))
        .finally(() => {
          slots.release();
          running.delete(watched);
        });
      running.add(watched);
    }
    await Promise.all(running);
  }

  async #watch(run: JobRun, row: ChunkJob): Promise<void> {
    run.next++;
    if (this.#isOver(run)) {
      this.#pass(run, row);
      return;
    }
    await this.#mark(row.position);
    await new Promise<void>((ended) => this.#start(run, row, ended));
    // What has ended must not count as lost when the next job kills the worker.
    await this.#outbox.drain();
  }

  /** Its workflow does not know the batch's newest change. */
  #isHeld(): boolean {
    return this.#steering > this.#input.steering;
  }

  #isStopping(): boolean {
    return this.#isHeld() || this.#givenUp.signal.aborted || this.#deps.isDraining();
  }

  /**
   * When the last jobs take a while, the workflow learns that it can send more, and what is to run again. Under limits
   * it learns again and again how many of them are left, each time that half of them have ended: what they held is free
   * for others.
   */
  #sayDrainedSoon(running: () => number): NodeJS.Timeout {
    const { share } = this.#input;
    let said = Infinity;
    const timer = setTimeout(() => {
      const isNews = running() <= said / 2;
      if (isNews) void this.#sayDrained((said = running()));
      if (said === Infinity) return;
      // What fails from now on is told by itself. A signal has several, and is sent once a second at most.
      let laterTimer: NodeJS.Timeout | undefined;
      this.#sayLeft ??= () => {
        laterTimer ??= setTimeout(() => {
          laterTimer = undefined;
          if (this.#sayLeft) void this.#sayDrained(running());
        }, LEFT_INTERVAL_MS);
      };
      if (share && said > 1) timer.refresh();
    }, DRAINED_AFTER_MS);
    return timer;
  }

  async #sayDrained(running: number): Promise<void> {
    const { client } = this.#deps.batches;
    // Of this run alone: once that is over, nobody waits for this chunk any more.
    const { workflowId, runId } = activityInfo().workflowExecution!;
    const { runner, chunk } = this.#input;
    try {
      const left = await this.#leave();
      await client.workflow
        .getHandle(workflowId, runId)
        .signal(chunkDrainedSignal, { runner, chunk, running, ...(left ? { left } : {}) });
    } catch (error) {
      log.warn('More jobs could not be asked for; they come when this chunk has ended', { error });
    }
  }

  /** What other chunks are to run: it is not this one's any more, once its rows say how its attempts ended. */
  async #leave(): Promise<ChunkLeft | undefined> {
    const isNew = (position: number) => !this.#left.has(position);
    const remaining = this.#remaining.filter(isNew);
    const unknown = this.#unknown.filter(isNew);
    const missing = this.#missing.filter(isNew);
    const dueAt = [...this.#dueAt].filter(([position]) => isNew(position));
    const positions = [...remaining, ...unknown, ...missing, ...dueAt.map(([position]) => position)];
    if (positions.length === 0) return undefined;
    for (const position of positions) this.#left.add(position);
    await this.#outbox.drain();
    return leftOf(dueAt, remaining, unknown, missing);
  }

  /** Runs a job's handler and hands its outcome to the outbox. */
  #start(run: JobRun, row: ChunkJob, ended: () => void): void {
    const job = this.#deps.jobs.get(row.worker_class)!;
    const args = run.args.take(row);
    const limit = this.#timeLimit(row, job);
    if (limit.ms <= 0 || !args) {
      // Without arguments another execution of the chunk has decided it meanwhile: its row is read at the end.
      if (args) this.#failLate(row, job, limit);
      else this.#outbox.contested++;
      run.args.release(row);
      ended();
      return;
    }
    const { batchId } = this.#input;
    const startedAt = Date.now();
    const clock = performance.now();
    this.#queueMs ??= Math.max(0, startedAt - this.#scheduledAt);
    const jid = `${batchId}/${row.position}`;
    const attempt = row.attempts + 1;
    const { round } = this.#input;
    const trace = this.#telemetry?.attemptStarted(job.name, { batchId, jid, attempt, round });
    const call = {
      job,
      args,
      limit,
      jid,
      batchId,
      round,
      attempt,
      batches: this.#deps.batches,
      trace,
    };
    this.#running.start(call, (failure, result) => {
      const busyMs = performance.now() - clock;
      let outcome: AttemptOutcome = 'complete';
      let error = failure?.error;
      try {
        if (failure) outcome = this.#failAttempt(row, job, failure.error, startedAt);
        else if (job.storesResult) {
          error = this.#succeedWith(result, row, startedAt, startedAt + busyMs);
          if (error !== undefined) outcome = 'failed';
        } else {
          this.#completed++;
          this.#outbox.succeeded({ position: row.position, startedAt, finishedAt: startedAt + busyMs });
        }
      } catch (caught) {
        this.#error ??= caught;
        outcome = 'stopped';
      }
      this.#telemetry?.attemptEnded(job.name, outcome, { ms: busyMs, error, trace });
      this.#ran++;
      this.#busyMs += busyMs;
      run.args.release(row);
      this.#outbox.whenRoom(ended);
    });
  }

  /**
   * Of a job whose results are stored. One that cannot be fails the job for good: its handler has done its work.
   *
   * @returns why it cannot be
   */
  #succeedWith(value: unknown, row: ChunkJob, startedAt: number, finishedAt: number): unknown {
    let result: string | undefined;
    try {
      result = resultJson(value);
    } catch (error) {
      this.#failed++;
      this.#recordFailure(row, { startedAt, finishedAt, retryAt: null, ...describeError(error) });
      return error;
    }
    this.#completed++;
    this.#outbox.succeeded({ position: row.position, startedAt, finishedAt, result });
    return undefined;
  }

  /** The options of the job, with those of its call over them. */
  #optionsOf(row: ChunkJob, job: AnyJob) {
    return row.options ? { ...job.options, ...row.options } : job.options;
  }

  /** Milliseconds since a job was enrolled. Not from its start: it may have waited for a slot. */
  #ageOf(row: ChunkJob): number {
    return row.age_ms + (Date.now() - this.#loadedAt);
  }

  /** How long the next attempt may take: its own time, or what is left of the job's. */
  #timeLimit(row: ChunkJob, job: AnyJob): TimeLimit {
    const { startToCloseTimeoutMs: ms, scheduleToCloseTimeoutMs: allMs = Infinity } = this.#optionsOf(
      row,
      job,
    );
    const leftMs = allMs - this.#ageOf(row);
    return leftMs < ms
      ? { ms: leftMs, option: 'scheduleToCloseTimeout', optionMs: allMs }
      : { ms, option: 'startToCloseTimeout', optionMs: ms };
  }

  /** Records that a job is about to start. Jobs that start together share a statement. */
  #mark(position: number): Promise<void> {
    this.#starting.push(position);
    this.#marking ??= new Promise(setImmediate).then(() => {
      const positions = this.#starting;
      this.#starting = [];
      this.#marking = undefined;
      return this.#retrying(() => markStarting(this.#deps.database, this.#input.batchId, positions));
    });
    return this.#marking;
  }

  /** Jobs that are given back were stopped, not lost. */
  async #unmark(): Promise<void> {
    if (!this.#input.careful || this.#remaining.length === 0) return;
    const { database } = this.#deps;
    await withRetry(() => clearMarks(database, this.#input.batchId, this.#remaining), {
      // Without the mark a job would count one loss too many, no more.
      timeoutMs: CALLS.unmark,
    });
  }

  #failAttempt(row: ChunkJob, job: AnyJob, error: unknown, startedAt: number): AttemptOutcome {
    if (this.#givenUp.signal.aborted || this.#isStopped) {
      // Stopped from outside, not failed: nobody is charged an attempt.
      this.#remaining.push(row.position);
      return 'stopped';
    }
    const described = describeError(error);
    const number = row.attempts + 1;
    const finishedAt = Date.now();
    const { retry, scheduleToCloseTimeoutMs } = this.#optionsOf(row, job);
    const delayMs = retryDelay(
      retry,
      { number, error, errorClass: described.errorClass },
      { ageMs: this.#ageOf(row), scheduleToCloseTimeoutMs },
    );
    const retryAt = delayMs === null ? null : finishedAt + delayMs;
    if (retryAt === null) this.#failed++;
    else {
      this.#dueAt.set(row.position, retryAt);
      this.#sayLeft?.();
    }
    this.#recordFailure(row, { startedAt, finishedAt, retryAt, ...described, errorStack: stackOf(error) });
    return retryAt === null ? 'failed' : 'retried';
  }

  /** A batch that is judged early is not to wait for the rest of the chunk. The report says it again. */
  async #notice(failed: number): Promise<void> {
    if (!this.#input.noticeFailures || Date.now() - this.#noticedAt < NOTICE_INTERVAL_MS) return;
    this.#noticedAt = Date.now();
    const { client } = this.#deps.batches;
    const { batchId, round } = this.#input;
    try {
      await client.workflow.getHandle(batchWorkflowId(batchId)).signal(jobFailedSignal, { failed, round });
    } catch (error) {
      log.warn('The batch could not be told of a failed job yet; the report will', { error });
    }
  }

  #reportUnknown(job: ChunkJob): void {
    this.#deps.unknownNames.meet('job', job.worker_class, this.#input.batchId);
    if (!this.#input.failUnknown) {
      this.#unknown.push(job.position);
      return;
    }
    this.#failForGood(job, {
      errorClass: 'UnknownJobError',
      errorMessage:
        `No worker knows a job named "${job.worker_class}". Give it to createBatchWorker({ jobs }) of a worker on ` +
        'this task queue, and deploy workers before the apps that start new jobs.',
    });
  }

  #failLost(job: ChunkJob): void {
    this.#failForGood(job, {
      errorClass: 'WorkerLostError',
      errorMessage:
        `Its worker died or hung each time that it ran, the last ${job.losses} times under watch and at last alone: ` +
        'for example process.exit, out of memory, or an endless loop.',
    });
  }

  /** Its time was over before this attempt: the row keeps the error of the last one that ran, if one did. */
  #failLate(row: ChunkJob, job: AnyJob, limit: TimeLimit): void {
    const { name, message } = timedOut(job.name, limit);
    this.#failForGood(row, { errorClass: name, errorMessage: message, neverStarted: true });
  }

  #failForGood(job: ChunkJob, error: Pick<Failure, 'errorClass' | 'errorMessage' | 'neverStarted'>): void {
    const now = Date.now();
    this.#failed++;
    this.#telemetry?.ended(job.worker_class, 'failed');
    this.#recordFailure(job, { startedAt: now, finishedAt: now, retryAt: null, ...error });
  }

  /** Writes a failed attempt to its row and to the log. */
  #recordFailure(row: ChunkJob, failure: Omit<FailedAttempt, 'position' | 'attempt'>): void {
    const { position, worker_class: workerClass } = row;
    const { batchId, round } = this.#input;
    const { attemptLog, storesStacks } = this.#deps;
    const { errorClass, errorMessage, errorStack, retryAt, finishedAt } = failure;
    const attempt = row.attempts + 1;
    attemptLog.failed({
      jid: `${batchId}/${position}`,
      batchId,
      round,
      workerClass,
      attempt,
      errorClass,
      errorMessage,
      ...(errorStack === undefined ? {} : { stack: errorStack }),
      retryInMs: retryAt === null ? null : Math.round(retryAt - finishedAt),
    });
    const stored = storesStacks ? failure : { ...failure, errorStack: undefined };
    this.#outbox.failed({ position, attempt, ...stored });
  }

  /** Another execution of this chunk decided some of its jobs first: the rows say what holds. */
  async #readBack(): Promise<void> {
    const { round } = this.#input;
    const rows = await this.#retrying(() => selectChunkStates(this.#deps.database, this.#spans, this.#input));
    const failed = rows.filter(({ status }) => status === 'failed').map(({ position }) => position);
    this.#outbox.sample = this.#outbox.sample.filter(({ position }) => failed.includes(position));
    this.#failedBefore = failed.slice(0, MAX_CHUNK_SAMPLE);
    const skip = new Set([...this.#unknown, ...this.#missing, ...this.#remaining]);
    // What was left to others counts there.
    this.#completed = rows.filter(
      ({ status, position }) => status === 'complete' && !this.#left.has(position),
    ).length;
    this.#failed = this.#failedWithoutRow;
    this.#dueAt.clear();
    for (const { position, status, due_in_ms, round: ranIn } of rows) {
      if (status === 'failed' && !this.#left.has(position)) this.#failed++;
      else if (status === 'pending' && ranIn === round && !skip.has(position))
        this.#dueAt.set(position, Date.now() + due_in_ms);
    }
  }

  /** A few of the jobs that failed, for people. */
  async #sample(jobs: readonly ChunkJob[]): Promise<readonly FailedJob[]> {
    const sample = this.#outbox.sample.map((failed) => ({
      ...failed,
      name: jobs.find(({ position }) => position === failed.position)?.worker_class ?? '',
    }));
    if (sample.length >= MAX_CHUNK_SAMPLE || this.#failedBefore.length === 0) return sample;
    const rows = await this.#retrying(() =>
      selectFailedJobs(this.#deps.database, this.#input.batchId, this.#failedBefore),
    );
    const before = rows.map((row) => ({ ...row, ...jobFailure(row.errorClass, row.message) }));
    return sampled(sample, before, MAX_CHUNK_SAMPLE);
  }

  #report(sample: readonly FailedJob[]): ChunkReport {
    return {
      completed: this.#completed,
      failed: this.#failed,
      ...(this.#cancelled > 0 ? { cancelled: this.#cancelled } : {}),
      ...(sample.length > 0 ? { sample } : {}),
      ...(this.#outbox.retried ? { retried: this.#outbox.retried } : {}),
      ...leftOf([...this.#dueAt], this.#remaining, this.#unknown, this.#missing),
      ...(this.#isHeld() ? { steering: this.#steering } : {}),
      timing: { ran: this.#ran, busyMs: Math.round(this.#busyMs * 1000) / 1000, queueMs: this.#queueMs ?? 0 },
    };
  }

  #retrying<T>(run: () => Promise<T>): Promise<T> {
    return patiently(run, 'The database did not answer');
  }
}

function leftOf(
  dueAt: readonly (readonly [position: number, dueAt: number])[],
  remaining: readonly number[],
  unknown: readonly number[],
  missing: readonly number[],
): ChunkLeft {
  const now = Date.now();
  const delayed = new Map<number, number[]>();
  for (const [position, at] of dueAt) {
    const delayMs = Math.max(0, Math.ceil((at - now) / DELAY_STEP_MS) * DELAY_STEP_MS);
    const positions = delayed.get(delayMs);
    if (positions) positions.push(position);
    else delayed.set(delayMs, [position]);
  }
  return {
    delayed: [...delayed].map(([delayMs, positions]) => [delayMs, formatSpans(spansOf(positions))] as const),
    remaining: formatSpans(spansOf(remaining)),
    unknown: formatSpans(spansOf(unknown)),
    ...(missing.length > 0 ? { missing: formatSpans(spansOf(missing)) } : {}),
  };
}

function memberFailure(
  id: string,
  batch: MemberBatch | undefined,
): Pick<Failure, 'errorClass' | 'errorMessage'> {
  if (!batch)
    return { errorClass: 'BatchNotFoundError', errorMessage: `Batch "${id}" has no row: it was deleted.` };
  const { outcome, failed, total, enrollmentError, stopReason } = batch;
  const why = enrollmentError ?? stopReason ?? `${failed} of ${total} jobs failed`;
  return {
    errorClass: outcome === 'cancelled' ? 'BatchCancelledError' : 'BatchFailedError',
    errorMessage: `Batch "${id}" is ${outcome}: ${why}.`,
  };
}

function executionOf({ workflow_id, activity_id }: ChunkJob): Execution {
  return workflow_id === null
    ? { kind: 'activity', id: activity_id! }
    : { kind: 'workflow', id: workflow_id };
}
