import { readFile } from 'node:fs/promises';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { ApplicationFailure } from '@temporalio/common';
import { defineJob } from '../../src/index.ts';
import { createBatch, runBatch } from '../support/batches.ts';
import { eventually } from '../support/eventually.ts';
import { PATIENCE } from '../support/patience.ts';
import { createWorld, type World } from '../support/world.ts';

/** Fails with a message of its own; its arguments are nobody's business. */
const login = defineJob(
  'Login',
  async (_password: string) => {
    throw ApplicationFailure.nonRetryable('The account | is *locked*', 'LoginError');
  },
  { retry: { maximumAttempts: 1 } },
);

let world: World;
beforeAll(async () => {
  world = await createWorld();
  await world.startWorker({ jobs: [...Object.values(world.fixtures.jobs), login] });
});
afterAll(() => world[Symbol.asyncDispose]());

/** As the Web UI asks for them. */
async function currentDetails(workflowId: string, { client } = world): Promise<string> {
  const metadata = await client.workflow
    .getHandle(workflowId)
    .query<{ currentDetails: string }>('__temporal_workflow_metadata');
  // Without what keeps the columns of tables apart.
  return metadata.currentDetails.replaceAll('\u00a0', '');
}

/** What the Web UI shows beside the events of a history. */
async function summaries(workflowId: string, { client } = world): Promise<string[]> {
  const { events } = await client.workflow.getHandle(workflowId).fetchHistory();
  return (events ?? []).flatMap(({ userMetadata }) => {
    const data = userMetadata?.summary?.data;
    return data ? [JSON.parse(Buffer.from(data).toString()) as string] : [];
  });
}

test('of a failed batch the Web UI shows counts, callbacks, a sample of what failed and why, and where to look next', async () => {
  const { batch } = await runBatch(
    world,
    async ({ noop, failForGood }) => {
      for (let i = 0; i < 20; i++) await noop.performAsync(i);
      for (let i = 0; i < 30; i++) await failForGood.performAsync(`line ${i}`);
      await login.performAsync('hunter2');
    },
    { description: 'Import of 23 November', context: { file: 's3://imports/23' } },
  );
  const workflowId = `batch:${batch.id}`;
  const details = await currentDetails(workflowId);
  expect(details).toMatch(/^### Import of 23 November\n/);
  expect(details).toContain('**failed**');
  expect(details).toContain('| 51 | 20 | 31 | 0 |');
  expect(details).toMatch(/\*\*Failed jobs\*\* \(\d of 31\)/);
  expect(details).toMatch(/\| \d+ \| FailForGood \| HopelessError \| line \d+ cannot succeed \|/);
  expect(details).toContain(String.raw`| 51 | Login | LoginError | The account \| is \*locked\* |`);
  expect(details).toContain('| failure | OnFailure | has ended |');
  expect(details).toContain('| complete | OnComplete | does not run |');
  expect(details).toContain(`npx batch-jobs failed ${batch.id}`);
  expect(details.length).toBeLessThan(3_000);

  const { memo, raw } = await world.client.workflow.getHandle(workflowId).describe();
  expect(memo).toMatchObject({ batchId: batch.id, description: 'Import of 23 November' });
  expect(memo).not.toHaveProperty('parentBatchId');
  const { summary, details: fixed } = raw.executionConfig!.userMetadata!;
  expect(JSON.parse(Buffer.from(summary!.data!).toString())).toBe('Import of 23 November');
  expect(JSON.parse(Buffer.from(fixed!.data!).toString())).toContain('"file": "s3://imports/23"');
});

test('what the Web UI shows has no arguments of jobs, nor has anything else in the history', async () => {
  const { batch } = await runBatch(world, () => login.performAsync('correct horse battery staple'));
  const handle = world.client.workflow.getHandle(`batch:${batch.id}`);
  expect(await currentDetails(handle.workflowId)).toContain('LoginError');
  const json = JSON.stringify((await handle.fetchHistory()).events);
  // Payloads are in it as base64.
  const history = json.replaceAll(/"data":"([^"]*)"/g, (_all, data: string) =>
    Buffer.from(data, 'base64').toString(),
  );
  expect(history).toContain('LoginError');
  expect(history).not.toContain('horse');
});

test('a batch that code of another one created names it in its memo and its details', async () => {
  const outer = await createBatch(world);
  let inner!: Awaited<ReturnType<typeof createBatch>>;
  await outer.jobs(async () => {
    inner = await createBatch(world);
    await world.fixtures.jobs.noop.performAsync(1);
  });
  await inner.jobs(() => world.fixtures.jobs.noop.performAsync(1));
  await Promise.all([outer, inner].map((batch) => batch.wait({ timeout: PATIENCE })));
  const { memo, raw } = await world.client.workflow.getHandle(`batch:${inner.id}`).describe();
  expect(memo).toMatchObject({ batchId: inner.id, parentBatchId: outer.id });
  const fixed = Buffer.from(raw.executionConfig!.userMetadata!.details!.data!).toString();
  expect(fixed).toContain(`batch:${outer.id}`);
});

test('a chunk with jobs that failed before says why they run again', async () => {
  const { batch } = await runBatch(world, ({ failTimes }) => failTimes.performAsync('it', 1));
  expect(await summaries(`batch:${batch.id}`)).toEqual(
    expect.arrayContaining(['job 1', 'job 1 (again: BrokenError: it failed)', 'OnComplete on complete']),
  );
});

test('what is shown is no part of what replays: a history goes on under other texts, and without any', async () => {
  const { batch } = await runBatch(world, async ({ failTimes, failForGood }) => {
    await failTimes.performAsync('it', 1);
    await failForGood.performAsync('it');
  });
  const workflowId = `batch:${batch.id}`;
  const history = await world.client.workflow.getHandle(workflowId).fetchHistory();
  const code = await readFile(inject('workflowBundlePath'), 'utf8');
  const changes: [from: string, to: string][] = [
    ['Where to look next', 'Elsewhere'],
    ['again: ', 'once more: '],
    ['.setCurrentDetails)(', '.setCurrentDetails)("" && '],
  ];
  for (const [from, to] of changes) {
    const changed = code.replaceAll(from, to);
    expect(changed, from).not.toBe(code);
    await expect(
      Worker.runReplayHistory({ workflowBundle: { code: changed } }, history, workflowId),
    ).resolves.toBeUndefined();
  }
});

test('a failed job whose worker was killed before it reported is in the sample, and the chunk says that its worker was lost', async () => {
  await using own = await createWorld();
  const first = await own.spawnWorker();
  const batch = await createBatch(own, { description: 'Its worker is killed' });
  await batch.jobs(async () => {
    await own.fixtures.jobs.failForGood.performAsync('line 1');
    await own.fixtures.jobs.work.performAsync('line 2', 300_000);
  });
  await eventually(async () => expect(await batch.progress()).toMatchObject({ failed: 1, pending: 1 }));
  first.kill('SIGKILL');
  await first.exited;
  await own.startWorker({ jobs: [defineJob('Work', async () => {})] });
  await batch.wait({ timeout: PATIENCE });
  const workflowId = `batch:${batch.id}`;
  expect(await currentDetails(workflowId, own)).toContain(
    '| 1 | FailForGood | HopelessError | line 1 cannot succeed |',
  );
  expect(await summaries(workflowId, own)).toContainEqual(
    expect.stringContaining('(again: the worker that ran them was lost)'),
  );
});
