import { BatchError } from '../errors.ts';
import { optionalJob } from '../jobs/job-context.ts';
import { CALLS } from '../timeouts.ts';
import { assertBlock, executionsOf, runBlock } from './blocks.ts';
import type { EnrollmentBlock } from './enrollment-block.ts';
import { handlerChannel } from './enrollment-channel.ts';
import { whyClosed } from './why-closed.ts';

/** The batch of the job that is running. */
export interface CurrentBatch {
  readonly id: string;
  /**
   * Adds the jobs that the block starts to the batch, also after it was sealed: it does not settle before they have
   * ended. Resolves when their rows are committed and the batch was told of them. The job may run again, as any job may:
   * give what it adds keys (`job.set({ key })`), so that it is added once.
   *
   * While the batch's own block is open, this waits until it has closed, unless the batch is open-ended
   * (`autoSeal: false`) or its block starts jobs with keys.
   *
   * @returns how many jobs the batch has
   * @throws what the block throws, as it was; jobs added until then are members
   * @throws {@link JobEndedError} when the attempt has ended, because its time was over
   * @throws {@link BatchCancelledError} when the batch was cancelled
   * @throws {@link BatchFailedError} when its deadline or its failures stopped it
   * @throws {@link BatchSettledError} when the batch has settled
   * @throws {@link NestedEnrollmentError} inside another block
   */
  jobs(block: (block: EnrollmentBlock) => unknown): Promise<{ total: number }>;
}

/**
 * The batch of the job that is running. What a handler starts is no member of it, unless it is started in
 * `currentBatch().jobs(...)`.
 *
 * @throws {@link BatchError} with code `NO_JOB_CONTEXT` outside of a handler, and in a job that belongs to no batch
 * @example
 * await currentBatch().jobs(async () => {
 *   for (const link of links) await crawl.set({ key: link }).performAsync(link);
 * });
 */
export function currentBatch(): CurrentBatch {
  const context = optionalJob();
  const batchId = context?.batchId;
  if (!context || batchId === undefined) {
    throw new BatchError(
      'NO_JOB_CONTEXT',
      context
        ? `currentBatch() was called in the plain job "${context.jid}", which belongs to no batch.`
        : 'currentBatch() was called outside of a job. Call it in a handler given to defineJob, or in what it calls.',
    );
  }
  const { attempt, batches, jid, round } = context;
  const position = Number(jid.slice(jid.lastIndexOf('/') + 1));
  return {
    id: batchId,
    jobs: async (block) => {
      assertBlock(batchId, block);
      const readRow = () => batches.readRow(batchId, CALLS.database);
      const row = await readRow();
      if (!row || row.settled_at || row.stop_reason !== null) throw whyClosed(batchId, row, 'handler');
      const enrollment = batches.openBlock({
        batchId,
        adder: { job: { position, round, attempt } },
        sharedFrom: 0,
        executions: executionsOf(batches),
        database: batches.database,
        channel: handlerChannel(batches, batchId, row.first_execution_run_id),
        whyClosed: async () => whyClosed(batchId, await readRow(), 'handler'),
        logger: batches.logger,
        enrollmentTimeoutMs: undefined,
      });
      return { total: await runBlock(batches.logger, enrollment, block) };
    },
  };
}
