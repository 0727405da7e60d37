export { batch } from './batch.ts';
export { plainJob } from './plain-job.ts';
export { batchRunner } from './runner.ts';
