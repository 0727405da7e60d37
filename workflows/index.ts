export { batch } from './batch.ts';
export { batchCallback } from './callback.ts';
export { plainJob } from './plain-job.ts';
export { pruneBatches } from './prune.ts';
export { batchRunner } from './runner.ts';
