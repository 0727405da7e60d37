import { ServiceError, WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import {
  NamespaceNotFoundError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/common';
import { expect, test } from 'vitest';
import { isRefusedStart } from '../../src/client/start-errors.ts';

const status = (code: number, details = '') =>
  Object.assign(new Error(details), { code, details, metadata: {} });
const wrapped = (code: number, details?: string) =>
  new ServiceError('Failed to start Workflow', { cause: status(code, details) });

test.each([
  ['already started', new WorkflowExecutionAlreadyStartedError('started', 'w', 't')],
  ['a namespace that is not there', new NamespaceNotFoundError('elsewhere')],
  ['INVALID_ARGUMENT', wrapped(3)],
  ['PERMISSION_DENIED', wrapped(7)],
  ['UNAUTHENTICATED', wrapped(16)],
  ['a message that is too large', wrapped(8, 'grpc: received message larger than max (5 vs. 4)')],
  ['an interceptor’s own error', new Error('seen before')],
  ['what is no error', 'no'],
])('%s is a refusal', (_what, error) => {
  expect(isRefusedStart(error, { hasUpdate: false })).toBe(true);
  expect(isRefusedStart(error, { hasUpdate: true })).toBe(true);
});

test.each([
  ['CANCELLED', wrapped(1)],
  ['UNKNOWN', wrapped(2)],
  ['DEADLINE_EXCEEDED', wrapped(4)],
  ['a server that is busy', wrapped(8, 'namespace rate limit exceeded')],
  ['ABORTED', wrapped(10)],
  ['INTERNAL', wrapped(13)],
  ['UNAVAILABLE', wrapped(14)],
  ['a bare UNAVAILABLE', status(14)],
  ['a connection that broke', new ServiceError('Unexpected error', { cause: new Error('reset') })],
  ['an update that was not answered', new WorkflowUpdateRPCTimeoutOrCancelledError('late')],
])('%s leaves open whether it was started', (_what, error) => {
  expect(isRefusedStart(error, { hasUpdate: false })).toBe(false);
  expect(isRefusedStart(error, { hasUpdate: true })).toBe(false);
});

test.each([
  ['NOT_FOUND', wrapped(5)],
  ['FAILED_PRECONDITION', wrapped(9)],
  ['what the client makes of NOT_FOUND', new WorkflowNotFoundError('gone', 'w', undefined)],
])('%s is a refusal of a start alone; of one with an update it may be the update’s', (_what, error) => {
  expect(isRefusedStart(error, { hasUpdate: false })).toBe(true);
  expect(isRefusedStart(error, { hasUpdate: true })).toBe(false);
});
