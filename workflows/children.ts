import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import { getExternalWorkflowHandle, log, ParentClosePolicy, sleep, workflowInfo } from '@temporalio/workflow';
import type { Steering } from './steering.ts';
import { batchEndedSignal, pingSignal, rushedSignal, steeredSignal } from './messages.ts';
import { waitMs } from './timeouts.ts';

export function runnerWorkflowId(runner: string): string {
  return `${workflowInfo().workflowId}/runner/${runner}`;
}

/** Options of a child that outlives the run that started it, and is never started twice. */
export const OUTLIVES_RUN = {
  parentClosePolicy: ParentClosePolicy.ABANDON,
  workflowIdReusePolicy: 'REJECT_DUPLICATE',
} as const;

/**
 * Starts a child and watches it.
 *
 * @param onLost told why it ended, if not by returning: somebody terminated it
 * @param onReturned told that it has returned: what it had to say, it has said before
 */
export async function startWatched(
  start: () => Promise<{ result(): Promise<unknown> }>,
  onLost: (error: unknown) => unknown,
  onReturned: () => unknown,
): Promise<void> {
  try {
    const child = await start();
    void child.result().then(onReturned, onLost);
  } catch (error) {
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
}

/** Tells a runner how the batch stands. One that is gone has nothing left to steer. */
export async function tell(workflowId: string, steering: Steering): Promise<void> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(steeredSignal, steering);
  } catch (error) {
    log.debug('A runner that has ended was not told', { workflowId, error: String(error) });
  }
}

/** Tells a runner that jobs of these positions need not wait any more. One that is gone has none. */
export async function tellRushed(workflowId: string, spans: string): Promise<void> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(rushedSignal, { spans });
  } catch (error) {
    log.debug('A runner that has ended was not told', { workflowId, error: String(error) });
  }
}

/** Tells the workflow that waits for the batch that it is over. One that is gone waits no more. */
export async function tellEnd(workflowId: string, batchId: string): Promise<void> {
  try {
    await getExternalWorkflowHandle(workflowId).signal(batchEndedSignal, { batchId });
  } catch (error) {
    log.debug('Nobody waits for the batch any more', { workflowId, error: String(error) });
  }
}

export interface ChildOfEarlierRun {
  readonly workflowId: string;
  /** When it was asked last, or when its watch began, in an earlier run too: runs may be shorter than the interval. */
  askedAt: number;
  /** Whether its own report of its end is still missing. */
  isNeeded(): boolean;
  /** Told what answered in its place. */
  onLost(error: unknown): unknown;
}

/** Asks a child of an earlier run, whose end nobody tells this one, now and then whether it is there. */
export async function watchChildOfEarlierRun(child: ChildOfEarlierRun): Promise<void> {
  const { workflowId } = child;
  const handle = getExternalWorkflowHandle(workflowId);
  for (;;) {
    const left = child.askedAt + waitMs('childCheck') - Date.now();
    await sleep(Math.max(1, left), { summary: `Until ${workflowId} is asked whether it is there` });
    // It reports its end before it ends, so that a missing one that is still needed was lost.
    if (!child.isNeeded()) return;
    try {
      await handle.signal(pingSignal);
      // Only now: a run that ends before the answer leaves the question to the next one.
      child.askedAt = Date.now();
    } catch (error) {
      await child.onLost(error);
      return;
    }
  }
}
