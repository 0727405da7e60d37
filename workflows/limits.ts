/** A limit that is absent or null does not exist. */
export interface Limit {
  /** Jobs that run at once, over all workers. */
  readonly maxConcurrentJobs?: number | null;
  /** Jobs that start in a second, over all workers. */
  readonly perSecond?: number | null;
}

/** The limits of a batch, and by name those of some of its jobs. */
export interface Limits extends Limit {
  readonly jobLimits: Readonly<Record<string, Limit>>;
}

/** The part of the limits that a chunk was given. A limit that is absent does not exist. */
export interface Share {
  readonly maxConcurrentJobs?: number;
  readonly perSecond?: number;
  /** The first job starts no earlier than so many milliseconds after the chunk began. */
  readonly waitMs?: number;
}

/** Who asks for a share. */
export interface Asker {
  /** The range that it is for. */
  readonly range: string;
  readonly lane: string;
  /** Name of the range's jobs, if they have limits of their own. */
  readonly name: string | null;
}

/** What a chunk in flight holds. */
interface Holding {
  readonly asker: Asker;
  /** Infinity: it was not limited. */
  readonly maxConcurrentJobs: number;
  readonly perSecond: number;
  /** All its jobs have started. */
  readonly isDrained: boolean;
}

/** The least rate: one a day. A chunk that waits for its next start must not come to its timeout meanwhile. */
export const MIN_PER_SECOND = 1 / 86_400;
/**
 * A limit is divided among so many chunks that still have jobs to start: enough for several workers to take part, few
 * enough that each chunk has something to do.
 */
const CHUNKS = 8;
/** Chunks in flight of all ranges: a workflow may have 2,000 activities. */
const MAX_IN_FLIGHT = 1_500;
/** Sums of fractions are not exact. */
const TOLERANCE = 1e-9;

const NO_LIMIT: Limit = {};
const UNLIMITED: Share = {};

export function isLimit(value: unknown): value is Limit {
  if (typeof value !== 'object' || value === null) return false;
  const { maxConcurrentJobs: jobs = null, perSecond: rate = null, ...others } = value as Limit;
  return (
    (jobs === null || (Number.isSafeInteger(jobs) && jobs >= 1)) &&
    (rate === null || (Number.isFinite(rate) && rate >= MIN_PER_SECOND)) &&
    Object.keys(others).length === 0
  );
}

export function isLimited({ maxConcurrentJobs, perSecond }: Limit): boolean {
  return (maxConcurrentJobs ?? null) !== null || (perSecond ?? null) !== null;
}

/** Whether the batch or any name has a limit. */
export function hasLimits(limits: Limits): boolean {
  return isLimited(limits) || Object.values(limits.jobLimits).some(isLimited);
}

/** Limits by name with changes to some of them. */
export function mergeJobLimits(
  limits: Limits['jobLimits'],
  changes: Limits['jobLimits'],
): Limits['jobLimits'] {
  const merged = Object.entries(changes).map(([name, limit]) => [
    name,
    { ...limitOf(limits, name), ...limit },
  ]);
  return { ...limits, ...(Object.fromEntries(merged) as Limits['jobLimits']) };
}

/** What exists of the limits, for rows; null: nothing. */
export function existingLimits(limits: Limits): object | null {
  if (!hasLimits(limits)) return null;
  const jobLimits = Object.entries(limits.jobLimits).filter(([, limit]) => isLimited(limit));
  return {
    ...existing(limits),
    ...(jobLimits.length === 0
      ? {}
      : { jobLimits: Object.fromEntries(jobLimits.map(([name, limit]) => [name, existing(limit)])) }),
  };
}

/** One line for people; empty: no limits. */
export function describeLimits(limits: Limits): string {
  const names = Object.entries(limits.jobLimits).filter(([, limit]) => isLimited(limit));
  return [
    ...(isLimited(limits) ? [describeLimit(limits)] : []),
    ...names.map(([name, limit]) => `${name}: ${describeLimit(limit)}`),
  ].join('; ');
}

function describeLimit({ maxConcurrentJobs, perSecond }: Limit): string {
  return [
    ...((maxConcurrentJobs ?? null) === null ? [] : [`${maxConcurrentJobs} at once`]),
    ...((perSecond ?? null) === null ? [] : [`${perSecond} a second`]),
  ].join(', ');
}

