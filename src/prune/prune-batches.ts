import type { Database } from '../database/connect.ts';
import {
  claimPrunable,
  deleteSlice,
  selectClaimed,
  selectMomentAgo,
  selectPrunable,
  type Prunable,
  type PruneFilter,
} from '../database/prune.ts';
import { withRetry } from '../database/retry.ts';
import { CALLS } from '../timeouts.ts';
import type { PruneResult, ResolvedPruneSelection } from './options.ts';

/** Batches claimed at once. What is claimed is gone for everybody, so that a prune that stops leaves few of them. */
const CLAIM_SIZE = 100;
/** Jobs that one transaction deletes: it takes some 50 ms, and nothing waits long for what it holds. */
export const SLICE_SIZE = 5_000;

export interface PruneHooks {
  readonly onProgress?: ((removed: PruneResult) => void) | undefined;
  /** Asked between transactions: throws to end the prune. What it has claimed is left to the next one. */
  readonly assertWanted?: () => void;
}

/**
 * Removes settled batches and their jobs, in small transactions. Each batch is claimed first, and is no more from then
 * on; then its jobs go in slices, and its row goes last. A prune that dies in between is continued by the next one,
 * whatever that one is asked to remove. Several at once share the work.
 *
 * @returns what this one removed
 * @throws {@link DatabaseUnavailableError}
 */
export async function pruneBatches(
  database: Database,
  filter: PruneFilter,
  { onProgress, assertWanted }: PruneHooks = {},
): Promise<PruneResult> {
  let removed: PruneResult = { batches: 0, jobs: 0 };
  const ask = <T>(query: () => Promise<T>): Promise<T> => {
    assertWanted?.();
    return withRetry(query, { timeoutMs: CALLS.pruneDatabase });
  };
  for await (const batchId of claims()) await remove(batchId);
  return removed;

  /** Batches to remove: what earlier prunes left, then what the filter says. */
  async function* claims(): AsyncGenerator<string> {
    yield* await ask(() => selectClaimed(database, filter.limit));
    for (;;) {
      const limit = Math.min(CLAIM_SIZE, (filter.limit ?? Infinity) - removed.batches);
      const claimed = limit > 0 ? await ask(() => claimPrunable(database, { ...filter, limit })) : [];
      if (claimed.length === 0) return;
      yield* claimed;
    }
  }

  async function remove(batchId: string): Promise<void> {
    for (let after = 0; ;) {
      const slice = await ask(() => deleteSlice(database, batchId, after, SLICE_SIZE));
      // Another prune has it, and goes on with it, or is done with it.
      if (!slice) return;
      removed = { batches: removed.batches + (slice.isLast ? 1 : 0), jobs: removed.jobs + slice.jobs };
      onProgress?.(removed);
      if (slice.isLast) return;
      after = slice.upTo;
    }
  }
}

/** The batches of a selection as of now: those that settle while a prune runs are left to the next one. */
export async function filterOf(
  database: Database,
  { olderThanMs, statuses, limit }: ResolvedPruneSelection,
): Promise<PruneFilter> {
  return { settledBeforeMs: await selectMomentAgo(database, olderThanMs), statuses, limit };
}

/** What a prune would remove. */
export async function countPrunable(database: Database, filter: PruneFilter): Promise<PruneResult> {
  return totalOf(await selectPrunable(database, filter));
}

export function totalOf(outcomes: readonly Prunable[]): PruneResult {
  const sum = (of: 'batches' | 'jobs') => outcomes.reduce((total, outcome) => total + outcome[of], 0);
  return { batches: sum('batches'), jobs: sum('jobs') };
}
