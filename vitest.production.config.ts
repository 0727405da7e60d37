import { defineConfig } from 'vitest/config';

/** Tests of what only newer servers have: `npm run test:production` builds one, once, with Go. */
export default defineConfig({
  test: {
    reporters: ['default', './test/support/summary-reporter.ts'],
    include: ['test/production/**/*.test.ts'],
    globalSetup: ['test/support/production-setup.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 1,
  },
});
