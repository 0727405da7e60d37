export { batch } from './batch.ts';
export { batchStep } from './batch-step.ts';
export { batchCallback } from './callback.ts';
export {
  executeBatch,
  type ExecuteBatchOptions,
  type ExecuteBatchResult,
  type StepJob,
  type StepJobOf,
} from './execute-batch.ts';
export { plainJob } from './plain-job.ts';
export { pruneBatches } from './prune.ts';
export { batchRunner } from './runner.ts';
