import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { bundleApp, type AppBundles } from '../faults/app-bundles.ts';
import { FAULT_KINDS } from '../faults/plan.ts';
import { describeRound } from '../faults/report.ts';
import { OpenRounds, runRounds } from '../faults/run-rounds.ts';

const open = new OpenRounds();
let folder: string;
let appBundles: AppBundles;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-faults-test-'));
  appBundles = await bundleApp(folder);
});
afterAll(async () => {
  await open.close();
  await rm(folder, { recursive: true, force: true });
});

// A short fixed set of what `npm run faults` plays by the hundred.
test('batches whose workers, enqueuers, servers and connections are broken at random end rightly, once', async () => {
  const results = await runRounds({
    firstSeed: 1000,
    rounds: 4,
    parallel: 2,
    kinds: undefined,
    workflowBundlePath: inject('workflowBundlePath'),
    appBundles,
    onResult: () => {},
    open,
  });
  expect(results).toHaveLength(4);
  const failed = results.filter(({ violations }) => violations.length > 0);
  expect(failed.map((result) => describeRound(result, FAULT_KINDS))).toEqual([]);
  expect(results.reduce((sum, { jobs }) => sum + jobs, 0)).toBeGreaterThan(500);
  expect(results.reduce((sum, { workflows }) => sum + workflows, 0)).toBeGreaterThan(5);
});
