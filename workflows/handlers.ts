import { ApplicationFailure, type SignalDefinition } from '@temporalio/common';
import { CancellationScope, log, setHandler } from '@temporalio/workflow';
import type { Refusal } from './batch-state.ts';

/**
 * Temporal's own cancellation, from the Web UI for example, changes nothing: half of a batch would be cancelled, and
 * its rows would say that it runs. Handlers and what they start run in the workflow's root scope, so each is shielded.
 */
export function shielded<T>(run: () => Promise<T>): Promise<T> {
  return CancellationScope.nonCancellable(run);
}

/** A signal without a message, which anybody can send, must not fail the workflow's task for ever. */
export function onSignal<T extends object>(
  signal: SignalDefinition<[T]>,
  handle: (message: T) => void,
): void {
  setHandler(signal, (message) => {
    if (typeof message === 'object' && message !== null) handle(message);
    else log.warn('A signal without a message was ignored', { signal: signal.name });
  });
}

/** In a validator: the update leaves no trace in the history, and its caller gets the code. */
export function refuseIf(refusal: Refusal | undefined): void {
  if (refusal) throw ApplicationFailure.nonRetryable(refusal.message, refusal.code);
}
