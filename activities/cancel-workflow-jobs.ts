import { Context, log } from '@temporalio/activity';
import { isGrpcServiceError } from '@temporalio/client';
import { atPrimary } from '../src/database/primary.ts';
import { selectPendingExecutions, type PendingExecution } from '../src/database/workflow-jobs.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { requestCancel } from './executions.ts';
import { withHeartbeat } from './heartbeat.ts';
import { patiently } from './patiently.ts';
import { sideBySide } from './side-by-side.ts';

const PAGE_SIZE = 200;
const CONCURRENCY = 20;

/** gRPC status codes after which the same request may succeed: DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, UNAVAILABLE. */
const TRANSIENT: readonly number[] = [4, 8, 14];

/**
 * Asks the workflows and activities to cancel that are jobs of a batch which was stopped. They may take their time, or refuse. One
 * that cannot be asked is left alone; where the server is away, the next attempt begins again: asking twice is asking.
 */
export async function cancelWorkflowJobs(
  { batches, database }: Pick<ActivityDependencies, 'batches' | 'database'>,
  { batchId, reason }: { batchId: string; reason: string },
): Promise<void> {
  await withHeartbeat(async () => {
    for (let after = 0; ;) {
      const page = { after, limit: PAGE_SIZE };
      const executions = await patiently(
        () => atPrimary(database, batchId, (primary) => selectPendingExecutions(primary, batchId, page)),
        'The database did not answer',
      );
      if (executions.length === 0) return;
      after = executions.at(-1)!.position;
      await sideBySide(executions, CONCURRENCY, cancel);
    }
  });

  async function cancel({ kind, id, runId, mayAttach, round }: PendingExecution): Promise<void> {
    Context.current().cancellationSignal.throwIfAborted();
    const job = { batchId, kind, id, runId, mayAttach, isRetried: round > 1 };
    try {
      await requestCancel(batches.client, job, reason);
    } catch (error) {
      if (isGrpcServiceError(error) && !TRANSIENT.includes(error.code))
        log.warn('What is a job of a batch that was stopped could not be asked to cancel', {
          batchId,
          [`${kind}Id`]: id,
          error,
        });
      else throw error;
    }
  }
}
