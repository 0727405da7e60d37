export { assertEnrolled, assertNotEnrolled, enrolledJobs } from './assertions.ts';
export { InlineUnsupportedError } from './errors.ts';
export { forceOutcome, type ForcedCall, type ForcedOutcome } from './force-outcome.ts';
export {
  createInlineBatches,
  type DrainResult,
  type InlineBatches,
  type InlineBatchesOptions,
} from './inline-batches.ts';
export { performJob, type PerformJobOptions } from './job-calls.ts';
