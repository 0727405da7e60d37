import { describe, expect, test } from 'vitest';
import {
  adjustDensity,
  adjustPace,
  INITIAL_PACE,
  jobsFor,
  nextLookMs,
  positionsFor,
  windowAfter,
  type ChunkTiming,
  type Pace,
} from '../../workflows/pacing.ts';
import { forSeeds } from '../support/random.ts';

const MAX_SIZE = 2_000;
const MIN_WINDOW = 2;
const MAX_WINDOW = 64;

/** A chunk whose jobs took so long each. */
function chunkOf(pace: Pace, jobMs: number, queueMs = 0): ChunkTiming {
  return { ran: pace.size, busyMs: pace.size * jobMs, queueMs };
}

function after(chunks: number, jobMs: number, queueMs = 0, from: Pace = INITIAL_PACE): Pace {
  let pace = from;
  for (let count = 0; count < chunks; count++) pace = adjustPace(pace, chunkOf(pace, jobMs, queueMs));
  return pace;
}

test('starts with few jobs a chunk, as a minute each is possible', () => {
  expect(INITIAL_PACE.size).toBeLessThanOrEqual(100);
  expect(INITIAL_PACE.jobMs).toBeUndefined();
});

test.each([0, 0.01, 1])('sends jobs of %s ms by the thousand after one chunk', (jobMs) => {
  expect(after(1, jobMs).size).toBe(MAX_SIZE);
});

test('sends jobs of a minute alone after one chunk', () => {
  expect(after(1, 60_000).size).toBe(1);
});

test('sends jobs of an hour alone, never none', () => {
  expect(after(10, 3_600_000).size).toBe(1);
});

test('makes chunks of about a second, for jobs that run side by side', () => {
  expect(after(1, 100).size).toBe(80);
});

test('comes down to single jobs when fast jobs are followed by slow ones', () => {
  const fast = after(5, 1);
  expect(fast.size).toBe(MAX_SIZE);
  expect(after(3, 60_000, 0, fast).size).toBe(1);
});

test('does not let one slow chunk among fast ones decide alone', () => {
  const steady = after(20, 10);
  const { jobMs } = adjustPace(steady, chunkOf(steady, 1_000));
  expect(jobMs).toBeGreaterThan(10);
  expect(jobMs).toBeLessThan(500);
});

test('keeps the size after a chunk in which no job ran', () => {
  const pace: Pace = { size: 40, window: 8, jobMs: 200 };
  expect(adjustPace(pace, { ran: 0, busyMs: 0, queueMs: 0 })).toEqual({ ...pace, window: 9 });
});

test('learns nothing of job times from a first chunk in which no job ran', () => {
  const pace = adjustPace(INITIAL_PACE, { ran: 0, busyMs: 0, queueMs: 0 });
  expect(pace.size).toBe(INITIAL_PACE.size);
  expect(pace.jobMs).toBeUndefined();
});

test('has more chunks in flight while workers take them at once, up to a bound', () => {
  expect(after(1, 10, 0).window).toBe(INITIAL_PACE.window + 1);
  expect(after(1_000, 10, 0).window).toBe(MAX_WINDOW);
});

test('has fewer chunks in flight while they wait for workers, down to a bound', () => {
  expect(after(1, 10, 5_000).window).toBeLessThan(INITIAL_PACE.window);
  expect(after(100, 10, 5_000).window).toBe(MIN_WINDOW);
});

test('keeps as many chunks in flight when they wait a moderate time', () => {
  expect(after(10, 10, 300).window).toBe(INITIAL_PACE.window);
});

test('grows again after it came down', () => {
  const low = after(100, 10, 5_000);
  expect(after(4, 10, 0, low).window).toBe(MIN_WINDOW + 4);
});

