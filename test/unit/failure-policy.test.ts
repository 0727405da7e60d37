import { describe, expect, test } from 'vitest';
import { describePolicy, isExceeded, isFailurePolicy } from '../../workflows/failure-policy.ts';

describe('too many failed jobs', () => {
  test.each([
    { policy: 'any', failed: 0, total: 10, tooMany: false },
    { policy: 'any', failed: 1, total: 10, tooMany: true },
    { policy: 'all', failed: 9, total: 10, tooMany: false },
    { policy: 'all', failed: 10, total: 10, tooMany: true },
    { policy: 'all', failed: 0, total: 0, tooMany: false },
    { policy: { moreThan: 0 }, failed: 0, total: 10, tooMany: false },
    { policy: { moreThan: 3 }, failed: 3, total: 10, tooMany: false },
    { policy: { moreThan: 3 }, failed: 4, total: 10, tooMany: true },
    { policy: { moreThan: '0%' }, failed: 1, total: 1_000_000, tooMany: true },
    { policy: { moreThan: '5%' }, failed: 1, total: 30, tooMany: false },
    { policy: { moreThan: '5%' }, failed: 2, total: 30, tooMany: true },
    { policy: { moreThan: '5%' }, failed: 5, total: 100, tooMany: false },
    { policy: { moreThan: '5%' }, failed: 6, total: 100, tooMany: true },
    { policy: { moreThan: '0.1%' }, failed: 1_000, total: 1_000_000, tooMany: false },
    { policy: { moreThan: '0.1%' }, failed: 1_001, total: 1_000_000, tooMany: true },
    { policy: { moreThan: '100%' }, failed: 10, total: 10, tooMany: false },
  ] as const)('$policy, $failed of $total: $tooMany', ({ policy, failed, total, tooMany }) => {
    expect(isExceeded(policy, failed, total)).toBe(tooMany);
  });
});

test.each(['any', 'all', { moreThan: 0 }, { moreThan: 10 }, { moreThan: '5%' }, { moreThan: '0.5%' }])(
  '%o is a policy',
  (policy) => {
    expect(isFailurePolicy(policy)).toBe(true);
  },
);

test.each([
  'most',
  null,
  undefined,
  3,
  '5%',
  {},
  { moreThan: -1 },
  { moreThan: 1.5 },
  { moreThan: Number.NaN },
  { moreThan: '5' },
  { moreThan: '-5%' },
  { moreThan: '101%' },
  { moreThan: '5 %' },
  { moreThan: 5, atMost: 7 },
  { lessThan: 5 },
])('%o is no policy', (policy) => {
  expect(isFailurePolicy(policy)).toBe(false);
});

test('is described for people', () => {
  expect(
    ['any', 'all', { moreThan: 10 }, { moreThan: '5%' } as const].map((policy) =>
      describePolicy(policy as never),
    ),
  ).toEqual(['any', 'all', 'more than 10', 'more than 5%']);
});
