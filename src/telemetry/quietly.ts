import { diag } from '@opentelemetry/api';

/** An SDK, or a processor of the app's in it, that throws must not end a job or keep a batch from its end. */
export function quietly<T>(observe: () => T): T | undefined {
  try {
    return observe();
  } catch (error) {
    diag.error('temporal-batch-jobs could not be observed', error);
    return undefined;
  }
}
