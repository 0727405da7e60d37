import { log } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { lookAt, type Look } from './workflows.ts';
import type { WorkflowJob } from './workflow-look.ts';

/** A workflow to look at. */
export interface LookRequest {
  readonly position: number;
  readonly job: WorkflowJob;
  readonly ageMs: number;
}

const CONCURRENCY = 20;
/** A server that answers none of so many is away: the others are left for later. */
const MAX_ERRORS = 20;

/**
 * Looks at workflows that are jobs, several at once, in order.
 *
 * @param isStopping the rest is left out
 * @param onLook told of each; undefined where nobody answered
 */
export async function lookAtAll(
  client: Client,
  requests: readonly LookRequest[],
  isStopping: () => boolean,
  onLook: (request: LookRequest, look: Look | undefined, tookMs: number) => void,
): Promise<readonly LookRequest[]> {
  let next = 0;
  let errors = 0;
  const lookOn = async () => {
    while (next < requests.length && !isStopping()) {
      const request = requests[next++]!;
      const startedAt = performance.now();
      const look = errors < MAX_ERRORS ? await tryToLook(request) : undefined;
      onLook(request, look, performance.now() - startedAt);
    }
  };
  const tryToLook = async ({ job, ageMs }: LookRequest) => {
    try {
      return await lookAt(client, job, ageMs);
    } catch (error) {
      errors++;
      const { batchId, workflowId } = job;
      log.debug('A workflow could not be looked at; later again', {
        batchId,
        workflowId,
        error: String(error),
      });
      return undefined;
    }
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, requests.length) }, lookOn));
  return requests.slice(next);
}
