import type { Duration } from '@temporalio/common';
import type { PruneInput } from '../../activities/contract.ts';
import type { BatchOutcome } from '../../workflows/batch-state.ts';
import { InvalidOptionError } from '../errors.ts';
import { assertKnownKeys, assertName, assertPlainObject, assertWholeNumber, resolveAge } from '../options.ts';

/** Which batches go: options of `BatchClient.prune` and `BatchClient.schedulePrune`. */
export interface PruneSelection {
  /** Remove at most so many batches, those first that settled first. @default no limit */
  readonly limit?: number;
  /** Remove batches that settled longer ago than this. Up to 100 years. */
  readonly olderThan: Duration;
  /** Remove batches of these outcomes. @default all three */
  readonly status?: BatchOutcome | readonly BatchOutcome[];
}

/** Options of `BatchClient.prune`. */
export interface PruneOptions extends PruneSelection {
  /** Count what would go, and remove nothing. @default false */
  readonly dryRun?: boolean;
  /** Told after each transaction how much is gone by then. @default nobody is told */
  readonly onProgress?: (removed: PruneResult) => void;
}

/** Options of `BatchClient.schedulePrune`. */
export interface PruneScheduleOptions extends PruneSelection {
  /** How often; at least a minute. @default '1 day' */
  readonly every?: Duration;
  /** The schedule's id in Temporal. @default 'prune:' and the client's task queue */
  readonly scheduleId?: string;
}

/** What a prune removed, or would remove. */
export interface PruneResult {
  readonly batches: number;
  readonly jobs: number;
}

export const OUTCOMES: readonly BatchOutcome[] = ['complete', 'failed', 'cancelled'];

const SELECTION_KEYS = ['limit', 'olderThan', 'status'];
const MIN_EVERY_MS = 60_000;

/** {@link PruneSelection} with defaults, in milliseconds. */
export interface ResolvedPruneSelection {
  readonly olderThanMs: number;
  readonly statuses: readonly BatchOutcome[];
  /** Null: no limit. */
  readonly limit: number | null;
}

export interface ResolvedPruneOptions {
  readonly selection: ResolvedPruneSelection;
  readonly dryRun: boolean;
  readonly onProgress: ((removed: PruneResult) => void) | undefined;
}

/** @throws {@link InvalidOptionError} */
export function resolvePruneOptions(options: PruneOptions): ResolvedPruneOptions {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, [...SELECTION_KEYS, 'dryRun', 'onProgress']);
  const { dryRun = false, onProgress } = options;
  if (typeof dryRun !== 'boolean') throw new InvalidOptionError('dryRun', 'true or false', dryRun);
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw new InvalidOptionError('onProgress', 'a function', onProgress);
  }
  return { selection: resolveSelection(options), dryRun, onProgress };
}

export interface ResolvedPruneSchedule {
  readonly everyMs: number;
  readonly scheduleId: string;
  /** As given, and valid: people read it in the Web UI. */
  readonly input: PruneInput;
}

/** @throws {@link InvalidOptionError} */
export function resolvePruneSchedule(
  options: PruneScheduleOptions,
  taskQueue: string,
): ResolvedPruneSchedule {
  assertPlainObject('options', options);
  assertKnownKeys('options', options, [...SELECTION_KEYS, 'every', 'scheduleId']);
  const { every = '1 day', limit, olderThan, scheduleId } = options;
  const { statuses } = resolveSelection(options);
  const everyMs = resolveAge('every', every);
  if (everyMs < MIN_EVERY_MS) throw new InvalidOptionError('every', 'at least 1 minute', every);
  return {
    everyMs,
    scheduleId: resolveScheduleId(scheduleId, taskQueue),
    input: { olderThan, status: statuses, ...(limit === undefined ? {} : { limit }) },
  };
}

/** @throws {@link InvalidOptionError} */
export function resolveScheduleId(scheduleId: string | undefined, taskQueue: string): string {
  if (scheduleId !== undefined) assertName('scheduleId', scheduleId);
  return scheduleId ?? `prune:${taskQueue}`;
}

function resolveSelection({ limit, olderThan, status = OUTCOMES }: PruneSelection): ResolvedPruneSelection {
  if (limit !== undefined) assertWholeNumber('limit', limit, 1);
  const statuses = [status].flat();
  if (statuses.length === 0 || statuses.some((one) => !OUTCOMES.includes(one))) {
    throw new InvalidOptionError('status', `one or several of ${OUTCOMES.join(', ')}`, status);
  }
  return { olderThanMs: resolveAge('olderThan', olderThan), statuses, limit: limit ?? null };
}
