import { proxyActivities } from '@temporalio/workflow';
import type { MaintenanceActivities, PruneInput } from '../activities/contract.ts';
import { waitMs, WORKFLOW_CALLS } from './timeouts.ts';

/**
 * As long as it takes, over restarts of workers and databases: each attempt goes on where the last one stopped. A
 * worker that is gone is noticed after 30 s; nobody waits for this.
 */
const prune: MaintenanceActivities['prune'] = (input) =>
  proxyActivities<MaintenanceActivities>({
    startToCloseTimeout: WORKFLOW_CALLS.prune,
    heartbeatTimeout: waitMs('pruneHeartbeat'),
    retry: { initialInterval: '1s', maximumInterval: '1 minute' },
    summary: 'Removes settled batches',
  }).prune(input);

/** Removes settled batches: what a schedule starts. Returns what its last attempt removed. */
export async function pruneBatches(input: PruneInput): Promise<{ batches: number; jobs: number }> {
  return prune(input);
}
