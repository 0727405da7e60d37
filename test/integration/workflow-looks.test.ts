import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { ExecutionJob } from '../../activities/workflow-look.ts';
import { lookAt, requestCancel } from '../../activities/executions.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world[Symbol.asyncDispose]());

const LONG_MS = 3_600_000;

function jobOf(changes: Partial<ExecutionJob> = {}): ExecutionJob {
  return {
    batchId: 'b-1',
    kind: 'workflow',
    id: `${world.schema}-nobody`,
    runId: 'r1',
    mayAttach: false,
    isRetried: false,
    ...changes,
  };
}

/** As a worker asks, and as an app does. */
const clients = () => [new Client({ connection: world.connection }), world.client];

describe('a look at a workflow', () => {
  test('that Temporal does not know finds that it was deleted, or never started', async () => {
    for (const client of clients()) {
      expect(await lookAt(client, jobOf(), LONG_MS)).toMatchObject({
        isOver: true,
        failure: { errorClass: 'WorkflowDeletedError' },
      });
      expect(await lookAt(client, jobOf({ runId: null }), LONG_MS)).toMatchObject({
        isOver: true,
        failure: { errorClass: 'WorkflowNotStartedError' },
      });
      // Its start may be under way.
      expect(await lookAt(client, jobOf({ runId: null }), 1_000)).toEqual({ isOver: false });
    }
  });

  test('in a namespace that is not there finds nothing out', async () => {
    for (const { connection } of clients()) {
      const client = new Client({ connection, namespace: 'elsewhere' });
      await expect(lookAt(client, jobOf(), LONG_MS)).rejects.toMatchObject({ code: 5 });
      await expect(requestCancel(client, jobOf(), 'no need')).rejects.toMatchObject({ code: 5 });
    }
  });

  test('of a server that does not answer finds nothing out', async () => {
    await using proxy = await TcpProxy.open(inject('temporalAddress'));
    const connection = await Connection.connect({ address: proxy.address });
    proxy.freeze();
    const client = new Client({ connection });
    await expect(lookAt(client, jobOf(), LONG_MS)).rejects.toThrow(/DEADLINE_EXCEEDED|UNAVAILABLE/);
    await connection.close();
  });
});
