import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import type { Batch } from '../src/client/batch.ts';
import { resolveStep } from '../src/client/step-options.ts';
import { BatchError, BatchExistsError, type BatchErrorCode } from '../src/errors.ts';
import { defineJob } from '../src/jobs/define-job.ts';
import { CALLS } from '../src/timeouts.ts';
import type { BatchProgress } from '../workflows/batch-state.ts';
import type { ReadStepInput, StepAnswer, StepInput, StepJob } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';

type Dependencies = Pick<ActivityDependencies, 'batches' | 'jobs'>;

/**
 * The block takes no jobs any more: it was closed, by its own end, by a stop or after a quiet time; or nobody works on
 * the batch.
 */
const CLOSED: readonly BatchErrorCode[] = [
  'BATCH_CANCELLED',
  'BATCH_FAILED',
  'BATCH_SETTLED',
  'BATCH_TERMINATED',
  'ENROLLMENT_TIMED_OUT',
];

/**
 * Creates the batch of a step and enrols its jobs. A repetition goes on where the one before was interrupted: the batch
 * and each of its jobs have a key, and the block is taken over. One that still lives after all is refused from then on;
 * where it takes the block back, this one fails and is repeated, until one of them has closed the block.
 */
export async function startStep(dependencies: Dependencies, input: StepInput): Promise<StepAnswer> {
  const { batch: options, jobs } = await finalIf(isInvalid, async () =>
    resolveStep(input, activityInfo().workflowExecution!.workflowId),
  );
  const targets = await finalIf(isInvalid, async () => targetsOf(dependencies, jobs));
  return withHeartbeat(async () => {
    const batch = await finalIf(isAnothers, () => dependencies.batches.createResolved(options));
    const schema = await dependencies.batches.identity.ref();
    if (batch.status !== 'pending') return { mayBeOver: batch.settledAt !== null, schema };
    return { ...(await enrol(batch, jobs, targets)), schema };
  });
}

/** The definitions of the jobs, by name: those that this worker knows, with their options, and such as have none. */
function targetsOf({ jobs: known }: Dependencies, jobs: readonly StepJob[]) {
  const names = new Set(jobs.map(({ name }) => name));
  return new Map([...names].map((name) => [name, known.get(name) ?? defineJob(name, () => {})]));
}

async function enrol(
  batch: Batch,
  jobs: readonly StepJob[],
  targets: ReturnType<typeof targetsOf>,
): Promise<StepAnswer> {
  const block = () =>
    Promise.all(
      // Not one after the other: each waits until its row is committed.
      jobs.map(({ name, args }, index) =>
        targets
          .get(name)!
          .set({ key: `step:${index}` })
          .performAsync(...args),
      ),
    );
  try {
    await batch.jobs(block, { resume: true });
    return { mayBeOver: false };
  } catch (error) {
    if (!(error instanceof BatchError && CLOSED.includes(error.code))) throw error;
    return { mayBeOver: true };
  }
}

/** Where the batch of a step stands, if it is over; null before. */
export async function readStep(
  { batches }: Dependencies,
  { batchId, isSaidOver }: ReadStepInput,
): Promise<BatchProgress | null> {
  return withHeartbeat(() =>
    finalIf(isGone, async () => {
      const batch = await batches.find(batchId);
      try {
        return await batch.wait({ timeout: isSaidOver ? CALLS.stepClosing : CALLS.stepLook });
      } catch (error) {
        if (error instanceof BatchError && error.code === 'WAIT_TIMED_OUT') return null;
        throw error;
      }
    }),
  );
}

/** Cancels the batch of a step. One whose jobs have all ended needs nothing. */
export async function cancelStep(
  { batches }: Dependencies,
  { batchId }: { batchId: string },
): Promise<StepAnswer> {
  return withHeartbeat(() =>
    finalIf(isGone, async () => {
      const batch = await batches.find(batchId);
      try {
        await batch.cancel({ reason: 'the workflow that waited for it was cancelled' });
        return { mayBeOver: false };
      } catch (error) {
        if (!(error instanceof BatchError && error.code === 'BATCH_SETTLED')) throw error;
        return { mayBeOver: true };
      }
    }),
  );
}

function isInvalid({ code }: BatchError): boolean {
  return code === 'INVALID_OPTION' || code === 'INVALID_ARGUMENTS';
}

/** Somebody else's batch has the id. Without differences it is only coming or going. */
function isAnothers(error: BatchError): boolean {
  return isInvalid(error) || (error instanceof BatchExistsError && error.differences.length > 0);
}

function isGone({ code }: BatchError): boolean {
  return code === 'BATCH_TERMINATED' || code === 'BATCH_NOT_FOUND';
}

/** Errors that no repetition can change end the step, with their code. */
async function finalIf<T>(isFinal: (error: BatchError) => boolean, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof BatchError && isFinal(error))) throw error;
    throw ApplicationFailure.nonRetryable(error.message, error.code);
  }
}
