import { cancelActivity } from '../cancel-activity.ts';
import { InvalidOptionError, NestedEnrollmentError } from '../errors.ts';
import type { BatchClient, BatchLogger } from './batch-client.ts';
import type { Enrollment, EnrollmentOptions } from './enrollment.ts';
import { observeBlock } from '../telemetry/block-telemetry.ts';
import { currentEnrollment, runInEnrollment } from './enrollment-context.ts';

/** @throws {@link InvalidOptionError} @throws {@link NestedEnrollmentError} */
export function assertBlock(batchId: string, block: unknown): asserts block is () => unknown {
  if (typeof block !== 'function') throw new InvalidOptionError('block', 'a function', block);
  const outer = currentEnrollment();
  if (outer && !outer.isClosed) {
    throw new NestedEnrollmentError(
      'NESTED_ENROLLMENT',
      `jobs() of batch "${batchId}" was called inside the enrolment block of batch "${outer.batchId}". ` +
        'Blocks cannot be nested; open this one after the other has ended.',
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
  block: () => unknown,
): Promise<number> {
  return observeBlock(enrollment.batchId, async () => {
    try {
      await runInEnrollment(enrollment, async () => block());
    } catch (error) {
      await closeBroken(logger, enrollment, error);
      throw error;
    }
    return enrollment.close();
  });
}

/** The block threw: that error is the caller's, and what goes wrong on top of it must not replace it. */
async function closeBroken(logger: BatchLogger, enrollment: Enrollment, blockError: unknown): Promise<void> {
  try {
    await enrollment.close(blockError ?? new Error('The block threw nothing'));
  } catch (error) {
    // The batch was stopped or has closed the block: the caller knows, and nothing is left to seal.
    if (error === blockError) return;
    logger.warn('A broken enrolment block could not be sealed; enrollmentTimeout will', {
      batchId: enrollment.batchId,
      error: String(error),
    });
  }
}
