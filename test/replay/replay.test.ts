import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { temporal } from '@temporalio/proto';
import { DeterminismViolationError } from '@temporalio/workflow';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { childrenOf, runsOf } from '../support/histories.ts';
import { createWorld, type World } from '../support/world.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

type History = temporal.api.history.v1.IHistory;
const { History } = temporal.api.history.v1;

/**
 * Histories of released workflow code, one folder a scenario, one file a run, as gzipped protobuf. (The SDK's own JSON
 * form needs one copy of protobufjs in the tree, which npm does not grant.) `RECORD_HISTORIES=1` writes those that are
 * missing. Files of a release are never written again: old batches have to go on under new code.
 */
const FOLDER = fileURLToPath(new URL('histories', import.meta.url));
const RECORDS = process.env['RECORD_HISTORIES'] === '1';

let world: World;
let code: string;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  code = await readFile(inject('workflowBundlePath'), 'utf8');
});
afterAll(() => world[Symbol.asyncDispose]());

async function replay(history: History, bundle = code): Promise<void> {
  // The ids of children are made from it.
  const { workflowId } = history.events![0]!.workflowExecutionStartedEventAttributes!;
  await Worker.runReplayHistory({ workflowBundle: { code: bundle } }, history, workflowId!);
}

async function record(name: string, histories: ReadonlyMap<string, History>): Promise<void> {
  const folder = path.join(FOLDER, name);
  if (existsSync(folder)) return;
  await mkdir(folder, { recursive: true });
  for (const [file, history] of histories) {
    await writeFile(path.join(folder, file), await promisify(gzip)(History.encode(history).finish()));
  }
}

async function recorded(): Promise<{ file: string; name: string }[]> {
  const files = await readdir(FOLDER, { recursive: true });
  return files.filter((file) => file.endsWith('.gz')).map((file) => ({ file, name: path.dirname(file) }));
}

async function load(file: string): Promise<History> {
  return History.decode(await promisify(gunzip)(await readFile(path.join(FOLDER, file))));
}

/** @returns how many runs it replayed */
async function runScenario(scenario: Scenario): Promise<number> {
  const histories = new Map<string, History>();
  const own = scenario.bringsWorkers ? await createWorld() : undefined;
  try {
    const owner = own ?? world;
    const first = await scenario.run(owner);
    for (const workflowId of [first, ...childrenOf(await runsOf(owner.client, first))]) {
      const kind =
        workflowId.replace(/^(batch|batch-step|job):[^/]*\/?/, '').replaceAll('/', '-') ||
        workflowId.split(':')[0]!;
      for (const [index, { history }] of (await runsOf(owner.client, workflowId)).entries()) {
        await replay(history);
        histories.set(`${kind}-${index + 1}.gz`, history);
      }
    }
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
  if (RECORDS) await record(scenario.name, histories);
  return histories.size;
}

describe('what just ran replays without a difference', () => {
  // The short ones side by side; those that kill workers take half a minute each.
  test.concurrent.each(SCENARIOS)(
    '$name',
    async (scenario) => {
      expect(await runScenario(scenario)).toBeGreaterThan(0);
    },
    180_000,
  );
});

describe('what ran under earlier code replays under this code', () => {
  test('there are recorded histories of every scenario', async () => {
    const names = new Set((await recorded()).map(({ name }) => name));
    expect(SCENARIOS.map(({ name }) => name).filter((name) => !names.has(name))).toEqual([]);
  });

  test('every recorded history replays', async () => {
    for (const { file } of await recorded()) {
      const history = await load(file);
      await expect(replay(history), file).resolves.toBeUndefined();
    }
  }, 120_000);

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
    const file = 'small-batch-with-retries-failures-and-delays/batch-1.gz';
    const history = await load(file);
    await expect(replay(history, changed)).rejects.toThrow(DeterminismViolationError);
  });
});
