import { proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities } from '../activities/contract.ts';
import { forSchema } from './schema.ts';
import { waitMs, WORKFLOW_CALLS } from './timeouts.ts';

/**
 * Makes the jobs of a round pending again. Not a local activity, as other writes of the mirror are: with a million
 * failed jobs it takes half a minute.
 */
export const openRound: HandlerActivities['openRound'] = (input) =>
  proxyActivities<HandlerActivities>({
    startToCloseTimeout: WORKFLOW_CALLS.openRound,
    heartbeatTimeout: waitMs('heartbeat'),
    retry: {
      initialInterval: '100ms',
      backoffCoefficient: 2,
      maximumInterval: WORKFLOW_CALLS.writeRetryMax,
    },
    summary: 'Open the round',
  }).openRound(forSchema(input));
