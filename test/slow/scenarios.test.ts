import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { childrenOf, runsOf } from '../support/histories.ts';
import { History, HISTORIES, replay, type RecordedHistory } from '../support/replay.ts';
import { createWorld, type World } from '../support/world.ts';
import { SCENARIOS, type Scenario } from './scenarios.ts';

/**
 * `RECORD_HISTORIES=1 bin/test scenarios` writes the histories that are missing. Files of a release are never written
 * again: old batches have to go on under new code.
 */
const RECORDS = process.env['RECORD_HISTORIES'] === '1';

let world: World;
let code: string;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker();
  code = await readFile(inject('workflowBundlePath'), 'utf8');
});
afterAll(() => world[Symbol.asyncDispose]());

async function record(name: string, histories: ReadonlyMap<string, RecordedHistory>): Promise<void> {
  const folder = path.join(HISTORIES, name);
  if (existsSync(folder)) return;
  await mkdir(folder, { recursive: true });
  for (const [file, history] of histories) {
    await writeFile(path.join(folder, file), await promisify(gzip)(History.encode(history).finish()));
  }
}

/** @returns how many runs it replayed */
async function runScenario(scenario: Scenario): Promise<number> {
  const histories = new Map<string, RecordedHistory>();
  const own = scenario.bringsWorkers ? await createWorld() : undefined;
  try {
    const owner = own ?? world;
    const first = await scenario.run(owner);
    for (const workflowId of [first, ...childrenOf(await runsOf(owner.client, first))]) {
      const kind =
        workflowId.replace(/^(batch|batch-step|job):[^/]*\/?/, '').replaceAll('/', '-') ||
        workflowId.split(':')[0]!;
      for (const [index, { history }] of (await runsOf(owner.client, workflowId)).entries()) {
        await replay(history, code);
        histories.set(`${kind}-${index + 1}.gz`, history);
      }
    }
  } finally {
    await own?.[Symbol.asyncDispose]();
  }
  if (RECORDS) await record(scenario.name, histories);
  return histories.size;
}

// The short ones side by side; those that kill workers take half a minute each.
test.concurrent.each(SCENARIOS)('what just ran replays without a difference: $name', async (scenario) => {
  expect(await runScenario(scenario)).toBeGreaterThan(0);
});
