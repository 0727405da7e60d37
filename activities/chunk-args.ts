import type { ChunkJob } from '../src/database/chunks.ts';
import { MAX_JSON_BYTES } from '../src/json-value.ts';
import type { ByteBudget } from '../src/worker/byte-budget.ts';

/** Bytes of arguments that one statement loads: those of 2,000 jobs of 262 bytes come with their rows. */
const MAX_SLICE_BYTES = 512 * 1024;
/** More are loaded once those that wait for a slot are fewer than this part of a slice. */
const LOW_PART = 4;

/** The slices of so many chunks fit into the bound at once, however small it is. */
const SLICES_OF_BOUND = 4;

interface ChunkArgsOptions {
  readonly budget: ByteBudget;
  /** Reads arguments by position. A job that is not pending any more has none. */
  readonly read: (positions: readonly number[]) => Promise<ReadonlyMap<number, unknown[]>>;
  /** Whether nothing starts any more: then nothing is read. */
  readonly isStopping: () => boolean;
  /** Smaller for a chunk whose jobs wait for a limit of their batch while others could start. @default 512 KiB */
  readonly sliceBytes?: number;
}

/**
 * The arguments of a chunk's jobs. They are loaded in the order in which the jobs start, a slice at a time, within the
 * worker's bound, and are gone when their job has ended: a chunk whose jobs wait for a slot holds a slice.
 */
export class ChunkArgs {
  readonly #options: ChunkArgsOptions;
  readonly #sliceBytes: number;
  readonly #args = new Map<number, unknown[]>();
  #jobs: readonly ChunkJob[] = [];
  /** Jobs that are loaded: the first so many. */
  #loaded = 0;
  /** Of arguments that are loaded, and whose jobs have not started. */
  #waitingBytes = 0;
  /** Of those and of jobs that run. */
  #heldBytes = 0;
  #isLoading = false;
  /** Waits for bytes of the bound. */
  #queued: (() => void) | undefined;
  /** Goes on once the next job is loaded. */
  #goOn: (() => void) | undefined;
  #isClosed = false;
  #error: unknown;

  constructor(options: ChunkArgsOptions) {
    this.#options = options;
    const { budget, sliceBytes = MAX_SLICE_BYTES } = options;
    this.#sliceBytes = Math.min(sliceBytes, Math.floor(budget.max / SLICES_OF_BOUND));
  }

  /**
   * Reads a chunk's rows, which bring arguments that are small with them: of each job as much as the bound has free for
   * so many.
   */
  async withRows(count: number, load: (maxBytesEach: number) => Promise<ChunkJob[]>): Promise<ChunkJob[]> {
    const { budget } = this.#options;
    const taken = budget.takeUpTo(this.#sliceBytes);
    this.#heldBytes += taken;
    const jobs = await load(Math.floor(taken / count));
    let bytes = 0;
    for (const job of jobs) {
      if (job.args === null) continue;
      this.#args.set(job.position, job.args);
      job.args = null;
      bytes += bytesOf(job);
    }
    this.#waitingBytes = bytes;
    this.#release(taken - bytes);
    return jobs;
  }

  /**
   * Fixes which jobs run, in which order. What was loaded for others is given back, and so is what was loaded behind a
   * job that was not: who waits for bytes must not hold any that it cannot use before.
   */
  setOrder(jobs: readonly ChunkJob[]): void {
    this.#jobs = jobs;
    const args = new Map(this.#args);
    this.#args.clear();
    let bytes = 0;
    for (const job of jobs) {
      const loaded = args.get(job.position);
      if (!loaded) break;
      this.#args.set(job.position, loaded);
      bytes += bytesOf(job);
      this.#loaded++;
    }
    const dropped = this.#waitingBytes - bytes;
    this.#waitingBytes = bytes;
    this.#release(dropped);
  }

  /** Why arguments could not be loaded; undefined: they could. */
  get error(): unknown {
    return this.#error;
  }

  /**
   * @param goOn called once there is more to know, if neither is known
   * @returns whether the job is loaded, or cannot be
   */
  whenLoaded(index: number, goOn: () => void): boolean {
    if (index < this.#loaded || this.#error !== undefined) return true;
    this.#goOn = goOn;
    this.#load();
    return false;
  }

  /** Forgets who waits for the next job. @returns whether somebody did */
  withdraw(): boolean {
    const isWaiting = this.#goOn !== undefined;
    this.#goOn = undefined;
    if (this.#queued && this.#options.budget.withdraw(this.#queued)) {
      this.#queued = undefined;
      this.#isLoading = false;
    }
    return isWaiting;
  }

  /** The arguments of a job that starts now; undefined: it is not pending any more. */
  take(job: ChunkJob): unknown[] | undefined {
    const args = this.#args.get(job.position);
    this.#args.delete(job.position);
    this.#waitingBytes -= bytesOf(job);
    if (this.#waitingBytes < this.#sliceBytes / LOW_PART) this.#load();
    return args;
  }

  /** The job has ended. */
  release(job: ChunkJob): void {
    this.#release(bytesOf(job));
  }

  /** Gives everything back. What is still on its way is given back when it arrives. */
  close(): void {
    this.#isClosed = true;
    this.withdraw();
    this.#args.clear();
    this.#release(this.#heldBytes);
  }

  #release(bytes: number): void {
    if (bytes === 0) return;
    this.#heldBytes -= bytes;
    this.#options.budget.release(bytes);
  }

  /** Loads the next slice, if there is one and it is not on its way. */
  #load(): void {
    if (this.#loaded === this.#jobs.length || this.#error !== undefined || this.#isClosed) return;
    if (!this.#isLoading) void this.#loadSlice();
  }

  /** Never throws. */
  async #loadSlice(): Promise<void> {
    this.#isLoading = true;
    const { budget, read, isStopping } = this.#options;
    const slice = this.#nextSlice();
    const bytes = slice.reduce((sum, job) => sum + bytesOf(job), 0);
    await new Promise<void>((start) => {
      this.#queued = start;
      if (budget.take(bytes, start)) start();
    });
    this.#queued = undefined;
    let isKept = false;
    try {
      const args = isStopping() ? undefined : await read(slice.map(({ position }) => position));
      if (args && !this.#isClosed) {
        for (const [position, value] of args) this.#args.set(position, value);
        isKept = true;
        this.#heldBytes += bytes;
        this.#waitingBytes += bytes;
        this.#loaded += slice.length;
      }
    } catch (error) {
      this.#error = error;
    } finally {
      if (!isKept) budget.release(bytes);
    }
    this.#isLoading = false;
    const goOn = this.#goOn;
    this.#goOn = undefined;
    goOn?.();
  }

  /** One job at least. */
  #nextSlice(): ChunkJob[] {
    const slice: ChunkJob[] = [];
    let bytes = 0;
    for (let i = this.#loaded; i < this.#jobs.length; i++) {
      const job = this.#jobs[i]!;
      bytes += bytesOf(job);
      if (bytes > this.#sliceBytes && slice.length > 0) break;
      slice.push(job);
    }
    return slice;
  }
}

/** Of a row that did not say so, as much as there may be. */
function bytesOf({ bytes }: ChunkJob): number {
  return bytes ?? MAX_JSON_BYTES;
}
