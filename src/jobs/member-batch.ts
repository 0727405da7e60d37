import type { JobTarget } from '../client/submit.ts';
import { resolveJobOptions } from './job-options.ts';

/** Names that begin so are the library's. */
export const RESERVED_PREFIX = 'batch-jobs:';

/** What the rows call a batch that is a job of another one; its only argument is its id. No worker runs it. */
export const MEMBER_BATCH = {
  name: `${RESERVED_PREFIX}Batch`,
  options: resolveJobOptions('a member batch'),
  isOverridden: false,
} as const;

/** The job that a batch is in another one. */
export function memberTarget(memberId: string): JobTarget {
  return { ...MEMBER_BATCH, memberId };
}
