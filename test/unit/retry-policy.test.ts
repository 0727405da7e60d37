import { compileRetryPolicy, decompileRetryPolicy, type RetryPolicy } from '@temporalio/common';
import { expect, test } from 'vitest';
import { resolveRetry } from '../../src/options.ts';
import { temporalRetry } from '../../workflows/retry-policy.ts';

test('is the policy that Temporal knows, in milliseconds', () => {
  const policy = temporalRetry({
    initialIntervalMs: 1_000,
    backoffCoefficient: 1.5,
    maximumIntervalMs: 60_000,
    maximumAttempts: 5,
    nonRetryableErrorTypes: ['HopelessError'],
  });
  expect(policy).toEqual({
    initialInterval: 1_000,
    backoffCoefficient: 1.5,
    maximumInterval: 60_000,
    maximumAttempts: 5,
    nonRetryableErrorTypes: ['HopelessError'],
  });
});

test('leaves attempts without a limit where there is none', () => {
  expect(temporalRetry(resolveRetry('retry', { maximumAttempts: Infinity }))).not.toHaveProperty(
    'maximumAttempts',
  );
});

test.each<RetryPolicy>([
  {},
  { maximumAttempts: 1 },
  { initialInterval: '2s', maximumInterval: '1 hour', backoffCoefficient: 3 },
  { nonRetryableErrorTypes: ['A', 'B'] },
])('is accepted by Temporal for %j', (policy) => {
  const resolved = temporalRetry(resolveRetry('retry', policy));
  expect(decompileRetryPolicy(compileRetryPolicy(resolved))).toMatchObject({
    initialInterval: resolved.initialInterval,
    maximumInterval: resolved.maximumInterval,
    backoffCoefficient: resolved.backoffCoefficient,
    nonRetryableErrorTypes: resolved.nonRetryableErrorTypes,
  });
});