test('stays within its bounds whatever chunks report', async () => {
  await forSeeds(200, (random) => {
    let pace = INITIAL_PACE;
    for (let chunk = 0; chunk < 100; chunk++) {
      const timing = {
        ran: random.chance(0.2) ? 0 : random.int(1, 2_000),
        busyMs: random.pick([0, 0.001, 10, 1e4, 1e9]) * random.next(),
        queueMs: random.pick([0, 249, 250, 2_000, 2_001, 1e7]),
      };
      pace = adjustPace(pace, timing);
      const isWithin =
        Number.isInteger(pace.size) &&
        Number.isInteger(pace.window) &&
        pace.size >= 1 &&
        pace.size <= MAX_SIZE &&
        pace.window >= MIN_WINDOW &&
        pace.window <= MAX_WINDOW;
      expect(isWithin, `${JSON.stringify(pace)} after ${JSON.stringify(timing)}`).toBe(true);
    }
  });
});

describe('chunks in flight before one has told how long jobs take', () => {
  test('become more the longer none has ended: those that went may be with dead workers', () => {
    const windows = [0, 999, 1_000, 2_999, 3_000, 600_000].map((ms) => windowAfter(INITIAL_PACE, ms));
    expect(windows).toEqual([4, 4, 8, 8, 16, 16]);
    expect([0, 1_000, 3_000].map((ms) => nextLookMs(INITIAL_PACE, ms))).toEqual([1_000, 3_000, undefined]);
  });

  test('are as many as the pace says once it is known', () => {
    const pace = { size: 40, window: 9, jobMs: 200 };
    expect(windowAfter(pace, 0)).toBe(9);
    expect(nextLookMs(pace, 0)).toBeUndefined();
  });
});

describe('a chunk with a part of the limits', () => {
  const known = (jobMs: number): Pace => ({ size: 25, window: 8, jobMs });

  test.each([
    { share: { maxConcurrentJobs: 6 }, pace: INITIAL_PACE, jobs: 6 },
    { share: { maxConcurrentJobs: 6 }, pace: known(100), jobs: 60 },
    { share: { maxConcurrentJobs: 6 }, pace: known(60_000), jobs: 6 },
    { share: { maxConcurrentJobs: 6 }, pace: known(0), jobs: MAX_SIZE },
    { share: { perSecond: 12 }, pace: INITIAL_PACE, jobs: 120 },
    { share: { perSecond: 12 }, pace: INITIAL_PACE, due: 500, jobs: 63 },
    { share: { perSecond: 12 }, pace: INITIAL_PACE, due: 20, jobs: 24 },
    { share: { maxConcurrentJobs: 6 }, pace: known(100), due: 160, jobs: 20 },
    { share: { maxConcurrentJobs: 6 }, pace: known(100), due: 10, jobs: 6 },
    { share: { perSecond: 0.01 }, pace: known(1), jobs: 1 },
    { share: { perSecond: 12, maxConcurrentJobs: 2 }, pace: known(1_000), jobs: 20 },
    { share: { perSecond: 1, maxConcurrentJobs: 200 }, pace: known(1_000), jobs: 10 },
  ])('of $share has $jobs jobs, by what was learned: $pace', ({ share, pace, jobs, due = 1e6 }) => {
    expect(jobsFor(pace, share, due)).toBe(jobs);
  });

  test('looks for its jobs in more positions when few of them are of its lane', () => {
    expect(positionsFor(INITIAL_PACE, 6)).toBe(6);
    let pace = INITIAL_PACE;
    expect(adjustDensity(pace, 6, 6)).toBe(pace);
    for (let chunk = 0; chunk < 20; chunk++) pace = adjustDensity(pace, 1, 10);
    expect(positionsFor(pace, 6)).toBe(60);
    for (let chunk = 0; chunk < 20; chunk++) pace = adjustDensity(pace, 0, 2_000);
    expect(positionsFor(pace, 6)).toBe(MAX_SIZE);
    for (let chunk = 0; chunk < 20; chunk++) pace = adjustDensity(pace, 50, 50);
    expect(positionsFor(pace, 6)).toBe(7);
  });
});
