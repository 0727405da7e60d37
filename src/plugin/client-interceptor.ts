import type { ClientInterceptors } from '@temporalio/client';

export interface ClientInterceptorOptions {
  /** That of the client. @default 'default' */
  readonly namespace?: string;
}

/**
 * What `BatchPlugin` gives to a client, for clients that are put together by hand. Put them first: an interceptor that
 * comes later and refuses a start then has the last word.
 */
export function batchClientInterceptors(_options: ClientInterceptorOptions = {}) {
  return { workflow: [], schedule: [] } satisfies ClientInterceptors;
}
