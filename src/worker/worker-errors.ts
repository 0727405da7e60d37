import { TransportError } from '@temporalio/worker';
import { NamespaceUnknownError, TemporalAccessDeniedError, TemporalUnavailableError } from '../errors.ts';

/** Our error for what Temporal's worker throws when the server does not let it in: it has the gRPC status as text. */
export function toWorkerError(namespace: string, error: unknown): unknown {
  if (!(error instanceof TransportError)) return error;
  const { message } = error;
  const options = { cause: error };
  if (/NamespaceNotFoundFailure|code: NotFound/.test(message)) {
    return new NamespaceUnknownError(
      'NAMESPACE_UNKNOWN',
      `The worker was not started: Temporal has no namespace "${namespace}". Check createBatchWorker({ namespace }) and the address, or create the namespace.`,
      options,
    );
  }
  if (/code: (PermissionDenied|Unauthenticated)/.test(message)) {
    return new TemporalAccessDeniedError(
      'TEMPORAL_ACCESS_DENIED',
      `The worker was not started: Temporal denied access to namespace "${namespace}". Check the API key or certificate of its connection.`,
      options,
    );
  }
  return new TemporalUnavailableError(
    'TEMPORAL_UNAVAILABLE',
    `The worker was not started: Temporal did not answer (${message}). Check the address, TLS and that the server runs.`,
    options,
  );
}
