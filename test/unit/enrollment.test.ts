import { expect, onTestFinished, test, vi } from 'vitest';
import { Enrollment, type EnrollmentChannel } from '../../src/client/enrollment.ts';
import {
  currentEnrollment,
  runInEnrollment,
  runOutsideEnrollment,
} from '../../src/client/enrollment-context.ts';
import type { JobTarget } from '../../src/client/submit.ts';
import { openDatabase } from '../../src/database/connect.ts';
import { BatchError, EnrollmentTimedOutError, TemporalUnavailableError } from '../../src/errors.ts';
import { resolveJobOptions } from '../../src/jobs/job-options.ts';

const TARGET: JobTarget = { name: 'ScoreEntry', options: resolveJobOptions('job'), isOverridden: false };
const TIMEOUT_MS = 9_000;

/** A block that writes no rows: nothing here reaches the database, which is not there. */
function setup(channel: Partial<EnrollmentChannel> = {}) {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
  const warnings: string[] = [];
  const announce = vi.fn<EnrollmentChannel['announce']>(channel.announce ?? (async () => {}));
  const seal = vi.fn<EnrollmentChannel['seal']>(channel.seal ?? (async (upTo) => upTo));
  const database = openDatabase('postgres://127.0.0.1:1/none');
  onTestFinished(() => database.close());
  const enrollment = new Enrollment({
    batchId: 'b-1',
    adder: { token: 't' },
    executions: { namespace: 'default', cancel: async () => {} },
    database,
    channel: { announce, seal },
    whyClosed: () => Promise.reject(new Error('no row was written')),
    logger: { warn: (message) => void warnings.push(message) },
    enrollmentTimeoutMs: TIMEOUT_MS,
  });
  return { enrollment, announce, seal, warnings };
}

test('numbers jobs in the order in which they are started', () => {
  const { enrollment } = setup();
  expect([1, 2, 3].map((id) => enrollment.enroll(TARGET, `[${id}]`))).toEqual(['b-1/1', 'b-1/2', 'b-1/3']);
});

test('has room while little is on its way', () => {
  const { enrollment } = setup();
  void enrollment.enroll(TARGET, '[1]');
  expect(enrollment.hasRoom()).toBe(true);
});

test('seals an empty block with nothing', async () => {
  const { enrollment, seal } = setup();
  expect(await enrollment.close()).toBe(0);
  expect(seal.mock.calls).toEqual([[0, [], undefined]]);
});

test('seals with what the block threw', async () => {
  const { enrollment, seal } = setup();
  await enrollment.close(new TypeError('no such entry'));
  expect(seal.mock.calls).toEqual([[0, [], 'TypeError: no such entry']]);
});

test('seals with text that Postgres can store, whatever the block threw', async () => {
  const { enrollment, seal } = setup();
  await enrollment.close(new Error('bad \0 and \uD83D'));
  expect(seal.mock.calls).toEqual([[0, [], 'Error: bad \uFFFD and \uFFFD']]);
});

test('seals with a text that fits into a message, however long the one was that the block threw', async () => {
  const { enrollment, seal } = setup();
  await enrollment.close(new Error('x'.repeat(3_000_000)));
  expect(seal.mock.calls[0]![2]!.length).toBeLessThan(20_000);
});

test('refuses jobs of work that outlived the block, and names the job and the batch', async () => {
  const { enrollment } = setup();
  await enrollment.close();
  expect(enrollment.isClosed).toBe(true);
  expect(() => enrollment.enroll(TARGET, '[]')).toThrow(
    expect.objectContaining({
      code: 'ENROLLMENT_CLOSED',
      message: expect.stringMatching(/^ScoreEntry\.performAsync .* batch "b-1" had closed/),
    }),
  );
});

test('refuses jobs as soon as the block begins to close', async () => {
  const { enrollment } = setup();
  const closing = enrollment.close();
  expect(() => enrollment.enroll(TARGET, '[]')).toThrow(
    expect.objectContaining({ code: 'ENROLLMENT_CLOSED' }),
  );
  await closing;
});

test('gives several signs of life within enrollmentTimeout while the block does nothing', async () => {
  const { announce } = setup();
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  expect(announce.mock.calls.length).toBeGreaterThanOrEqual(2);
  expect(announce.mock.calls[0]).toEqual([0, []]);
});

test('gives no further sign of life once it is closed', async () => {
  const { enrollment, announce } = setup();
  await enrollment.close();
  await vi.advanceTimersByTimeAsync(10 * TIMEOUT_MS);
  expect(announce).not.toHaveBeenCalled();
  expect(vi.getTimerCount()).toBe(0);
});

test('gives signs of life while the seal waits for Temporal, and ends when none is under way any more', async () => {
  let answerSeal!: () => void;
  let answerSign!: () => void;
  const { enrollment, announce } = setup({
    seal: (upTo) => new Promise((resolve) => (answerSeal = () => resolve(upTo))),
    announce: () => new Promise<void>((resolve) => (answerSign = resolve)),
  });
  let isOver = false;
  const closing = enrollment.close().then(() => (isOver = true));
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  expect(announce).toHaveBeenCalledOnce();
  answerSeal();
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  expect(isOver).toBe(false);
  answerSign();
  await closing;
  expect(announce).toHaveBeenCalledOnce();
  expect(vi.getTimerCount()).toBe(0);
});

test('gives signs of life again after Temporal was away, and says so', async () => {
  let isAway = true;
  const { enrollment, announce, warnings } = setup({
    announce: async () => {
      if (isAway) throw new TemporalUnavailableError('TEMPORAL_UNAVAILABLE', 'away');
    },
  });
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  const calls = announce.mock.calls.length;
  expect(warnings).toHaveLength(calls);
  isAway = false;
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  expect(announce.mock.calls.length).toBeGreaterThan(calls);
  expect(warnings).toHaveLength(calls);
  expect(await enrollment.close()).toBe(0);
});

test('breaks when the batch no longer takes announcements, for jobs and for the block', async () => {
  const error = new BatchError('BATCH_SETTLED', 'The batch has ended.');
  const { enrollment, seal } = setup({ announce: () => Promise.reject(error) });
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  expect(() => enrollment.enroll(TARGET, '[]')).toThrow(error);
  await expect(enrollment.close()).rejects.toBe(error);
  expect(seal.mock.calls).toEqual([[0, [], 'BatchError: The batch has ended.']]);
});

test('does not seal a block that the batch closed itself', async () => {
  const error = new EnrollmentTimedOutError('ENROLLMENT_TIMED_OUT', 'The batch closed its block.');
  const { enrollment, seal } = setup({ announce: () => Promise.reject(error) });
  await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
  await expect(enrollment.close()).rejects.toBe(error);
  expect(seal).not.toHaveBeenCalled();
});

test('passes on why the seal failed', async () => {
  const error = new EnrollmentTimedOutError('ENROLLMENT_TIMED_OUT', 'too late');
  const { enrollment } = setup({ seal: () => Promise.reject(error) });
  await expect(enrollment.close()).rejects.toBe(error);
});

test('is known in its block and in what the block awaits, and nowhere else', async () => {
  const { enrollment } = setup();
  const seen = await runInEnrollment(enrollment, async () => {
    await Promise.resolve();
    return { inside: currentEnrollment(), handler: runOutsideEnrollment(() => currentEnrollment()) };
  });
  expect(seen.inside).toBe(enrollment);
  expect(seen.handler).toBeUndefined();
  expect(currentEnrollment()).toBeUndefined();
});
