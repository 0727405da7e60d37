import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DeterminismViolationError } from '@temporalio/workflow';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { beforeAll, expect, test } from 'vitest';
import { HISTORIES, loadHistory, recordedHistories, replay, replayAll } from '../support/replay.ts';
import { bundleWorkflows } from '../support/workflow-bundle.ts';
import { SCENARIOS } from '../slow/scenarios.ts';

/** With the true timeouts, as the histories were recorded. */
let code: string;
beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const folder = await mkdtemp(path.join(tmpdir(), 'temporal-batch-jobs-replay-'));
  code = await readFile(await bundleWorkflows(folder, { timeoutScale: '' }), 'utf8');
  await rm(folder, { recursive: true });
});

test('there are recorded histories of every scenario', async () => {
  const names = new Set(await readdir(HISTORIES));
  expect(SCENARIOS.map(({ name }) => name).filter((name) => !names.has(name))).toEqual([]);
});

test('every recorded history replays', async () => {
  const files = await recordedHistories();
  expect(files.length).toBeGreaterThan(SCENARIOS.length);
  expect(await replayAll(files, code)).toEqual([]);
});

// What the recorded histories are for: each of these changes would break batches that run during an upgrade.
test.each([
  ['another first write of the mirror', 'mirror.createBatch(', 'mirror.discardBatch('],
  ['another write when the block is closed', '.mirror.sealBatch(', '.mirror.registerCallback('],
  [
    'another activity for chunks',
    'activities.runChunk.executeWithOptions(',
    'activities.runPlainJob.executeWithOptions(',
  ],
  ['another activity for callbacks', 'activities.runCallback(', 'activities.runPlainJob('],
])('a workflow that was changed fails it: %s', async (_title, from, to) => {
  expect(code.split(from).length, `${from} in the bundle`).toBeGreaterThan(1);
  const changed = code.replaceAll(from, to);
  const history = await loadHistory('small-batch-with-retries-failures-and-delays/batch-1.gz');
  await expect(replay(history, changed)).rejects.toThrow(DeterminismViolationError);
});
