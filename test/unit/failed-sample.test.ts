import { expect, test } from 'vitest';
import {
  jobFailure,
  line,
  MAX_SAMPLE,
  sampled,
  wellFormed,
  type FailedJob,
} from '../../workflows/failed-sample.ts';
import { forSeeds } from '../support/random.ts';

const failed = (position: number, errorClass = 'HttpError'): FailedJob => ({
  position,
  name: 'ImportLine',
  errorClass,
  message: `job ${position}`,
});
const positions = (sample: readonly FailedJob[]) => sample.map(({ position }) => position);

test('keeps the first failed jobs, and no more than a handful', () => {
  const all = Array.from({ length: 50 }, (_, index) => failed(index + 1));
  expect(positions(sampled([], all))).toEqual([1, 2, 3, 4, 5]);
});

test('a job that is told twice is there once', () => {
  const sample = sampled([], [failed(7), failed(7)]);
  expect(sampled(sample, [failed(7)])).toBe(sample);
  expect(positions(sample)).toEqual([7]);
});

test('an error class that is new takes the place of one that is there twice', () => {
  const sample = sampled([], [1, 2, 3, 4].map((position) => failed(position)).concat(failed(5, 'TypeError')));
  const next = sampled(sample, [failed(6, 'RangeError'), failed(7, 'TypeError')]);
  expect(positions(next)).toEqual([1, 2, 3, 5, 6]);
});

test('has no more than its size, each job once, and as many error classes as it can, in any order of reports', async () => {
  await forSeeds(200, (random) => {
    const all = Array.from({ length: random.int(1, 40) }, (_, index) =>
      failed(index + 1, `Class${random.int(1, 8)}`),
    );
    let sample: readonly FailedJob[] = [];
    for (let i = 0; i < 60; i++) sample = sampled(sample, [all[random.int(0, all.length - 1)]!]);
    sample = sampled(sample, all);
    const classes = new Set(all.map(({ errorClass }) => errorClass)).size;
    expect(sample).toHaveLength(Math.min(MAX_SAMPLE, all.length));
    expect(new Set(positions(sample)).size).toBe(sample.length);
    expect(new Set(sample.map(({ errorClass }) => errorClass)).size).toBe(Math.min(MAX_SAMPLE, classes));
  });
});

test.each([
  [undefined],
  ['text'],
  [{ length: 1 }],
  [[null]],
  [[5]],
  [[{ position: 1 }]],
  [[{ ...failed(1), position: 'x' }]],
  [[{ ...failed(1), message: {} }]],
])('a signal that is not a sample adds nothing: %j', (failures) => {
  expect(wellFormed(failures)).toEqual([]);
});

test('a sample from outside is cut, and keeps nothing else', () => {
  const long = { ...failed(1), message: 'x'.repeat(1_000_000), name: 'n'.repeat(1_000), args: ['secret'] };
  const [one, ...others] = wellFormed(Array.from({ length: 100 }, () => long));
  expect(Object.keys(one!)).toEqual(['position', 'name', 'errorClass', 'message']);
  expect(JSON.stringify(one).length).toBeLessThan(400);
  expect(others.length).toBeLessThan(MAX_SAMPLE);
});

test('messages become one line, cut between characters', () => {
  expect(jobFailure('HttpError', ' 503\n\tService  Unavailable\n').message).toBe('503 Service Unavailable');
  const { message } = jobFailure('E', '🎉'.repeat(500));
  expect(message.length).toBeLessThanOrEqual(160);
  expect(message).toMatch(/^(🎉)+…$/u);
  expect(line('x'.repeat(10), 10)).toBe('x'.repeat(10));
  expect(line('x'.repeat(11), 10)).toBe(`${'x'.repeat(9)}…`);
  expect(line(`x${' '.repeat(100)}y`, 10)).toBe('x…');
});
