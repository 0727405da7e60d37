import { ContextLostError } from '../errors.ts';
import { isRunOutsideEnrollment } from './enrollment-context.ts';
import type { Enrollment } from './enrollment.ts';

/** Blocks and jobs of this process while a block was open. Both are bounded: a block may be open for days. */
export interface Beside {
  /** Blocks of other batches that were open at the same time, by batch id. */
  readonly blocks: Map<string, Enrollment>;
  /** Jobs that were started outside of any block. */
  readonly plainJids: Set<string>;
}

const MAX_BLOCKS = 1_000;
const MAX_PLAIN_JIDS = 10_000;

const open = new Set<Enrollment>();

/** From now on the block is open in this process. */
export function noteOpened(enrollment: Enrollment): void {
  for (const other of open) {
    if (other.batchId === enrollment.batchId) continue;
    note(enrollment, other);
    note(other, enrollment);
  }
  open.add(enrollment);
}

export function noteClosed(enrollment: Enrollment): void {
  open.delete(enrollment);
}

/** A job was started outside of any block, by code that may not know that it is. */
export function notePlainStart(jid: string): void {
  if (isRunOutsideEnrollment()) return;
  for (const { beside } of open) if (beside.plainJids.size < MAX_PLAIN_JIDS) beside.plainJids.add(jid);
}

/** Batches other than this one whose blocks are open in this process. */
export function othersOpen(batchId: string): string[] {
  return [...new Set([...open].map((enrollment) => enrollment.batchId))].filter((id) => id !== batchId);
}

/** Describes, for a message, other jobs and blocks of the process while the block was open; empty if there were none. */
export function describeBeside({ beside: { blocks, plainJids } }: Enrollment): string {
  const others = [
    ...(plainJids.size > 0 ? [`${plainJids.size} jobs were started outside of any block`] : []),
    ...(blocks.size > 0 ? [`blocks of other batches were open (${list([...blocks.keys()])})`] : []),
  ];
  if (others.length === 0) return '';
  return ` Meanwhile, in this process, ${others.join(', and ')}: ${MIXED_CONTEXT}`;
}

/** The advice of every message about a lost or mixed context. */
export const MIXED_CONTEXT =
  'a queue, pool or listener that outlives a block may run its tasks in the context of other code. ' +
  'Start its jobs with the block itself: jobs(async (block) => { … block.perform(job, ...args) … }).';

export function list(batchIds: readonly string[]): string {
  const named = batchIds.slice(0, 3).map((id) => `"${id}"`);
  return [...named, ...(batchIds.length > 3 ? [`${batchIds.length - 3} more`] : [])].join(', ');
}

/**
 * A block often returns the jids of its jobs. Jids of other batches, or of jobs without a batch, show that they were
 * started in another context. The start itself does not show it: a task that a queue runs in the context of another block
 * looks like a task of that block.
 *
 * @throws {@link ContextLostError}
 */
export function assertOwnJobs({ batchId, beside }: Enrollment, returned: unknown): void {
  if (beside.blocks.size === 0 && beside.plainJids.size === 0) return;
  // `Promise.all` of `performAsync`, and of `performBulk`.
  const values: unknown[] = [returned].flat(3);
  const stray = values.filter((value) => typeof value === 'string' && isStray(beside, value)) as string[];
  if (stray.length > 0) throw new ContextLostError(batchId, stray, MIXED_CONTEXT);
}

function isStray({ blocks, plainJids }: Beside, value: string): boolean {
  if (plainJids.has(value)) return true;
  const slash = value.lastIndexOf('/');
  if (slash < 0 || !/^\d+$/.test(value.slice(slash + 1))) return false;
  const other = blocks.get(value.slice(0, slash));
  // Jobs that were started with the block itself are where the app wants them.
  return other !== undefined && !other.isExplicit;
}

function note({ beside }: Enrollment, other: Enrollment): void {
  if (beside.blocks.size < MAX_BLOCKS) beside.blocks.set(other.batchId, other);
}
