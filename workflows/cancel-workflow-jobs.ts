import { proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities } from '../activities/contract.ts';

/** Asks the workflows to cancel that are jobs of a batch which was stopped. Tried until it was done. */
export const { cancelWorkflowJobs: requestCancellations } = proxyActivities<HandlerActivities>({
  startToCloseTimeout: '1 day',
  heartbeatTimeout: '10s',
  retry: { maximumInterval: '1 minute' },
});