function existing({ maxConcurrentJobs, perSecond }: Limit): Limit {
  return {
    ...((maxConcurrentJobs ?? null) === null ? {} : { maxConcurrentJobs: maxConcurrentJobs! }),
    ...((perSecond ?? null) === null ? {} : { perSecond: perSecond! }),
  };
}

function limitOf(limits: Limits['jobLimits'], name: string | null): Limit {
  return name !== null && Object.hasOwn(limits, name) ? limits[name]! : NO_LIMIT;
}

/** Whether the asker's jobs are limited, by the batch's limits or by their own. */
export function isLimitedFor(limits: Limits, name: string | null): boolean {
  return isLimited(limits) || isLimited(limitOf(limits.jobLimits, name));
}

/** In any window of so many milliseconds a chunk starts at most `ceil(perSecond)` jobs. */
export function windowMs(perSecond: number): number {
  return (Math.ceil(perSecond) / perSecond) * 1_000;
}

/**
 * Divides the limits of a batch among its chunks in flight: the sums of what they hold never exceed the limits. One
 * place for all of a batch, in its workflow, so that it needs no message to hand out a share. A share only shrinks while
 * its chunk runs, and is free again when the chunk has ended.
 *
 * Rates: no chunk starts a job in the window that follows the end of another one that did. So the starts in any window
 * are those of chunks that held their shares at the same time, and no more than the limit.
 */
export class Shares {
  /** By range and chunk. */
  readonly #held = new Map<string, Holding>();
  /** By range: who would have got a share, had there been one or had it been their turn. */
  readonly #waiting = new Map<string, Asker>();
  /** By range: when it got its last share, in shares handed out. */
  readonly #turns = new Map<string, number>();
  #handedOut = 0;
  /** No job has started since but those of chunks that hold a share. */
  #quietSince: number;

  /** @param quietSince when the last job may have started that an earlier run of the workflow let start */
  constructor(quietSince: number) {
    this.#quietSince = quietSince;
  }

