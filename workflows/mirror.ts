import { proxyLocalActivities, sleep } from '@temporalio/workflow';
import type { MirrorActivities } from '../activities/contract.ts';

/** One after the other; see `mirror`. */
let last: Promise<unknown> = Promise.resolve();

function inTurn<Args extends unknown[], Result>(
  write: (...args: Args) => Promise<Result>,
): (...args: Args) => Promise<Result> {
  return (...args) => {
    const result = last.then(() => write(...args));
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
 * Short writes of the mirror. Local: they would spend most of their time in hops to the server. They retry for ever,
 * so that a database that is down delays the batch and never fails it; after 10 s they wait in durable timers. Each of
 * those costs history: at 30 s an outage may last two days.
 */
const writes = proxyLocalActivities<MirrorActivities>({
  startToCloseTimeout: '10s',
  localRetryThreshold: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '30s' },
});

/**
 * The writes, one at a time. Two local activities at once may end in another order when their workflow is replayed, and
 * what follows from each would then be done in another order, too: the replay would fail.
 */
export const mirror: MirrorActivities = {
  createBatch: inTurn(writes.createBatch),
  takeOverBlock: inTurn(writes.takeOverBlock),
  sealBatch: inTurn(writes.sealBatch),
  discardBatch: inTurn(writes.discardBatch),
  registerCallback: inTurn(writes.registerCallback),
  steerBatch: inTurn(writes.steerBatch),
  findWorkflowJobs: inTurn(writes.findWorkflowJobs),
  hasWorkflowJobs: inTurn(writes.hasWorkflowJobs),
  findQueues: inTurn(writes.findQueues),
  readMovement: inTurn(writes.readMovement),
  alertBatch: inTurn(writes.alertBatch),
  scheduleAlertCallback: inTurn(writes.scheduleAlertCallback),
  finishBatch: inTurn(writes.finishBatch),
  failCallback: inTurn(writes.failCallback),
};
