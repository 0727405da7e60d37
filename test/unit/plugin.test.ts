import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { BundleOptions, ReplayWorkerOptions, WorkerOptions } from '@temporalio/worker';
import { expect, test } from 'vitest';
import { BatchPlugin } from '../../src/index.ts';
import { workflowInterceptorModules } from '../../src/worker/index.ts';
import { BUNDLE_TAG } from '../../workflows/report-end.ts';

const plugin = new BatchPlugin();
const worker = (options: Partial<WorkerOptions>): WorkerOptions => ({ taskQueue: 'orders', ...options });

test('gives a bundle its module once, behind those of others', () => {
  const options: BundleOptions = { workflowsPath: '.', workflowInterceptorModules: ['./traces'] };
  const once = plugin.configureBundler(options);
  expect(once.workflowInterceptorModules).toEqual(['./traces', ...workflowInterceptorModules]);
  expect(new BatchPlugin().configureBundler(once)).toEqual(once);
  expect(plugin.configureBundler({ workflowsPath: '.' }).workflowInterceptorModules).toEqual(
    workflowInterceptorModules,
  );
});

test('gives a worker its sink once, beside those of others', async () => {
  const sinks = { audit: { noted: { fn: () => {} } } };
  const once = await plugin.configureWorker(worker({ workflowsPath: '.', sinks }));
  expect(Object.keys(once.sinks!)).toEqual(['audit', 'batchJobs']);
  expect(await new BatchPlugin().configureWorker(once)).toBe(once);
});

test('leaves a worker alone that runs no workflows', async () => {
  const options = worker({ activities: { mail: async () => {} } });
  expect(await plugin.configureWorker(options)).toBe(options);
});

test('takes a bundle that was made with it, and refuses others', async () => {
  const code = `exports.tag = ${JSON.stringify(BUNDLE_TAG)};`;
  const made = await plugin.configureWorker(worker({ workflowBundle: { code } }));
  expect(Object.keys(made.sinks!)).toEqual(['batchJobs']);
  const refusal = { code: 'INVALID_OPTION', option: 'workflowBundle' };
  await expect(plugin.configureWorker(worker({ workflowBundle: { code: '' } }))).rejects.toMatchObject(
    refusal,
  );
  // Also behind a sink: who wires one by hand may forget the bundle as well.
  await expect(plugin.configureWorker({ ...made, workflowBundle: { code: 'none' } })).rejects.toMatchObject(
    refusal,
  );
});

test('looks into the file of a bundle', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'plugin-'));
  try {
    const codePath = path.join(folder, 'bundle.js');
    await writeFile(codePath, 'exports.other = true;');
    await expect(plugin.configureWorker(worker({ workflowBundle: { codePath } }))).rejects.toMatchObject({
      option: 'workflowBundle',
      message: expect.stringContaining(codePath),
    });
    await writeFile(codePath, `exports.tag = ${JSON.stringify(BUNDLE_TAG)};`);
    const made = await plugin.configureWorker(worker({ workflowBundle: { codePath } }));
    expect(Object.keys(made.sinks!)).toEqual(['batchJobs']);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('gives a replay a sink that tells nobody, once', () => {
  const options: ReplayWorkerOptions = { workflowBundle: { code: '' } };
  const once = plugin.configureReplayWorker(options);
  expect(Object.keys(once.sinks!)).toEqual(['batchJobs']);
  expect(plugin.configureReplayWorker(once)).toBe(once);
});
