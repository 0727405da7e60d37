import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/connect.ts';
import {
  leasePermits,
  releasePermits,
  type LimitRef,
  type PermitGrant,
  type PermitWish,
} from '../database/limits.ts';
import { CALLS, waitMs } from '../timeouts.ts';
import type { Slots } from './slots.ts';

/** Shortest pause between two requests, so that groups which change together share one. */
const MIN_PAUSE_MS = 200;
/** A reserved start expires this long after its time: see `lease_permits`. */
const LATENESS_MS = 15;
/** Longest time that a job may hold a worker slot while it waits for its reserved start. */
const HOLD_MS = 1_000;
/** The fastest answer in this window tells best how far the database's clock is from this process's clock. */
const CLOCK_WINDOW_MS = 60_000;

/** Requests repeat each second. Their errors are reported this far apart. */
const REPORT_INTERVAL_MS = 60_000;

/** A chunk's next job, waiting for a permit. */
export interface Waiting {
  readonly start: () => void;
  /** Whether the chunk starts no more jobs: then the wait ends without a permit. */
  readonly isStopping: () => boolean;
  /** Called before `start` when the wait ends without a permit. */
  readonly bypass: () => void;
}

/**
 * Leases permits for the worker's jobs under named limits. While the worker has such jobs, one request a second renews
 * the leases of all limits. Jobs of one limit and key share their permits across chunks and batches.
 */
export class Permits {
  readonly #worker = randomUUID();
  readonly #database: Database;
  readonly #slots: Slots;
  readonly #maxJobs: number;
  readonly #onError: (error: unknown) => void;
  readonly #groups = new Map<string, PermitGroup>();
  /** Number of running chunks that have jobs under limits. */
  chunks = 0;
  readonly #clocks: { readonly at: number; readonly roundTripMs: number; readonly offsetMs: number }[] = [];
  #timer: NodeJS.Timeout | undefined;
  #askedAt = -Infinity;
  #asking: Promise<void> | undefined;
  #reportedAt = -Infinity;
  #isClosed = false;

  constructor(options: {
    readonly database: Database;
    readonly slots: Slots;
    /** Most jobs that the worker runs at once. It requests no more permits than that. */
    readonly maxJobs: number;
    /** Called at most once a minute, with the latest error. */
    readonly onError: (error: unknown) => void;
  }) {
    this.#database = options.database;
    this.#slots = options.slots;
    this.#maxJobs = options.maxJobs;
    this.#onError = options.onError;
  }

