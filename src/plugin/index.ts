import type { ClientInterceptors, ClientOptions, ClientPlugin } from '@temporalio/client';
import { batchClientInterceptors, hasEnrolling } from './client-interceptor.ts';

export { batchClientInterceptors, type ClientInterceptorOptions } from './client-interceptor.ts';

/**
 * Makes workflows jobs of batches. On a client: each workflow that it starts inside an enrolment block becomes a job of
 * that batch.
 *
 * @example
 * const client = new Client({ connection, plugins: [new BatchPlugin()] });
 */
export class BatchPlugin implements ClientPlugin {
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
