import { DefaultLogger, type LogEntry } from '@temporalio/worker';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { AttemptLog, MAX_LOGGED_PER_SECOND } from '../../activities/attempt-log.ts';

const LINE = {
  batchId: 'b-1',
  round: 1,
  errorClass: 'RangeError',
  errorMessage: 'no',
  stack: 'RangeError: no\n    at somewhere',
  retryInMs: 1_000,
};

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function setup() {
  const entries: LogEntry[] = [];
  const logger = new DefaultLogger('INFO', (entry) => void entries.push(entry));
  const environment = new MockActivityEnvironment({}, { logger });
  const attempts = new AttemptLog(() => logger);
  const fail = (workerClass: string, attempt: number, more = {}) =>
    environment.run(async () =>
      attempts.failed({ ...LINE, jid: `b-1/${attempt}`, workerClass, attempt, ...more }),
    );
  return { entries, fail };
}

test('a failed attempt is logged with its job, its error and its stack', async () => {
  const { entries, fail } = setup();
  await fail('Score', 2, { errorMessage: 'x'.repeat(10_000) });
  await fail('Score', 3, { retryInMs: null });
  expect(entries).toMatchObject([
    {
      level: 'WARN',
      message: 'A job attempt failed; will retry',
      meta: { ...LINE, jid: 'b-1/2', workerClass: 'Score', attempt: 2, errorMessage: 'x'.repeat(500) },
    },
    { level: 'WARN', message: 'A job failed for good', meta: { jid: 'b-1/3', attempt: 3 } },
  ]);
});

test('of each name of jobs only a few are logged in a second, and the number of the others', async () => {
  const { entries, fail } = setup();
  for (let attempt = 1; attempt <= 1_000; attempt++) await fail('Score', attempt);
  await fail('Other', 1);
  expect(entries).toHaveLength(MAX_LOGGED_PER_SECOND + 1);
  vi.advanceTimersByTime(1_000);
  expect(entries.slice(MAX_LOGGED_PER_SECOND + 1)).toMatchObject([
    {
      message: 'More job attempts failed than the log shows',
      meta: { workerClass: 'Score', omitted: 1_000 - MAX_LOGGED_PER_SECOND },
    },
  ]);
  await fail('Score', 1_001);
  expect(entries.at(-1)).toMatchObject({ meta: { jid: 'b-1/1001' } });
  vi.advanceTimersByTime(1_000);
  expect(entries).toHaveLength(MAX_LOGGED_PER_SECOND + 3);
  expect(vi.getTimerCount()).toBe(0);
});
