import { TransportError } from '@temporalio/worker';
import { expect, test } from 'vitest';
import { toWorkerError } from '../../src/worker/worker-errors.ts';

test.each([
  ['Status { code: NotFound, message: "Namespace n is not found." }', 'NAMESPACE_UNKNOWN', 'namespace "n"'],
  ['Status { code: PermissionDenied, message: "no" }', 'TEMPORAL_ACCESS_DENIED', 'API key'],
  ['Status { code: Unauthenticated, message: "no" }', 'TEMPORAL_ACCESS_DENIED', 'API key'],
  ['Status { code: Unavailable, message: "tcp connect error" }', 'TEMPORAL_UNAVAILABLE', 'tcp connect error'],
])('a worker that Temporal refuses with %s gets %s', (message, code, says) => {
  const cause = new TransportError(message);
  const error = toWorkerError('n', cause);
  expect(error).toMatchObject({ code, cause, message: expect.stringContaining(says) });
});

test('other errors of a worker stay as they are', () => {
  const error = new TypeError('no');
  expect(toWorkerError('n', error)).toBe(error);
});
