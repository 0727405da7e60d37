import { writeFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';

/**
 * Ends a run with one line of counts that a script can read: `N passed, N failed`, and `, N skipped` where some were.
 *
 * What fails outside of a test counts as one failure each (a file that does not load, a hook, an unhandled error),
 * so that a failed run never says `0 failed`. `TEST_SUMMARY_FILE` gets the line in place of standard output.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const line = `${summarize(modules, unhandledErrors)}\n`;
    const file = process.env['TEST_SUMMARY_FILE'];
    if (file === undefined || file === '') process.stdout.write(line);
    else writeFileSync(file, line);
  }
}

function summarize(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): string {
  const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
  for (const module of modules) {
    for (const holder of [module, ...module.children.allSuites()]) counts.failed += holder.errors().length;
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      // A test that an interrupted run never came to is pending for good.
      counts[state === 'pending' ? 'skipped' : state]++;
    }
  }
  const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
  return `${counts.passed} passed, ${counts.failed} failed${skipped}`;
}
