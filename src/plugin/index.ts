import type { ClientInterceptors, ClientOptions, ClientPlugin } from '@temporalio/client';
import type {
  BundleOptions,
  BundlerPlugin,
  ReplayWorkerOptions,
  Worker,
  WorkerOptions,
  WorkerPlugin,
} from '@temporalio/worker';
import { batchClientInterceptors, hasEnrolling } from './client-interceptor.ts';
import { EndReporter } from './reporter.ts';
import { workflowInterceptorModules } from './workflow-modules.ts';

export { batchClientInterceptors, type ClientInterceptorOptions } from './client-interceptor.ts';

/**
 * Makes workflows jobs of batches. On a client: each workflow, and each activity without one, that it starts inside an
 * enrolment block becomes a job of that batch. On a worker: its workflows that are jobs report their end, so that the batch need not find it by looking.
 * Installed twice it acts once.
 *
 * @example
 * const client = new Client({ connection, plugins: [new BatchPlugin()] });
 * const worker = await Worker.create({ connection, taskQueue, workflowsPath, plugins: [new BatchPlugin()] });
 */
export class BatchPlugin implements ClientPlugin, WorkerPlugin, BundlerPlugin {
  get name(): string {
    return 'temporal-batch-jobs';
  }

  configureClient(options: Omit<ClientOptions, 'plugins'>): Omit<ClientOptions, 'plugins'> {
    const { namespace, interceptors = {} } = options;
    const ours = batchClientInterceptors(namespace === undefined ? {} : { namespace });
    const workflow = withOurs(ours.workflow, interceptors.workflow);
    // Installed twice, on a client and on its connection for example, it acts once.
    if (!workflow) return options;
    return {
      ...options,
      interceptors: {
        ...interceptors,
        workflow,
        schedule: [...ours.schedule, ...(interceptors.schedule ?? [])],
        activity: [...ours.activity, ...(interceptors.activity ?? [])],
      },
    };
  }

  /** @throws {@link InvalidOptionError} for a bundle that was made without this plugin */
  async configureWorker(options: WorkerOptions): Promise<WorkerOptions> {
    // Clients have no worker, and need not load one.
    const { withReporter } = await import('./worker-interceptor.ts');
    return withReporter(options);
  }

  configureBundler(options: BundleOptions): BundleOptions {
    const modules = options.workflowInterceptorModules ?? [];
    const missing = workflowInterceptorModules.filter((module) => !modules.includes(module));
    return { ...options, workflowInterceptorModules: [...modules, ...missing] };
  }

  /** A replay tells nobody. The sink is there because the workflows call it. */
  configureReplayWorker(options: ReplayWorkerOptions): ReplayWorkerOptions {
    if (options.sinks?.['batchJobs']) return options;
    return { ...options, sinks: { ...options.sinks, batchJobs: { ended: { fn: () => {} } } } };
  }

  async runWorker(worker: Worker, next: (worker: Worker) => Promise<void>): Promise<void> {
    const reporter = worker.options.sinks?.['batchJobs']?.['ended'];
    if (!(reporter instanceof EndReporter)) return next(worker);
    reporter.start(() => worker.client);
    try {
      await next(worker);
    } finally {
      await reporter.close();
    }
  }
}

type Ours = ReturnType<typeof batchClientInterceptors>['workflow'];

/** Ours first, so that the others have the last word. @returns undefined if they are there already */
function withOurs(
  ours: Ours,
  others: ClientInterceptors['workflow'] = [],
): ClientInterceptors['workflow'] | undefined {
  if (Array.isArray(others)) return hasEnrolling(others) ? undefined : [...ours, ...others];
  // The older form: functions that make an interceptor for each workflow.
  const { calls = [] } = others;
  const id = { workflowId: '' };
  if (hasEnrolling(calls.map((make) => make(id)))) return undefined;
  return { calls: [...ours.map((interceptor) => () => interceptor), ...calls] };
}
