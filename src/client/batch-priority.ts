import type { Priority } from '@temporalio/common';
import { InvalidOptionError } from '../errors.ts';
import { isStorable } from '../json-value.ts';
import { assertKnownKeys, assertPlainObject } from '../options.ts';

/**
 * Which of the tasks that wait in one task queue go first. Names and meanings are Temporal's. A server without support
 * for priority or fairness ignores them.
 */
export interface BatchPriority {
  /**
   * Batches of one key, for example a tenant's id, share the workers with those of another, however many jobs each
   * has: up to 64 bytes.
   * @default none
   */
  readonly fairnessKey?: string;
  /** The share of the key beside others: 0.001 to 1000. @default 1 */
  readonly fairnessWeight?: number;
  /** From 1, which goes first, to a maximum that the server sets, by default 5. @default 3, the middle */
  readonly priorityKey?: number;
}

const MAX_FAIRNESS_KEY_BYTES = 64;
/** Temporal would clamp to these in silence. */
const FAIRNESS_WEIGHTS = { min: 0.001, max: 1_000 };
/** It travels in 32 bits. */
const MAX_PRIORITY_KEY = 2 ** 31 - 1;

/** What is given, checked. @throws {@link InvalidOptionError} */
export function resolvePriority(priority: BatchPriority): Priority {
  assertPlainObject('priority', priority);
  assertKnownKeys('priority', priority, ['fairnessKey', 'fairnessWeight', 'priorityKey']);
  const { fairnessKey, fairnessWeight, priorityKey } = priority;
  if (fairnessKey !== undefined) assertFairnessKey(fairnessKey);
  if (fairnessWeight !== undefined) assertFairnessWeight(fairnessWeight);
  if (priorityKey !== undefined) assertPriorityKey(priorityKey);
  return {
    ...(fairnessKey === undefined ? {} : { fairnessKey }),
    ...(fairnessWeight === undefined ? {} : { fairnessWeight }),
    ...(priorityKey === undefined ? {} : { priorityKey }),
  };
}

function assertFairnessKey(value: unknown): void {
  const isKey = typeof value === 'string' && value !== '' && isStorable(value);
  if (isKey && Buffer.byteLength(value) <= MAX_FAIRNESS_KEY_BYTES) return;
  const expected = `a non-empty string of at most ${MAX_FAIRNESS_KEY_BYTES} bytes`;
  throw new InvalidOptionError('priority.fairnessKey', expected, value);
}

function assertPriorityKey(value: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= MAX_PRIORITY_KEY) return;
  throw new InvalidOptionError('priority.priorityKey', `a whole number from 1 to ${MAX_PRIORITY_KEY}`, value);
}

function assertFairnessWeight(value: unknown): void {
  const { min, max } = FAIRNESS_WEIGHTS;
  if (typeof value === 'number' && value >= min && value <= max) return;
  throw new InvalidOptionError('priority.fairnessWeight', `a number from ${min} to ${max}`, value);
}
