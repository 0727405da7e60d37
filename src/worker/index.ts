export { createBatchWorker, type BatchWorker } from './create-worker.ts';
export { failureConverterPath } from './encoded-failures.ts';
export { workflowsPath, type BatchWorkerOptions } from './worker-options.ts';
export {
  batchWorkerInterceptors,
  type BatchWorkerInterceptors,
  type WorkerInterceptorOptions,
} from '../plugin/worker-interceptor.ts';
export { workflowInterceptorModules } from '../plugin/workflow-modules.ts';
