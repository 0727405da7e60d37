import { proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities } from '../activities/contract.ts';
import { forSchema } from './schema.ts';
import { waitMs, WORKFLOW_CALLS } from './timeouts.ts';

/** Asks the workflows to cancel that are jobs of a batch which was stopped. Tried until it was done. */
export const requestCancellations: HandlerActivities['cancelWorkflowJobs'] = (input) =>
  proxyActivities<HandlerActivities>({
    startToCloseTimeout: WORKFLOW_CALLS.cancelWorkflows,
    heartbeatTimeout: waitMs('heartbeat'),
    retry: { maximumInterval: '1 minute' },
  }).cancelWorkflowJobs(forSchema(input));
