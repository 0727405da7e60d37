import { Command } from 'commander';
import { expect, test } from 'vitest';
import { resolveBatchChanges } from '../../src/client/batch-options.ts';
import { addPolicyOptions, policyOf } from '../../src/cli/policy-options.ts';

function parse(...args: string[]) {
  const command = addPolicyOptions(new Command('x').exitOverride());
  return policyOf(command.parse(args, { from: 'user' }).opts());
}

test('options that are not given stay unset', () => {
  expect(parse()).toEqual({});
});

test.each([
  { args: ['--fail-when-failed', 'all'], policy: { failWhenFailed: 'all' } },
  { args: ['--fail-when-failed', '10'], policy: { failWhenFailed: { moreThan: 10 } } },
  { args: ['--fail-when-failed', '2.5%'], policy: { failWhenFailed: { moreThan: '2.5%' } } },
  { args: ['--fail-when', 'immediate'], policy: { failWhen: 'immediate' } },
  { args: ['--after-failure', 'cancelRemaining'], policy: { afterFailure: 'cancelRemaining' } },
  { args: ['--deadline', '2h'], policy: { deadline: '2h' } },
  { args: ['--deadline', '2096-11-23T18:00:00Z'], policy: { deadline: new Date('2096-11-23T18:00:00Z') } },
  { args: ['--deadline', 'none'], policy: { deadline: null } },
  { args: ['--after-deadline', 'cancel'], policy: { afterDeadline: 'cancel' } },
  { args: ['--alert-after-idle', '10 minutes'], policy: { alertAfterIdle: '10 minutes' } },
  { args: ['--alert-after-idle', 'none'], policy: { alertAfterIdle: null } },
  { args: ['--max-concurrent-jobs', '20'], policy: { maxConcurrentJobs: 20 } },
  {
    args: ['--per-second', '0.5', '--max-concurrent-jobs', 'none'],
    policy: { perSecond: 0.5, maxConcurrentJobs: null },
  },
  {
    args: [
      '--job-limit',
      'a.b.perSecond=2',
      '--job-limit',
      'a.b.maxConcurrentJobs=none',
      '--job-limit',
      'c.perSecond=1',
    ],
    policy: { jobLimits: { 'a.b': { perSecond: 2, maxConcurrentJobs: null }, c: { perSecond: 1 } } },
  },
])('`$args` is an option that the library takes', ({ args, policy }) => {
  expect(parse(...args)).toEqual(policy);
  expect(() => resolveBatchChanges(parse(...args))).not.toThrow();
});
