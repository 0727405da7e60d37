import { setTimeout as delay } from 'node:timers/promises';
import type { BatchClient, BatchProgress } from '../../src/index.ts';
import type { City } from './cities.ts';
import { publishLeaderboard, publishPartialLeaderboard, scoreCity } from './jobs.ts';

export interface BatchPlan {
  readonly id: string;
  readonly description: string;
  readonly cities: readonly City[];
  readonly expectedStatus: 'complete' | 'failed';
}

const POLL_INTERVAL_MS = 100;

/**
 * Runs a batch from its creation until its callback has ended.
 *
 * @param onProgress is called about ten times a second
 * @returns how long it took, in seconds
 */
export async function runBatch(
  batches: BatchClient,
  plan: BatchPlan,
  onProgress: (progress: BatchProgress) => void,
): Promise<number> {
  const startedAt = performance.now();
  const batch = await batches.create({
    id: plan.id,
    description: plan.description,
    context: { cities: plan.cities.length },
  });
  await batch.on('complete', publishLeaderboard);
  await batch.on('failure', publishPartialLeaderboard);

  const run = async () => {
    // Jobs start while this still enrols.
    await batch.jobs(async () => {
      for (const city of plan.cities) await scoreCity.performAsync(city.cityId);
    });
    await batch.wait({ timeout: '15 minutes' });
    return (performance.now() - startedAt) / 1_000;
  };
  const running = run();
  for (;;) {
    const isOver = await Promise.race([running.then(() => true), delay(POLL_INTERVAL_MS, false)]);
    onProgress(await batch.progress());
    if (isOver) return running;
  }
}
