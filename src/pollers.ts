import type { Client } from '@temporalio/client';
import { CALLS, LATE } from './timeouts.ts';

type Request = Parameters<Client['workflowService']['describeTaskQueue']>[0];
type QueueType = NonNullable<Request['taskQueueType']>;
// The names of these values are in a package of Temporal's that apps do not install.
const ACTIVITY_QUEUE = 2 as unknown as QueueType;
const ENHANCED = 1 as unknown as NonNullable<Request['apiMode']>;

/**
 * Identities of the workers that asked a task queue for activities lately. The plain answer is that of one partition of
 * the queue, the enhanced one is that of all but knows no versioned workers: both are taken.
 *
 * @throws what Temporal's client throws
 */
export async function activityPollers(client: Client, taskQueue: string): Promise<string[]> {
  const request = {
    namespace: client.options.namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: ACTIVITY_QUEUE,
  };
  const { workflowService: service } = client;
  const [plain, all] = await client.withDeadline(Date.now() + CALLS.temporal, () =>
    Promise.all([
      service.describeTaskQueue(request),
      service
        .describeTaskQueue({
          ...request,
          apiMode: ENHANCED,
          taskQueueTypes: [ACTIVITY_QUEUE],
          reportPollers: true,
        })
        .catch(() => undefined),
    ]),
  );
  const pollers = [
    ...(plain.pollers ?? []),
    ...Object.values(all?.versionsInfo ?? {}).flatMap(({ typesInfo }) =>
      Object.values(typesInfo ?? {}).flatMap((info) => info.pollers ?? []),
    ),
  ];
  const since = (Date.now() - LATE.poll) / 1000;
  const lately = pollers.filter(({ lastAccessTime }) => Number(lastAccessTime?.seconds ?? 0) >= since);
  return [...new Set(lately.flatMap(({ identity }) => identity || []))].toSorted();
}
