import { ApplicationFailure, type SignalDefinition } from '@temporalio/common';
import { CancellationScope, condition, log, setHandler } from '@temporalio/workflow';
import type { Refusal } from './batch-state.ts';

/** One for all: a scope costs seven promises, and the sandbox records of each where it was made. */
let shield: CancellationScope | undefined;

/**
 * Temporal's own cancellation, from the Web UI for example, changes nothing: half of a batch would be cancelled, and
 * its rows would say that it runs. Handlers and what they start run in the workflow's root scope, so each is shielded.
 */
export function shielded<T>(run: () => Promise<T>): Promise<T> {
  shield ??= new CancellationScope({ cancellable: false });
  return shield.run(run);
}

/** Waits for a condition, if it is not true already: a wait costs four promises. */
export function untilTrue(isTrue: () => boolean): Promise<void> | undefined {
  return isTrue() ? undefined : condition(isTrue);
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
