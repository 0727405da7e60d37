import { Client, type ClientInterceptors } from '@temporalio/client';
import type { DataConverter } from '@temporalio/common';
import { Runtime, type InjectedSinks, type NativeConnection, type WorkerOptions } from '@temporalio/worker';
import { BUNDLE_TAG, type ReportSinks } from '../../workflows/report-end.ts';
import { assertTagged } from '../bundle-tag.ts';
import { EndReporter } from './reporter.ts';
import { workflowInterceptorModules } from './workflow-modules.ts';

export interface WorkerInterceptorOptions {
  /** The worker's. */
  readonly connection: NativeConnection;
  /** The worker's: what it tells batches goes through its codecs, too. @default Temporal's */
  readonly dataConverter?: DataConverter;
  /** The worker's. @default Temporal's */
  readonly identity?: string;
  /** The worker's `interceptors.client`. @default none */
  readonly interceptors?: ClientInterceptors;
  /** The worker's. @default 'default' */
  readonly namespace?: string;
}

/** What a worker needs so that its workflows report their end. */
export interface BatchWorkerInterceptors extends AsyncDisposable {
  /** For `interceptors.workflowModules`; with a bundle made ahead, for `workflowInterceptorModules` of that. */
  readonly workflowModules: string[];
  /** For `sinks`. */
  readonly sinks: InjectedSinks<ReportSinks>;
  /** Ends what is under way, in about a second or not at all. Call it when `worker.run()` has ended. */
  close(): Promise<void>;
}

/**
 * What `BatchPlugin` gives to a worker, for workers that are put together by hand.
 *
 * @example
 * const reports = batchWorkerInterceptors({ connection });
 * const worker = await Worker.create({
 *   connection,
 *   taskQueue: 'orders',
 *   workflowsPath,
 *   interceptors: { workflowModules: reports.workflowModules },
 *   sinks: reports.sinks,
 * });
 * await worker.run();
 * await reports.close();
 */
export function batchWorkerInterceptors(options: WorkerInterceptorOptions): BatchWorkerInterceptors {
  const client = new Client({ namespace: 'default', ...options });
  const reporter = createReporter();
  reporter.start(() => client);
  return {
    workflowModules: workflowInterceptorModules,
    sinks: { batchJobs: { ended: reporter } },
    close: () => reporter.close(),
    [Symbol.asyncDispose]: () => reporter.close(),
  };
}

/**
 * Options of a worker with the sink. Unchanged where they have one, and where the worker runs no workflows.
 *
 * @throws {@link InvalidOptionError} for a bundle made without the interceptor: its workflows would report nothing
 */
export async function withReporter(options: WorkerOptions): Promise<WorkerOptions> {
  if (!options.workflowsPath && !options.workflowBundle) return options;
  if (options.workflowBundle) await assertReports(options.workflowBundle);
  if (options.sinks?.['batchJobs']) return options;
  return { ...options, sinks: { ...options.sinks, batchJobs: { ended: createReporter() } } };
}

function createReporter(): EndReporter {
  return new EndReporter((message, attributes) => Runtime.instance().logger.debug(message, attributes));
}

function assertReports(bundle: NonNullable<WorkerOptions['workflowBundle']>): Promise<void> {
  return assertTagged(
    bundle,
    BUNDLE_TAG,
    'made with BatchPlugin, too',
    'Its workflows would not report their end. Make it by bundleWorkflowCode({ …, plugins: [new BatchPlugin()] }), ' +
      'or leave the plugin out of this worker.',
  );
}
