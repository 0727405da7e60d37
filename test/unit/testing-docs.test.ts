import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { defineCallback, defineJob, type Batch, type BatchClient } from '../../src/index.ts';
import { assertEnrolled, createInlineBatches, forceOutcome } from '../../src/testing/index.ts';

const scoreEntry = defineJob('ScoreEntry', async (_entryId: number) => {});
const rebuildCache = defineCallback('RebuildCache', async () => {});

/** What docs/testing.md calls the app's own code. */
async function rescore(batches: BatchClient, entryIds: number[]): Promise<Batch> {
  const batch = await batches.create({ description: 'Rescore' });
  await batch.on('complete', rebuildCache);
  await batch.jobs(async () => {
    for (const entryId of entryIds) await scoreEntry.performAsync(entryId);
  });
  return batch;
}

// From here to the end: what docs/testing.md shows.
test('the leaderboard is rebuilt when all entries are scored', async () => {
  const batches = createInlineBatches({ jobs: [scoreEntry] });
  const batch = await rescore(batches, [1, 2, 3]); // the app's own code

  await assertEnrolled(batch, scoreEntry, [2]);
  await batches.drain();
  expect(await batch.progress()).toMatchObject({ status: 'complete', complete: 3 });
  expect(await batch.callbacks()).toMatchObject([{ event: 'complete', status: 'completed' }]);
});

test('an entry that cannot be scored fails alone', async () => {
  const failing = forceOutcome(scoreEntry, ({ args: [entryId] }) =>
    entryId === 2 ? { error: new Error('The score service is away') } : undefined,
  );
  const batches = createInlineBatches({ jobs: [failing] });
  const batch = await rescore(batches, [1, 2, 3]);
  await batches.drain();
  expect(await batch.failedJobs()).toMatchObject([{ args: [2], errorMessage: 'The score service is away' }]);
});

// To here.
test('docs/testing.md shows the tests above', () => {
  const [, shown] = readFileSync(new URL(import.meta.url), 'utf8').split(/^\/\/ (?:From here|To here).*\n/m);
  const page = readFileSync(new URL('../../docs/testing.md', import.meta.url), 'utf8');
  expect(page).toContain(shown!.trim());
});
