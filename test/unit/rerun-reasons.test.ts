import { expect, test } from 'vitest';
import { RerunReasons } from '../../workflows/rerun-reasons.ts';
import { spansOf } from '../../workflows/spans.ts';

test('says why jobs run again, and of new ones nothing', () => {
  const reasons = new RerunReasons();
  expect(reasons.of([[1, 50]])).toBeUndefined();
  reasons.note([[3, 4]], 'HttpError: 503');
  expect(reasons.of([[3, 4]])).toBe('again: HttpError: 503');
  expect(reasons.of([[4, 4]])).toBe('again: HttpError: 503');
  expect(reasons.of([[5, 50]])).toBeUndefined();
});

test('says of a chunk with new jobs too that some run again', () => {
  const reasons = new RerunReasons();
  reasons.note([[3, 4]], 'HttpError: 503');
  expect(reasons.of([[3, 50]])).toBe('some again: HttpError: 503');
});

test('the last reason holds', () => {
  const reasons = new RerunReasons();
  reasons.note([[1, 50]], 'HttpError: 503');
  reasons.note([[7, 7]], 'TypeError: no');
  expect(reasons.of([[7, 7]])).toBe('again: TypeError: no');
  expect(reasons.of([[8, 8]])).toBe('again: HttpError: 503');
  reasons.note([], 'nothing');
  expect(reasons.of([[7, 7]])).toBe('again: TypeError: no');
});

test('forgets old reasons, and cuts long ones', () => {
  const reasons = new RerunReasons();
  reasons.note([[1, 1]], 'x'.repeat(10_000));
  expect(reasons.of([[1, 1]])!.length).toBeLessThan(60);
  for (let i = 0; i < 100; i++) reasons.note([[2, 2]], 'another');
  expect(reasons.of([[1, 1]])).toBeUndefined();
});

test('takes no time to speak of with jobs that lie apart', () => {
  const apart = spansOf(Array.from({ length: 5_000 }, (_, index) => 2 * index + 1));
  const reasons = new RerunReasons();
  for (let i = 0; i < 10; i++) reasons.note(apart.slice(i * 100), 'HttpError: 503');
  const startedAt = performance.now();
  for (let i = 0; i < 100; i++) reasons.of(apart);
  expect(performance.now() - startedAt).toBeLessThan(500);
});
