import { afterAll, expect, inject, test } from 'vitest';
import { FAULT_KINDS } from './plan.ts';
import { describeRound } from './report.ts';
import { OpenRounds, runRounds } from './run-rounds.ts';

const open = new OpenRounds();
afterAll(() => open.close());

// A short fixed set of what `npm run faults` plays by the hundred.
test('batches whose workers, enqueuers, servers and connections are broken at random end rightly, once', async () => {
  const results = await runRounds({
    firstSeed: 1000,
    rounds: 4,
    parallel: 2,
    kinds: undefined,
    workflowBundlePath: inject('workflowBundlePath'),
    onResult: () => {},
    open,
  });
  expect(results).toHaveLength(4);
  const failed = results.filter(({ violations }) => violations.length > 0);
  expect(failed.map((result) => describeRound(result, FAULT_KINDS))).toEqual([]);
  expect(results.reduce((sum, { jobs }) => sum + jobs, 0)).toBeGreaterThan(500);
}, 400_000);
