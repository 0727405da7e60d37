import { expect, test } from 'vitest';
import { SharedAnnouncements } from '../../src/client/shared-announcements.ts';

type Sent = readonly [upTo: number, queues: readonly string[]];

/** Signals that are answered when the test says so. */
function createLine() {
  const sent: Sent[] = [];
  const open: { resolve: (answer: string) => void; reject: (error: Error) => void }[] = [];
  const shared = new SharedAnnouncements<string>((upTo, queues) => {
    sent.push([upTo, queues]);
    return new Promise<string>((resolve, reject) => open.push({ resolve, reject }));
  });
  const answer = (text: string) => open.shift()!.resolve(text);
  const fail = (message: string) => open.shift()!.reject(new Error(message));
  return { shared, sent, answer, fail };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('the first one is sent at once, and what comes meanwhile goes with the next one', async () => {
  const { shared, sent, answer } = createLine();
  const first = shared.announce(1, []);
  await turn();
  const others = [shared.announce(3, ['mail']), shared.announce(2, ['sms']), shared.announce(0, ['mail'])];
  await turn();
  expect(sent).toEqual([[1, []]]);
  answer('one');
  await turn();
  expect(sent).toEqual([
    [1, []],
    [3, ['mail', 'sms']],
  ]);
  const late = shared.announce(4, []);
  answer('two');
  expect(await first).toBe('one');
  expect(await Promise.all(others)).toEqual(['two', 'two', 'two']);
  await turn();
  expect(shared.isIdle).toBe(false);
  answer('three');
  expect(await late).toBe('three');
  expect(sent.slice(2)).toEqual([[4, []]]);
  expect(shared.isIdle).toBe(true);
});

test('who goes with a signal that fails hears of it, and the next one is sent all the same', async () => {
  const { shared, sent, answer, fail } = createLine();
  const first = shared.announce(1, []);
  await turn();
  const second = shared.announce(2, []);
  fail('away');
  await expect(first).rejects.toThrow('away');
  await turn();
  expect(sent).toEqual([
    [1, []],
    [2, []],
  ]);
  answer('here');
  expect(await second).toBe('here');
  expect(shared.isIdle).toBe(true);
});
