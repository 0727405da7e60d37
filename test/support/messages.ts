import type { Client } from '@temporalio/client';
import type { SealMessage } from '../../workflows/messages.ts';
import { decoded, runsOf } from './histories.ts';

/** A signal as a batch's workflow received it, to be sent again. */
export interface SentSignal {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** The signals that the batch's workflow received, in order. */
export async function signalsOf(client: Client, batchId: string): Promise<SentSignal[]> {
  const runs = await runsOf(client, `batch:${batchId}`);
  return runs.flatMap(({ history }) =>
    history.events!.flatMap(({ workflowExecutionSignaledEventAttributes: signal }) =>
      signal ? [{ name: signal.signalName!, args: decoded(signal.input?.payloads) }] : [],
    ),
  );
}

/** The message of the update that sealed the batch, or undefined while its block is open. */
export async function sealMessageOf(client: Client, batchId: string): Promise<SealMessage | undefined> {
  const [message] = await updatesOf(client, batchId, 'seal');
  return message as SealMessage | undefined;
}

/** The first argument of each update of this name that the batch accepted. */
export async function updatesOf(client: Client, batchId: string, name: string): Promise<unknown[]> {
  const { events } = await client.workflow.getHandle(`batch:${batchId}`).fetchHistory();
  return (events ?? []).flatMap(({ workflowExecutionUpdateAcceptedEventAttributes: update }) => {
    const input = update?.acceptedRequest?.input;
    return input?.name === name ? [decoded(input.args?.payloads)[0]] : [];
  });
}
