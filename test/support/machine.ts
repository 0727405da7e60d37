import { performance } from 'node:perf_hooks';

/** What `work` takes on the machine for which the limits of tests were chosen: 2 cores, on an ordinary day. */
const REFERENCE_MS = 50;
const RUNS = 3;

/** Parsing and sorting, as tests and workers do: no system calls, so that disks and sockets do not blur it. */
function work(): number {
  let checksum = 0;
  for (let i = 0; i < 30; i++) {
    const rows = Array.from({ length: 2_000 }, (_, id) => ({ id, key: `${(id * 7_919) % 2_003}`, i }));
    const copy = JSON.parse(JSON.stringify(rows)) as typeof rows;
    copy.sort((a, b) => (a.key < b.key ? -1 : 1));
    checksum += copy[i]!.id;
  }
  return checksum;
}

/**
 * How many times slower than the reference this machine is now: 1 to 5. Limits of tests are multiplied by it, so that a
 * slow machine needs more time and fails no test.
 */
export function measureSlowness(): number {
  const times = Array.from({ length: RUNS }, () => {
    const startedAt = performance.now();
    work();
    return performance.now() - startedAt;
  });
  // Not the first: it also compiles.
  const typical = Math.min(...times.slice(1));
  return Math.min(5, Math.max(1, typical / REFERENCE_MS));
}
