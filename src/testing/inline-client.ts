import { WorkflowUpdateFailedError, type Client } from '@temporalio/client';
import { ApplicationFailure, WorkflowNotFoundError } from '@temporalio/common';
import type { Refusal } from '../../workflows/batch-state.ts';
import { InlineUnsupportedError } from './errors.ts';
import type { InlineState } from './inline-state.ts';

const PREFIX = 'batch:';

/** What an inline client needs of those who hold its batches. */
interface Batches {
  find(batchId: string): InlineState | undefined;
  /** Runs what there is to run. @throws when the batch has not ended by then */
  untilOver(batch: InlineState): Promise<void>;
}

/** The part of Temporal's client that `Batch` uses, answered by the batches in memory. */
export function inlineClient(batches: Batches): Client {
  const handle = (workflowId: string) => {
    const batch = () => {
      const found = batches.find(workflowId.slice(PREFIX.length));
      if (!found) throw new WorkflowNotFoundError('There is no such batch', workflowId, undefined);
      return found;
    };
    const update = async ({ name }: { name: string }, { args = [] }: { args?: readonly unknown[] } = {}) =>
      batch().update(name, args[0]);
    return {
      workflowId,
      executeUpdate: update,
      describe: async () => ({ status: { name: batch().isOver ? 'COMPLETED' : 'RUNNING' } }),
      signal: async ({ name }: { name: string }, message: unknown) => batch().signal(name, message),
      result: async () => batches.untilOver(batch()),
    };
  };
  const client = {
    options: { namespace: 'inline' },
    withDeadline: <T>(_deadline: unknown, run: () => Promise<T>) => run(),
    workflow: {
      getHandle: handle,
      start: async () => {
        throw new InlineUnsupportedError('A workflow');
      },
    },
  };
  return client as unknown as Client;
}

/** As Temporal's client throws what an update's validator refused. */
export function refuse({ code, message }: Refusal): never {
  throw new WorkflowUpdateFailedError(message, ApplicationFailure.nonRetryable(message, code));
}
