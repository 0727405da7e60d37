import { cancelActivity } from '../cancel-activity.ts';
import { InvalidOptionError, NestedEnrollmentError } from '../errors.ts';
import type { BatchClient, BatchLogger } from './batch-client.ts';
import type { Enrollment, EnrollmentOptions } from './enrollment.ts';
import { observeBlock } from '../telemetry/block-telemetry.ts';
import { blockOf, type EnrollmentBlock } from './enrollment-block.ts';
import { currentEnrollment, runInEnrollment } from './enrollment-context.ts';
import { assertOwnJobs, noteClosed, noteOpened } from './open-blocks.ts';

/** The function that an app gives to `jobs`. */
export type BlockFunction = (block: EnrollmentBlock) => unknown;

/** @throws {@link InvalidOptionError} @throws {@link NestedEnrollmentError} */
export function assertBlock(batchId: string, block: unknown): asserts block is BlockFunction {
  if (typeof block !== 'function') throw new InvalidOptionError('block', 'a function', block);
  const outer = currentEnrollment();
  if (outer && !outer.isClosed) {
    throw new NestedEnrollmentError(
      'NESTED_ENROLLMENT',
      `jobs() of batch "${batchId}" was called inside the enrolment block of batch "${outer.batchId}". ` +
        'Blocks cannot be nested; open this one after the other has ended. If the code is not nested, a queue, pool or ' +
        `listener runs it in the context of the block of "${outer.batchId}": call outsideBlock(() => batch.jobs(…)).`,
    );
  }
}

/** What blocks of a client's batches need for workflows and activities that are started in them. */
export function executionsOf({ client, logger }: BatchClient): EnrollmentOptions['executions'] {
  return {
    namespace: client.options.namespace,
    cancel: async ({ kind, id, runId }) => {
      try {
        if (kind === 'workflow') await client.workflow.getHandle(id, runId).cancel();
        else await cancelActivity(client, { activityId: id, runId }, 'Its batch was stopped');
      } catch (error) {
        logger.warn('What was started in a batch that was stopped could not be asked to cancel', {
          [`${kind}Id`]: id,
          error: String(error),
        });
      }
    },
  };
}

/** Runs a block and closes its enrolment. @returns the batch's total @throws what the block throws, as it was */
export async function runBlock(
  logger: BatchLogger,
  enrollment: Enrollment,
  block: BlockFunction,
): Promise<number> {
  return observeBlock(enrollment.batchId, async () => {
    noteOpened(enrollment);
    try {
      const returned = await runInEnrollment(enrollment, async () => block(blockOf(enrollment)));
      await enrollment.settleStarts();
      assertOwnJobs(enrollment, returned);
    } catch (error) {
      noteClosed(enrollment);
      await closeBroken(logger, enrollment, error);
      throw error;
    }
    noteClosed(enrollment);
    try {
      return await enrollment.close();
    } catch (error) {
      enrollment.noteCloseError(error);
      throw error;
    }
  });
}

/** The block threw: that error is the caller's, and what goes wrong on top of it must not replace it. */
async function closeBroken(logger: BatchLogger, enrollment: Enrollment, blockError: unknown): Promise<void> {
  try {
    await enrollment.close(blockError ?? new Error('The block threw nothing'));
  } catch (error) {
    // The batch was stopped, has closed the block, or gave it to another call: nothing is left to seal.
    if (error === blockError || enrollment.isTakenOver) return;
    logger.warn('A broken enrolment block could not be sealed; enrollmentTimeout will', {
      batchId: enrollment.batchId,
      error: String(error),
    });
  }
}