  /**
   * Takes a share for a chunk. Whoever gets none waits, until {@link rest}.
   *
   * @returns undefined if there is none now, or if it is another one's turn
   */
  take(limits: Limits, asker: Asker, chunk: number, now: number): Share | undefined {
    const share = this.#next(limits, asker);
    if (!share) {
      this.#waiting.set(asker.range, asker);
      return undefined;
    }
    const { maxConcurrentJobs = Infinity, perSecond = Infinity } = share;
    this.#held.set(keyOf(asker, chunk), { asker, maxConcurrentJobs, perSecond, isDrained: false });
    this.#turns.set(asker.range, ++this.#handedOut);
    if (share.perSecond === undefined) return share;
    return { ...share, waitMs: Math.max(0, this.#quietSince + windowMs(share.perSecond) - now) };
  }

  /** Whether {@link take} would give a share now. */
  isFree(limits: Limits, asker: Asker): boolean {
    return this.#next(limits, asker) !== undefined;
  }

  /** The range does not wait any more: it asks again, or has nothing to ask for. */
  rest({ range }: Asker): void {
    this.#waiting.delete(range);
  }

  /** All jobs of a chunk have started, and so many still run: it keeps a share of those. */
  reduce(asker: Asker, chunk: number, running: number, now: number): void {
    const held = this.#held.get(keyOf(asker, chunk));
    // Anybody may send signals.
    if (!held || !Number.isSafeInteger(running) || running < 0) return;
    if (!held.isDrained) this.#quietSince = now;
    const maxConcurrentJobs = Math.min(held.maxConcurrentJobs, running);
    this.#held.set(keyOf(asker, chunk), { asker, maxConcurrentJobs, perSecond: 0, isDrained: true });
  }

  /** A chunk has ended. @param hasStarted whether it may have started a job */
  release(asker: Asker, chunk: number, hasStarted: boolean, now: number): void {
    const held = this.#held.get(keyOf(asker, chunk));
    if (held && hasStarted && !held.isDrained) this.#quietSince = now;
    this.#held.delete(keyOf(asker, chunk));
  }

  /** The range has ended. */
  forget({ range }: Asker): void {
    this.#waiting.delete(range);
    this.#turns.delete(range);
  }

  /** Jobs that somebody else let start have started until now. */
  disturbed(now: number): void {
    this.#quietSince = now;
  }

  /** What is held, for tests. */
  sums(
    isCounted: (asker: Asker) => boolean = () => true,
  ): Required<Pick<Share, 'maxConcurrentJobs' | 'perSecond'>> {
    const held = [...this.#held.values()].filter(({ asker }) => isCounted(asker));
    return {
      maxConcurrentJobs: sum(held.map(({ maxConcurrentJobs }) => maxConcurrentJobs)),
      perSecond: sum(held.map(({ perSecond }) => perSecond)),
    };
  }

  #next(limits: Limits, asker: Asker): Share | undefined {
    const share = this.#shareFor(limits, asker);
    if (!share || share === UNLIMITED) return share;
    // Lanes take turns: whoever holds less goes first. Without it the first one to ask would always be the same.
    for (const other of this.#waiting.values()) {
      const isOther = other.range !== asker.range;
      if (isOther && this.#isBefore(other, asker) && this.#shareFor(limits, other)) return undefined;
    }
    return share;
  }

  #isBefore(one: Asker, other: Asker): boolean {
    const difference = one.lane === other.lane ? 0 : this.#weightOf(one.lane) - this.#weightOf(other.lane);
    return difference === 0 ? this.#turnOf(one) < this.#turnOf(other) : difference < 0;
  }

  #turnOf({ range }: Asker): number {
    return this.#turns.get(range) ?? 0;
  }

  #weightOf(lane: string): number {
    const held = [...this.#held.values()].filter(({ asker }) => asker.lane === lane);
    return sum(
      held.map(({ maxConcurrentJobs, perSecond }) =>
        maxConcurrentJobs === Infinity ? perSecond : maxConcurrentJobs,
      ),
    );
  }

  #shareFor(limits: Limits, { name }: Asker): Share | undefined {
    if (!isLimitedFor(limits, name)) return UNLIMITED;
    if (this.#held.size >= MAX_IN_FLIGHT) return undefined;
    const all = [...this.#held.values()];
    const ofBatch = partsOf(limits, all);
    if (!ofBatch || name === null) return ofBatch;
    const ofName = partsOf(
      limitOf(limits.jobLimits, name),
      all.filter(({ asker }) => asker.name === name),
    );
    return ofName && smaller(ofBatch, ofName);
  }
}

function keyOf({ range }: Asker, chunk: number): string {
  return `${range}/${chunk}`;
}

/** The next part of a limit beside what is held of it; undefined: there is none now. */
function partsOf({ maxConcurrentJobs, perSecond }: Limit, held: readonly Holding[]): Share | undefined {
  const places = CHUNKS - held.filter(({ isDrained }) => !isDrained).length;
  let share: Share = {};
  if ((maxConcurrentJobs ?? null) !== null) {
    const free = maxConcurrentJobs! - sum(held.map((one) => one.maxConcurrentJobs));
    if (places < 1 || free < 1) return undefined;
    share = { maxConcurrentJobs: Math.max(1, Math.floor(free / places)) };
  }
  if ((perSecond ?? null) !== null) {
    const free = perSecond! - sum(held.map((one) => one.perSecond));
    // Whole numbers of starts a second, so that a window of a second has no more; the last part has the rest.
    if (places < 1 || free < Math.min(1, perSecond!) - TOLERANCE) return undefined;
    share = { ...share, perSecond: free < 2 ? free : Math.max(1, Math.floor(free / places)) };
  }
  return share;
}

function smaller(one: Share, other: Share): Share {
  const maxConcurrentJobs = Math.min(one.maxConcurrentJobs ?? Infinity, other.maxConcurrentJobs ?? Infinity);
  const perSecond = Math.min(one.perSecond ?? Infinity, other.perSecond ?? Infinity);
  return {
    ...(maxConcurrentJobs === Infinity ? {} : { maxConcurrentJobs }),
    ...(perSecond === Infinity ? {} : { perSecond }),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
