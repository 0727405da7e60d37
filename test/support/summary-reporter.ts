import { writeFileSync } from 'node:fs';
import { stripVTControlCharacters } from 'node:util';
import type { SerializedError } from 'vitest';
import type { Reporter, TestCase, TestModule, TestSuite } from 'vitest/node';

/**
 * Ends a run with a line for each failure, and one of counts that a script can read: `N passed, N failed`, and
 * `, N skipped` where some were.
 *
 * What fails outside of a test counts as one failure each (a file that does not load, a hook, an unhandled error),
 * so that a failed run never says `0 failed`. `TEST_SUMMARY_FILE` gets the lines in place of standard output.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const lines = summarize(modules, unhandledErrors).map((line) => `${line}\n`);
    const file = process.env['TEST_SUMMARY_FILE'];
    if (file === undefined || file === '') process.stdout.write(lines.join(''));
    else writeFileSync(file, lines.join(''));
  }
}

function summarize(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): string[] {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const failures = unhandledErrors.map((error) => failure('outside of the tests', error));
  for (const module of modules) {
    for (const holder of [module, ...module.children.allSuites()])
      failures.push(...holder.errors().map((error) => failure(nameOf(holder), error)));
    for (const test of module.children.allTests()) {
      const { state, errors } = test.result();
      if (state === 'failed') failures.push(failure(nameOf(test), errors[0]));
      // A test that an interrupted run never came to is pending for good.
      else counts[state === 'pending' ? 'skipped' : state]++;
    }
  }
  counts.failed = failures.length;
  const skipped = counts.skipped === 0 ? '' : `, ${counts.skipped} skipped`;
  return [...failures, `${counts.passed} passed, ${counts.failed} failed${skipped}`];
}

function nameOf(one: TestModule | TestSuite | TestCase): string {
  return one.type === 'module' ? one.relativeModuleId : `${one.module.relativeModuleId} > ${one.fullName}`;
}

function failure(where: string, error: SerializedError | undefined): string {
  return stripVTControlCharacters(
    `FAIL ${where}: ${error?.message.split('\n', 1)[0] ?? 'no error was given'}`,
  );
}
