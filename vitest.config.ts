import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/unit/**/*.test.ts'],
          // Walks through thousands of states take seconds, and longer beside others.
          testTimeout: 30_000,
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
        test: {
          name: 'integration',
          include: ['test/{integration,replay,faults}/**/*.test.ts'],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // Every file owns a Temporal worker; two cores carry two of them.
          maxWorkers: 2,
          // After the unit tests: vitest wants an order where projects differ in their workers.
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
