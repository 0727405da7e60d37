import { TemporalFailure } from '@temporalio/common';
import { proxyActivities, proxyLocalActivities, sleep, workflowInfo } from '@temporalio/workflow';
import type { MirrorActivities } from '../activities/contract.ts';
import { forSchema } from './schema.ts';
import { WORKFLOW_CALLS } from './timeouts.ts';

/**
 * Local: short writes would spend most of their time in hops to the server. But where one outlives 8 s, the SDK ends the
 * workflow task before it, and starts another: what comes with that, a timer or a signal, is told to the workflow before
 * the write's end, and to a replay after it. Then the batch could never go on once its worker is lost. So each has one
 * short try, and a task has few of them.
 */
const local = proxyLocalActivities<MirrorActivities>({
  scheduleToCloseTimeout: WORKFLOW_CALLS.localWrite,
  retry: { maximumAttempts: 1 },
});
const MAX_LOCAL_IN_TASK = 3;

/** What a short try does not do: for ever, so that a database that is down delays the batch and never fails it. */
const regular = proxyActivities<MirrorActivities>({
  startToCloseTimeout: WORKFLOW_CALLS.write,
  retry: {
    initialInterval: '100ms',
    backoffCoefficient: 2,
    maximumInterval: WORKFLOW_CALLS.writeRetryMax,
  },
});

/** One after the other; see `mirror`. */
let last: Promise<unknown> = Promise.resolve();

/** Length of the history at the start of the task in which local writes were counted last. */
let task = -1;
let localInTask = 0;

function mayBeLocal(): boolean {
  const { historyLength } = workflowInfo();
  if (task !== historyLength) localInTask = 0;
  task = historyLength;
  return ++localInTask <= MAX_LOCAL_IN_TASK;
}

type Write<Input, Result> = (input: Input) => Promise<Result>;

function inTurn<Input extends object, Result>(
  writeOf: (to: typeof local | typeof regular) => Write<Input, Result>,
): Write<Input, Result> {
  const short = writeOf(local);
  const persistent = writeOf(regular);
  const write = async (input: Input) => {
    if (!mayBeLocal()) return persistent(input);
    try {
      return await short(input);
    } catch (error) {
      // A timeout that is replayed is not wrapped in an ActivityFailure.
      if (!(error instanceof TemporalFailure)) throw error;
      return persistent(input);
    }
  };
  return (input) => {
    const result = last.then(() => write(forSchema(input)));
    last = result.catch(() => {});
    return result;
  };
}

/**
 * What is written from here on waits for the next workflow task. A task whose worker dies is run again, from the history
 * as it is by then: signals that came meanwhile come before a timer that had fired before them, and what the timer
 * decided may be decided otherwise. A write is not taken back. When the fence's timer fires, the decision before it is
 * in the history.
 */
export function fence(): void {
  last = last.then(() => sleep(1)).catch(() => {});
}

/**
 * The writes, one at a time. Two local activities at once may end in another order when their workflow is replayed, and
 * what follows from each would then be done in another order, too: the replay would fail.
 */
export const mirror: MirrorActivities = {
  createBatch: inTurn((to) => to.createBatch),
  takeOverBlock: inTurn((to) => to.takeOverBlock),
  findBlock: inTurn((to) => to.findBlock),
  sealBatch: inTurn((to) => to.sealBatch),
  discardBatch: inTurn((to) => to.discardBatch),
  registerCallback: inTurn((to) => to.registerCallback),
  steerBatch: inTurn((to) => to.steerBatch),
  findWorkflowJobs: inTurn((to) => to.findWorkflowJobs),
  hasWorkflowJobs: inTurn((to) => to.hasWorkflowJobs),
  findQueues: inTurn((to) => to.findQueues),
  readMovement: inTurn((to) => to.readMovement),
  alertBatch: inTurn((to) => to.alertBatch),
  scheduleAlertCallback: inTurn((to) => to.scheduleAlertCallback),
  finishBatch: inTurn((to) => to.finishBatch),
  failCallback: inTurn((to) => to.failCallback),
  retryCallback: inTurn((to) => to.retryCallback),
};
