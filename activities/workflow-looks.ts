import { log } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { sideBySide } from './side-by-side.ts';
import { lookAt, type Look } from './executions.ts';
import type { ExecutionJob } from './workflow-look.ts';

/** A workflow or an activity to look at. */
export interface LookRequest {
  readonly position: number;
  readonly job: ExecutionJob;
  readonly ageMs: number;
}

const CONCURRENCY = 20;
/** A server that answers none of so many is away: the others are left for later. */
const MAX_ERRORS = 20;

/**
 * Looks at workflows and activities that are jobs, several at once, in order.
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
  const leftOut: LookRequest[] = [];
  let errors = 0;
  const look = async (request: LookRequest) => {
    if (isStopping()) {
      leftOut.push(request);
      return;
    }
    const startedAt = performance.now();
    const found = errors < MAX_ERRORS ? await tryToLook(request) : undefined;
    onLook(request, found, performance.now() - startedAt);
  };
  const tryToLook = async ({ job, ageMs }: LookRequest) => {
    try {
      return await lookAt(client, job, ageMs);
    } catch (error) {
      errors++;
      const { batchId, kind, id } = job;
      log.debug('What is a job could not be looked at; later again', {
        batchId,
        [`${kind}Id`]: id,
        error: String(error),
      });
      return undefined;
    }
  };
  await sideBySide(requests, CONCURRENCY, look);
  return leftOut;
}
