import { expect, test } from 'vitest';
import { explainCallbacks, explainPending, type WaitingBatch } from '../../src/client/why-waiting.ts';
import { callbackRow, NOW } from '../support/facts.ts';

const RUNNING: WaitingBatch = {
  id: 'b1',
  status: 'running',
  total: 10,
  pending: 3,
  isSealed: true,
  settledAt: null,
  pausedAt: null,
  stopReason: null,
};
const SETTLED: WaitingBatch = { ...RUNNING, status: 'complete', pending: 0, settledAt: new Date(NOW) };
const ENDED = 'it is complete, all of its jobs have ended';

test.each([
  [{}, [], 'it is running, 3 of 10 jobs are pending'],
  [
    { pending: 1 },
    ['batch "inner" (running)'],
    'it is running, 1 of 10 jobs is pending, among them batch "inner" (running)',
  ],
  [{}, ['workflow "a"', 'workflow "b"', 'workflow "c"'], '"c" and maybe others'],
  [{ pausedAt: new Date(NOW) }, [], 'it is paused, and 3 of 10 jobs are pending; resume() lets it go on'],
  [{ stopReason: 'no need' }, [], 'it was stopped (no need) and waits for jobs that still run'],
  [{ isSealed: false, pending: 0, total: 0 }, [], 'jobs() has not ended or seal() was not called'],
  [{ pending: 0 }, [], 'all of its jobs have ended, and a worker has to write its end'],
])('of a batch with %j and the nested jobs %j says %s', (changes, nested, says) => {
  expect(explainPending({ ...RUNNING, ...changes }, nested)).toContain(says);
});

test.each([
  [
    { attempts: 0, error_class: 'UnknownCallbackError', error_message: 'no such callback' },
    `${ENDED}, and it waits for its callback "Mail" on complete, which no worker that was asked knows`,
  ],
  [
    { status: 'running', attempts: 3, error_class: 'BrokenError', error_message: 'no server' },
    `${ENDED}, and it waits for its callback "Mail" on complete, which failed 3 attempts: BrokenError: no server`,
  ],
  [{ status: 'running', attempts: 1 }, `"Mail" on complete, which runs (attempt 1)`],
  [{}, `"Mail" on complete, which no worker has started`],
] as const)('of a callback with %j says %s', (changes, says) => {
  expect(explainCallbacks(SETTLED, [callbackRow(changes)])).toContain(says);
});

test('names the callback that runs before one that waits for it', () => {
  const waits = callbackRow({ event: 'settled', callback: 'Clean' });
  const runs = callbackRow({ status: 'running', attempts: 1 });
  expect(explainCallbacks(SETTLED, [waits, runs])).toContain('"Mail" on complete');
});

test('says of a batch whose callbacks have ended that it is about to be over', () => {
  const ended = callbackRow({ status: 'completed' });
  expect(explainCallbacks(SETTLED, [ended])).toBe(`${ENDED}, and its workflow is about to close`);
});
