export { createBatchWorker, type BatchWorker } from './create-worker.ts';
export { workflowsPath, type BatchWorkerOptions } from './worker-options.ts';
