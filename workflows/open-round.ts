import { proxyActivities } from '@temporalio/workflow';
import type { HandlerActivities } from '../activities/contract.ts';

/**
 * Makes the jobs of a round pending again. Not a local activity, as other writes of the mirror are: with a million
 * failed jobs it takes half a minute.
 */
export const { openRound } = proxyActivities<Pick<HandlerActivities, 'openRound'>>({
  startToCloseTimeout: '1 hour',
  heartbeatTimeout: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '30s' },
  summary: 'Open the round',
});
