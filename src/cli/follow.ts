import { setTimeout as delay } from 'node:timers/promises';
import type { Database } from '../database/connect.ts';
import { selectOverview, type BatchOverview } from '../database/overview.ts';
import { withRetry } from '../database/retry.ts';
import { BatchNotFoundError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';

const INTERVAL_MS = 1_000;

/**
 * Where a batch stands, now and every second until it is over. One row by its primary key each time.
 *
 * @throws {@link BatchNotFoundError} also when it goes meanwhile @throws {@link DatabaseUnavailableError}
 */
export async function* followBatch(
  database: Database,
  batchId: string,
  intervalMs = INTERVAL_MS,
): AsyncGenerator<BatchOverview, void, undefined> {
  for (;;) {
    const askedAt = performance.now();
    const overview = await withRetry(async () => selectOverview(database, batchId), {
      timeoutMs: CALLS.follow,
    });
    if (!overview) throw new BatchNotFoundError(batchId);
    yield overview;
    if (isOver(overview)) return;
    // From question to question. One that takes long is a reason not to ask more often.
    await delay(Math.max(intervalMs / 2, intervalMs - (performance.now() - askedAt)));
  }
}

/** Whether all jobs are terminal and all callbacks that follow from it have ended. */
export function isOver({ settledAt, callbacks }: Pick<BatchOverview, 'settledAt' | 'callbacks'>): boolean {
  return settledAt !== null && !Object.values(callbacks ?? {}).some(isPending);
}

function isPending({ status }: { readonly status: string }): boolean {
  return status === 'scheduled' || status === 'running';
}
