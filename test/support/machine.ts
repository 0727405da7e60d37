import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

/** What the work takes on the machine for which the limits of tests were chosen: 2 cores, on an ordinary day. */
const REFERENCE_MS = 50;
const RUNS = 9;

/**
 * How many times slower than the reference this machine is now: 1 to 5. Limits of tests are multiplied by it, so that a
 * slow machine needs more time and fails no test.
 *
 * All cores work at once, as they do while tests run: those of a virtual machine may be halves of one.
 */
export async function measureSlowness(): Promise<number> {
  const times = await Promise.all(Array.from({ length: availableParallelism() }, measureCore));
  return Math.min(5, Math.max(1, median(times.flat()) / REFERENCE_MS));
}

function measureCore(): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('machine-work.mjs', import.meta.url), { workerData: { runs: RUNS } });
    // Not the first time: it also compiles.
    worker.once('message', ([, ...times]: number[]) => resolve(times));
    worker.once('error', reject);
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
