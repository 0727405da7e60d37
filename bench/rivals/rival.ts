import type { Environment } from '../environment.ts';

/** A way to get no-op jobs done. */
export interface Way {
  /** For people. */
  readonly name: string;
  /** What it was measured with, printed with the figures. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** More jobs than this are more than it is made for: it is then measured with so many. */
  readonly maxJobs?: number;
  /**
   * Starts what works on the jobs, and then takes the time from the first job's enqueueing to the last write after the
   * last job, and to the end of what runs after all of them where there is such a thing. Leaves nothing running that
   * would slow down the next way, and throws when not each job ran.
   *
   * @returns jobs a second
   */
  measure(jobs: number): Promise<number>;
}

/** A way that is not ours. Disposing of it stops its servers and drops its schema. */
export interface Rival extends Way, AsyncDisposable {}

/** @returns the rival, or why it cannot be measured here */
export type OpenRival = (environment: Environment) => Promise<Rival | string>;

/** Jobs a second since a time of `performance.now()`. */
export function rateSince(startedAt: number, jobs: number): number {
  return (jobs / (performance.now() - startedAt)) * 1_000;
}

export function checkCount(ran: number, jobs: number): void {
  if (ran !== jobs) throw new Error(`${ran} of ${jobs} jobs ran.`);
}

/** The first job of each call to a bulk method, and how many jobs it takes. */
export function* chunks(jobs: number, size: number): Generator<{ first: number; count: number }> {
  for (let first = 0; first < jobs; first += size) yield { first, count: Math.min(size, jobs - first) };
}
