import { isGrpcServiceError, type Client } from '@temporalio/client';
import type { Payload } from '@temporalio/common';
import { batchWorkflowId } from '../client/batch-client.ts';
import { toBatchError } from '../client/temporal-errors.ts';
import { CodecMismatchError, CodecUnavailableError } from '../errors.ts';
import { CALLS } from '../timeouts.ts';
import { encodingOf, firstPayload, hasCodecs, readPayload } from '../temporal-payloads.ts';

/** A gRPC status code. */
const NOT_FOUND: readonly number[] = [5];

/**
 * Called before a command changes a batch: one that cannot read the batch's payloads would not understand the answer,
 * and write in clear text what the app encodes.
 *
 * @throws {@link CodecMismatchError} @throws {@link CodecUnavailableError}
 */
export async function assertReadable(client: Client, batchId: string): Promise<void> {
  const workflowId = batchWorkflowId(batchId);
  const payload = await inputOf(client, batchId, workflowId);
  // Temporal keeps no workflow of it any more.
  if (!payload) return;
  try {
    await readPayload(client, { kind: 'workflow', id: workflowId }, payload);
  } catch (error) {
    if (error instanceof CodecUnavailableError) throw error;
    throw unreadable(client, batchId, encodingOf(payload), error);
  }
}

async function inputOf(client: Client, batchId: string, workflowId: string): Promise<Payload | undefined> {
  try {
    return await client.withDeadline(Date.now() + CALLS.temporal, () => firstPayload(client, workflowId));
  } catch (error) {
    // The workflow, or the namespace: what comes next says which.
    if (isGrpcServiceError(error) && NOT_FOUND.includes(error.code)) return undefined;
    throw toBatchError(batchId, error);
  }
}

function unreadable(client: Client, batchId: string, encoding: string, cause: unknown): CodecMismatchError {
  const remedy = hasCodecs(client)
    ? 'The codec server does not decode them: check --codec-endpoint and the keys that it has.'
    : 'Pass --codec-endpoint, or set TEMPORAL_CODEC_ENDPOINT, to the codec server of the app.';
  return new CodecMismatchError(
    'CODEC_MISMATCH',
    `The payloads of batch "${batchId}" are encoded as ${encoding}, which this command cannot read. ${remedy} Nothing was changed.`,
    { cause },
  );
}
