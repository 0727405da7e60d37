import { proxyLocalActivities } from '@temporalio/workflow';
import type { MirrorActivities } from '../activities/contract.ts';

/**
 * Short writes of the mirror. Local: they would spend most of their time in hops to the server. They retry for ever,
 * so that a database that is down delays the batch and never fails it; after 10 s they wait in durable timers. Each of
 * those costs history: at 30 s an outage may last two days.
 */
export const mirror = proxyLocalActivities<MirrorActivities>({
  startToCloseTimeout: '10s',
  localRetryThreshold: '10s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '30s' },
});