  group({ name, key }: LimitRef): PermitGroup {
    const id = idOf({ name, key });
    const known = this.#groups.get(id);
    if (known) return known;
    const group = new PermitGroup({ name, key }, this.#slots, () => this.#askSoon());
    this.#groups.set(id, group);
    return group;
  }

  /** Gives all permits back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    if (this.#askedAt === -Infinity) return;
    // If the database does not answer, the leases expire by themselves.
    await Promise.race([this.#release(), delay(CALLS.unmark, undefined, { ref: false })]);
  }

  async #release(): Promise<void> {
    await this.#asking;
    await releasePermits(this.#database, this.#worker).catch((error: unknown) => this.#report(error));
  }

  #report(error: unknown): void {
    const now = performance.now();
    if (now < this.#reportedAt + REPORT_INTERVAL_MS) return;
    this.#reportedAt = now;
    this.#onError(error);
  }

  #askSoon(): void {
    this.#askAt(this.#askedAt + MIN_PAUSE_MS);
  }

  #askAt(time: number): void {
    if (this.#isClosed || this.#asking) return;
    clearTimeout(this.#timer);
    const pauseMs = Math.max(0, time - performance.now());
    this.#timer = setTimeout(() => void (this.#asking = this.#ask()), pauseMs);
  }

  /** Never throws. */
  async #ask(): Promise<void> {
    const askedAt = performance.now();
    this.#askedAt = askedAt;
    const asked = new Map(this.#groups);
    try {
      const wishes = [...asked.values()].map((group) => group.wish(this.#maxJobs));
      const grants = await leasePermits(this.#database, this.#worker, wishes);
      const answeredAt = performance.now();
      const [first] = grants;
      if (first) this.#noteClock(first.clock, askedAt, answeredAt);
      const byId = new Map(grants.map((grant) => [idOf(grant), grant]));
      for (const [id, group] of asked) {
        group.granted(byId.get(id), askedAt, (time) => this.#localTime(time));
        if (group.isIdle && !group.hasChanged(askedAt)) this.#groups.delete(id);
      }
    } catch (error) {
      this.#report(error);
    }
    this.#asking = undefined;
    const needsMore = [...this.#groups.values()].some((group) => group.hasChanged(askedAt));
    if (this.#groups.size > 0) this.#askAt(askedAt + (needsMore ? MIN_PAUSE_MS : waitMs('permitPoll')));
  }

  #noteClock(clock: number, askedAt: number, answeredAt: number): void {
    const roundTripMs = answeredAt - askedAt;
    const offsetMs = clock - (askedAt + answeredAt) / 2;
    const recent = this.#clocks.filter(({ at }) => at > answeredAt - CLOCK_WINDOW_MS);
    this.#clocks.splice(0, Infinity, ...recent, { at: answeredAt, roundTripMs, offsetMs });
    this.#clocks.sort((a, b) => a.roundTripMs - b.roundTripMs);
  }

  #localTime(databaseTime: number): number {
    return databaseTime - (this.#clocks[0]?.offsetMs ?? 0);
  }
}

function idOf({ name, key }: LimitRef): string {
  return JSON.stringify([name, key]);
}

/** The worker's jobs of one limit and key. */
export class PermitGroup {
  readonly limit: LimitRef;
  readonly #slots: Slots;
  readonly #askSoon: () => void;
  /** Counts the waiting jobs of each chunk. The first of them is also in `#line`. */
  readonly #demands = new Set<() => number>();
  #line: Waiting[] = [];
  #running = 0;
  #permits = 0;
  /** Reserved starts, by `performance.now()`. Undefined when the limit has no rate. */
  #starts: number[] | undefined = [];
  /** Whether the last answer brought starts that are not used up yet. */
  #hasStartsLeft = false;
  #askedAt = -Infinity;
  #changedAt = performance.now();
  #isServing = false;
  #hasSlot = false;
  #isInSlotLine = false;
  /** Entries whose `take` call is still on the stack: they start by its return value. */
  readonly #asking = new Set<Waiting>();
  #timer: NodeJS.Timeout | undefined;

  constructor(limit: LimitRef, slots: Slots, askSoon: () => void) {
    this.limit = limit;
    this.#slots = slots;
    this.#askSoon = askSoon;
  }

  /** Whether no job of the group runs or waits. */
  get isIdle(): boolean {
    return this.#running === 0 && this.#line.length === 0 && this.#demands.size === 0;
  }

  /** Whether a job with a permit waits for a worker slot. */
  get isInSlotLine(): boolean {
    return this.#isInSlotLine;
  }

  /** Whether the group needs an answer to something that happened after the request of that time. */
  hasChanged(askedAt: number): boolean {
    return this.#changedAt > askedAt;
  }

  /** Adds a chunk. @param waiting counts its waiting jobs @returns a function that removes the chunk */
  join(waiting: () => number): () => void {
    this.#demands.add(waiting);
    this.#changed();
    return () => {
      this.#demands.delete(waiting);
      if (this.isIdle) this.#changed();
    };
  }

  wish(maxJobs: number): PermitWish {
    const waiting = Math.min(this.#waiting(), Math.max(0, maxJobs - this.#running));
    // The request gives these permits back: a job that arrives before the answer must not use them.
    if (this.isIdle) {
      this.#permits = 0;
      this.#starts = [];
    }
    const starts = Math.max(0, waiting - (this.#starts?.length ?? 0));
    const permits = Number.isFinite(this.#permits) ? this.#permits : this.#running;
    return { ...this.limit, running: this.#running, waiting, permits, starts };
  }

  /** @param grant undefined when the limit does not exist (any more) */
  granted(grant: PermitGrant | undefined, askedAt: number, localTime: (time: number) => number): void {
    this.#askedAt = askedAt;
    const permits = grant?.permits ?? Infinity;
    // Another worker gets the lost permits once the next request confirms the loss.
    if (permits < this.#permits && permits < this.#running + this.#waiting()) this.#changed();
    this.#permits = permits;
    const starts = grant ? grant.starts : null;
    this.#starts = starts === null ? undefined : [...(this.#starts ?? []), ...starts.map(localTime)];
    this.#hasStartsLeft = starts !== null && starts.length > 0;
    this.#serve();
  }

  #waiting(): number {
    let waiting = 0;
    for (const demand of this.#demands) waiting += demand();
    return waiting;
  }

  /** @returns true when the job may start now; otherwise `start` is called later */
  take(waiting: Waiting): boolean {
    this.#line.push(waiting);
    this.#asking.add(waiting);
    this.#serve();
    // `#begin` has removed the entry if it was served.
    return !this.#asking.delete(waiting);
  }

  /** @returns whether the entry was waiting. If so, its `start` is never called. */
  withdraw(waiting: Waiting): boolean {
    const count = this.#line.length;
    this.#line = this.#line.filter((other) => other !== waiting);
    if (this.#hasSlot && this.#line.length === 0) this.#giveSlotBack();
    return this.#line.length < count;
  }

  /** Gives back the permit and the worker slot of a job that has ended. */
  release(): void {
    this.#running--;
    this.#slots.release();
    this.#serve();
    if (this.isIdle) this.#changed();
  }

  /** Gives back only the permit. */
  ended(): void {
    this.#running--;
    this.#serve();
  }

  #changed(): void {
    this.#changedAt = performance.now();
    this.#askSoon();
  }

  /** Starts as many waiting jobs as permits, starts and slots allow, first come, first served. */
  #serve(): void {
    if (this.#isServing) return;
    this.#isServing = true;
    while (this.#serveNext());
    this.#isServing = false;
    if (this.#hasSlot && this.#line.length === 0) this.#giveSlotBack();
  }

  /** @returns whether to try the next entry */
  #serveNext(): boolean {
    const [next] = this.#line;
    if (!next) return false;
    if (next.isStopping()) {
      this.#line.shift();
      next.bypass();
      this.#begin(next);
      return true;
    }
    // Wakes up regularly to notice `isStopping`.
    this.#wakeIn(HOLD_MS);
    if (this.#running >= this.#permits) return false;
    const now = performance.now();
    if (now > this.#askedAt + waitMs('permitValid')) return false;
    while (this.#starts && this.#starts[0]! < now - LATENESS_MS) this.#starts.shift();
    const startsInMs = this.#starts ? (this.#starts[0] ?? Infinity) - now : 0;
    if (startsInMs > HOLD_MS) {
      if (this.#hasSlot) this.#giveSlotBack();
      // Once per answer: if the rate has no starts left, the regular request is soon enough.
      if (this.#hasStartsLeft && startsInMs === Infinity) this.#askSoon();
      this.#hasStartsLeft = false;
      return false;
    }
    if (startsInMs > LATENESS_MS && !this.#hasSlot) {
      this.#wakeIn(startsInMs - LATENESS_MS);
      return false;
    }
    if (!this.#hasSlot && !this.#takeSlot()) return false;
    if (startsInMs > 0) {
      this.#wakeIn(startsInMs);
      return false;
    }
    this.#starts?.shift();
    this.#line.shift();
    this.#hasSlot = false;
    this.#running++;
    this.#begin(next);
    return true;
  }

  #begin(waiting: Waiting): void {
    if (!this.#asking.delete(waiting)) waiting.start();
  }

  #takeSlot(): boolean {
    if (this.#isInSlotLine) return false;
    this.#hasSlot = this.#slots.take(() => {
      this.#isInSlotLine = false;
      this.#hasSlot = true;
      this.#serve();
    });
    this.#isInSlotLine = !this.#hasSlot;
    return this.#hasSlot;
  }

  #giveSlotBack(): void {
    this.#hasSlot = false;
    this.#slots.release();
  }

  #wakeIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#serve(), Math.ceil(ms));
  }
}
