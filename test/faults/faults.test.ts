import { afterAll, expect, inject, test } from 'vitest';
import { FAULT_KINDS } from './plan.ts';
import { killAllChildren } from './processes.ts';
import { describeRound } from './report.ts';
import { runRounds } from './run-rounds.ts';
import type { Arena } from './servers.ts';

const arenas = new Set<Arena>();
afterAll(async () => {
  await killAllChildren();
  await Promise.all([...arenas].map((arena) => arena[Symbol.asyncDispose]()));
});

// A short fixed set of what `npm run faults` plays by the hundred.
test('batches whose workers, enqueuers, servers and connections are broken at random end rightly, once', async () => {
  const results = await runRounds({
    firstSeed: 1000,
    rounds: 4,
    parallel: 2,
    kinds: undefined,
    workflowBundlePath: inject('workflowBundlePath'),
    onResult: () => {},
    arenas,
  });
  expect(results).toHaveLength(4);
  const failed = results.filter(({ violations }) => violations.length > 0);
  expect(failed.map((result) => describeRound(result, FAULT_KINDS))).toEqual([]);
  expect(results.reduce((sum, { jobs }) => sum + jobs, 0)).toBeGreaterThan(500);
}, 400_000);
