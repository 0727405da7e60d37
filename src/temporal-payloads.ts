import type { Client } from '@temporalio/client';
import { defaultPayloadConverter, type Payload } from '@temporalio/common';
import type { Execution } from './database/executions.ts';
import type { HistoryEvent } from './temporal-history.ts';

/** A failure as histories have it. */
export type TemporalFailure = NonNullable<
  NonNullable<HistoryEvent['workflowExecutionFailedEventAttributes']>['failure']
>;

/** How a payload is encoded, as its metadata says: `json/plain`, or the name that a codec gives. */
export function encodingOf({ metadata }: Payload): string {
  const encoding = metadata?.['encoding'];
  return encoding ? Buffer.from(encoding).toString() : '';
}

/** Whether a client writes payloads that only its codecs can read. */
export function hasCodecs(client: Client): boolean {
  return client.options.loadedDataConverter.payloadCodecs.length > 0;
}

/** Whether a payload can be read without a codec. */
export function isPlain(payload: Payload): boolean {
  try {
    defaultPayloadConverter.fromPayload(payload);
    return true;
  } catch {
    return false;
  }
}

/**
 * What a payload of a workflow or an activity holds, by the codecs and the converter of a client.
 *
 * @throws what they throw for a payload that is not theirs
 */
export async function readPayload(
  client: Client,
  { kind, id }: Execution,
  payload: Payload,
): Promise<unknown> {
  const { loadedDataConverter, namespace } = client.options;
  const context =
    kind === 'workflow'
      ? ({ type: kind, namespace, workflowId: id } as const)
      : ({ type: kind, namespace, activityId: id, isLocal: false } as const);
  let payloads = [payload];
  for (const codec of loadedDataConverter.payloadCodecs.toReversed())
    payloads = await codec.decode(payloads, context);
  return loadedDataConverter.payloadConverter.fromPayload(payloads[0]!, context);
}

/**
 * A failure with its messages, which may be encoded. Those that the client cannot read stay as they are: "Encoded
 * failure".
 */
export async function readFailure(
  client: Client,
  execution: Execution,
  failure: TemporalFailure,
): Promise<TemporalFailure> {
  const cause = failure.cause ? await readFailure(client, execution, failure.cause) : failure.cause;
  const message = await readMessage(client, execution, failure);
  return {
    ...failure,
    ...(cause === undefined ? {} : { cause }),
    ...(message === undefined ? {} : { message }),
  };
}

async function readMessage(
  client: Client,
  execution: Execution,
  { encodedAttributes }: TemporalFailure,
): Promise<string | undefined> {
  if (!encodedAttributes) return undefined;
  try {
    const attributes = await readPayload(client, execution, encodedAttributes);
    const { message } = (attributes ?? {}) as { readonly message?: unknown };
    return typeof message === 'string' ? message : undefined;
  } catch {
    return undefined;
  }
}

/** The encoding that an error complains about which a converter has thrown for a payload that is not its own. */
export function unknownEncoding(error: unknown): string | undefined {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const encoding = encodingIn(cause.message);
    if (encoding !== undefined) return encoding;
  }
  return undefined;
}

/** The same, of the message of such an error. */
export function encodingIn(message: string): string | undefined {
  return /^(?:ValueError: )?Unknown encoding: (.+)$/m.exec(message)?.[1];
}

/** The first argument that a workflow's newest run was started with. @returns undefined: there is no such run, or it has none */
export async function firstPayload(client: Client, workflowId: string): Promise<Payload | undefined> {
  const { history } = await client.workflowService.getWorkflowExecutionHistory({
    namespace: client.options.namespace,
    execution: { workflowId },
    maximumPageSize: 1,
  });
  return history?.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0];
}
