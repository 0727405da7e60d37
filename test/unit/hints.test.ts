import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Hints } from '../../src/plugin/hints.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Sent {
  readonly at: number;
  readonly batchId: string;
  readonly ids: readonly string[];
}

/** Hints that note when they were sent, in milliseconds from now; each signal takes so long. */
function noted(takesMs = 0): { hints: Hints; sent: Sent[] } {
  const sent: Sent[] = [];
  const startedAt = Date.now();
  const hints = new Hints(async (batchId, ids) => {
    sent.push({ at: Date.now() - startedAt, batchId, ids });
    if (takesMs > 0) await new Promise((resolve) => setTimeout(resolve, takesMs));
  });
  return { hints, sent };
}

const ids = (count: number) => Array.from({ length: count }, (_, index) => `w${index}`);

test('sends what comes together in one signal for each batch, each workflow once', async () => {
  const { hints, sent } = noted();
  for (const id of ['w1', 'w2', 'w1']) hints.add('b1', id);
  hints.add('b2', 'w3');
  await vi.advanceTimersByTimeAsync(100);
  expect(sent).toEqual([
    { at: 100, batchId: 'b1', ids: ['w1', 'w2'] },
    { at: 100, batchId: 'b2', ids: ['w3'] },
  ]);
});

test('sends less often the longer they keep coming, and soon again after a pause; then no timer is left', async () => {
  const { hints, sent } = noted();
  for (let at = 0; at < 2_000; at += 50) {
    hints.add('b1', `w${at}`);
    await vi.advanceTimersByTimeAsync(50);
  }
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent.map(({ at }) => at)).toEqual([100, 300, 700, 1_200, 1_700, 2_200]);
  expect(sent.flatMap((signal) => signal.ids)).toHaveLength(40);
  expect(vi.getTimerCount()).toBe(0);
  hints.add('b1', 'later');
  await vi.advanceTimersByTimeAsync(100);
  expect(sent.at(-1)).toEqual({ at: 3_100, batchId: 'b1', ids: ['later'] });
});

test('sends many in signals of 500, one at a time', async () => {
  const { hints, sent } = noted(300);
  for (const id of ids(1_200)) hints.add('b1', id);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(sent.map(({ at, ids: { length } }) => [at, length])).toEqual([
    [100, 500],
    [400, 500],
    [700, 200],
  ]);
});

test('holds no more than 5,000 of a batch', async () => {
  const { hints, sent } = noted();
  for (const id of ids(6_000)) hints.add('b1', id);
  await vi.advanceTimersByTimeAsync(100);
  expect(sent.reduce((sum, signal) => sum + signal.ids.length, 0)).toBe(5_000);
});

test('sends what is left when it is flushed, behind what is under way, and nothing after that', async () => {
  const { hints, sent } = noted(300);
  hints.add('b1', 'w1');
  await vi.advanceTimersByTimeAsync(150);
  hints.add('b1', 'w2');
  hints.add('b2', 'w3');
  let isFlushed = false;
  const flushed = hints.flush().then(() => (isFlushed = true));
  hints.add('b1', 'w4');
  await vi.advanceTimersByTimeAsync(0);
  expect(sent.map(({ at, ids: sentIds }) => [at, sentIds])).toEqual([
    [100, ['w1']],
    [150, ['w3']],
  ]);
  await vi.advanceTimersByTimeAsync(500);
  expect(isFlushed).toBe(false);
  await vi.advanceTimersByTimeAsync(100);
  await flushed;
  expect(sent.at(-1)).toEqual({ at: 400, batchId: 'b1', ids: ['w2'] });
  expect(vi.getTimerCount()).toBe(0);
});

test('drops what is left when it is told to, and sends nothing after that', async () => {
  const { hints, sent } = noted();
  hints.add('b1', 'w1');
  hints.discard();
  hints.add('b1', 'w2');
  expect(vi.getTimerCount()).toBe(0);
  await hints.flush();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(sent).toEqual([]);
});
