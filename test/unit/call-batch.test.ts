import { ServiceError } from '@temporalio/client';
import { describe, expect, test } from 'vitest';
import { callBatch } from '../../src/client/call-batch.ts';
import type { BatchClient } from '../../src/client/batch-client.ts';
import { BatchError } from '../../src/errors.ts';

/** Of a client, what calls need. */
const batches = {
  assertOpen: () => {},
  client: {
    withDeadline: <T>(_deadline: number, run: () => Promise<T>) => run(),
    workflow: { getHandle: () => ({}) },
  },
} as unknown as BatchClient;

function grpcError(code: number): Error {
  const details = 'unexpected workflow task failure.';
  const cause = Object.assign(new Error(`9: ${details}`), { code, details, metadata: {} });
  return new ServiceError('Workflow Update failed', { cause });
}

describe('a call that Temporal did not take', () => {
  test('is sent again with the same id until Temporal takes it', async () => {
    const ids: string[] = [];
    const answer = await callBatch(batches, 'b1', 'what', async (_handle, updateId) => {
      ids.push(updateId);
      if (ids.length < 4) throw grpcError(9);
      return 'taken';
    });
    expect(answer).toBe('taken');
    expect(ids).toHaveLength(4);
    expect(new Set(ids).size).toBe(1);
  });

  test('has another id than the next call', async () => {
    const id = () => callBatch(batches, 'b1', 'what', async (_handle, updateId) => updateId);
    expect(await id()).not.toBe(await id());
  });

  test('is not sent again when it was refused', async () => {
    let calls = 0;
    const call = callBatch(batches, 'b1', 'what', async () => {
      calls++;
      throw grpcError(7);
    });
    await expect(call).rejects.toMatchObject({ code: 'TEMPORAL_ACCESS_DENIED' });
    expect(calls).toBe(1);
  });
});

test('a call on a closed client is not sent', async () => {
  const closed = {
    assertOpen: () => {
      throw new BatchError('CLIENT_CLOSED', 'closed');
    },
  } as unknown as BatchClient;
  let calls = 0;
  const call = callBatch(closed, 'b1', 'what', async () => void calls++);
  await expect(call).rejects.toMatchObject({ code: 'CLIENT_CLOSED' });
  expect(calls).toBe(0);
});
