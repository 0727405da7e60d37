import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/longest-first.ts';
import { measureSlowness } from './test/support/machine.ts';
import { IN_FULL, LOAD, OWN_RUNTIME } from './test/support/projects.ts';

/** See `measureSlowness`. A run of a slow machine can be asked for by hand. */
const slowness = Number(process.env['TEST_SLOWNESS']) || (await measureSlowness());
/** Of the library's waits: see src/timeouts.ts. Longer where a machine is slow, which would miss heartbeats otherwise. */
const timeoutScale = Math.min(1, 0.35 * slowness);

const slowEnv = { TEST_SLOWNESS: String(slowness) };
/** Races are played in many rounds, each a batch: the fast set plays a share of them, the slow set all. */
const fastEnv = { ...slowEnv, TEST_ROUNDS: '0.1' };
/** Worker processes, too, run workflows in their main thread: see CONTRIBUTING.md. */
const shortEnv = { ...fastEnv, BATCH_JOBS_TIMEOUT_SCALE: String(timeoutScale), TEMPORAL_DEBUG: '1' };
const limits = { testTimeout: 120_000 * slowness, hookTimeout: 120_000 * slowness };
const globalSetup = ['test/support/global-setup.ts'];

export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          isolate: false,
          maxWorkers: 2,
          // Walks through thousands of states take seconds, and longer beside others.
          testTimeout: 30_000 * slowness,
          typecheck: {
            enabled: true,
            checker: 'tsc',
            include: ['test/types/**/*.test-d.ts'],
            // What is wrong elsewhere is for `npm run typecheck` to say.
            ignoreSourceErrors: true,
          },
        },
      },
      {
        // Tests that mostly wait, many at once. Each has batches of its own, most a world of its own.
        test: {
          name: 'integration',
          include: ['test/{integration,replay}/**/*.test.ts'],
          exclude: [...LOAD, ...OWN_RUNTIME],
          globalSetup,
          env: shortEnv,
          ...limits,
          maxWorkers: 5,
          maxConcurrency: 8,
          // Loading the SDK takes a second of each file otherwise. Worlds share nothing that modules keep.
          isolate: false,
          setupFiles: ['test/support/no-open-clients.ts'],
          // After the unit tests: vitest wants an order where projects differ in their workers.
          sequence: { groupOrder: 1 },
        },
      },
      {
        // As those, each in a process of its own.
        test: {
          name: 'runtime',
          include: OWN_RUNTIME,
          globalSetup,
          env: shortEnv,
          ...limits,
          maxWorkers: 5,
          sequence: { groupOrder: 1 },
        },
      },
      {
        // Tests that load the machine, or measure how long something takes: one at a time in each of two processes, and
        // with the true waits. A busy worker would miss shorter heartbeats.
        test: {
          name: 'load',
          include: LOAD,
          globalSetup,
          env: fastEnv,
          ...limits,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        // What `bin/test --slow` runs: whole programs, random faults, and what the fast set does not run in full.
        test: {
          name: 'slow',
          include: ['test/slow/**/*.test.ts', ...(process.env['TEST_SLOW'] ? IN_FULL : [])],
          globalSetup,
          env: slowEnv,
          ...limits,
          testTimeout: 300_000 * slowness,
          maxWorkers: 3,
          maxConcurrency: 8,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
