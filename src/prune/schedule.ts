import {
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type Client,
  type ScheduleDescription,
} from '@temporalio/client';
import type { pruneBatches } from '../../workflows/prune.ts';
import { toTemporalError } from '../client/temporal-errors.ts';
import { CodecMismatchError, InvalidOptionError } from '../errors.ts';
import { unknownEncoding } from '../temporal-payloads.ts';
import { CALLS } from '../timeouts.ts';
import type { ResolvedPruneSchedule } from './options.ts';

const WORKFLOW_TYPE = 'pruneBatches';

/**
 * Creates the schedule, or changes the one that is there; one that somebody paused stays so.
 *
 * @throws {@link InvalidOptionError} when the id belongs to a schedule of another kind
 * @throws {@link TemporalUnavailableError}
 */
export async function savePruneSchedule(
  client: Client,
  taskQueue: string,
  { everyMs, scheduleId, input }: ResolvedPruneSchedule,
): Promise<void> {
  const definition = {
    spec: { intervals: [{ every: everyMs }] },
    action: {
      type: 'startWorkflow' as const,
      workflowType: WORKFLOW_TYPE,
      workflowId: scheduleId,
      taskQueue,
      args: [input] as Parameters<typeof pruneBatches>,
    },
    // Two at once would not disturb each other, and would not be faster.
    policies: { overlap: ScheduleOverlapPolicy.SKIP },
  };
  await asking(client, scheduleId, async () => {
    try {
      await client.schedule.create<typeof pruneBatches>({ scheduleId, ...definition });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      await client.schedule.getHandle(scheduleId).update<typeof pruneBatches>((previous) => {
        assertOurs(previous);
        return { ...definition, state: previous.state };
      });
    }
  });
}

/**
 * Deletes the schedule. A prune that it has started goes on.
 *
 * @returns whether it was there
 * @throws {@link InvalidOptionError} when the id belongs to a schedule of another kind
 * @throws {@link TemporalUnavailableError}
 */
export async function deletePruneSchedule(client: Client, scheduleId: string): Promise<boolean> {
  return asking(client, scheduleId, async () => {
    const handle = client.schedule.getHandle(scheduleId);
    try {
      assertOurs(await handle.describe());
      await handle.delete();
      return true;
    } catch (error) {
      if (error instanceof ScheduleNotFoundError) return false;
      throw error;
    }
  });
}

/** Schedules share their ids with those of the app. */
function assertOurs({ scheduleId, action }: ScheduleDescription): void {
  if (action.type === 'startWorkflow' && action.workflowType === WORKFLOW_TYPE) return;
  throw new InvalidOptionError('scheduleId', 'free, or the id of a schedule that prunes', scheduleId);
}

async function asking<T>(client: Client, scheduleId: string, run: () => Promise<T>): Promise<T> {
  try {
    return await client.withDeadline(Date.now() + CALLS.schedule, run);
  } catch (error) {
    const encoding = unknownEncoding(error);
    if (encoding !== undefined) {
      throw new CodecMismatchError(
        'CODEC_MISMATCH',
        `Schedule "${scheduleId}" has arguments encoded as ${encoding}, which this client cannot read. Give the client ` +
          "the workers' dataConverter, or the command --codec-endpoint. Nothing was changed.",
        { cause: error },
      );
    }
    throw toTemporalError(`the call for schedule "${scheduleId}"`, error);
  }
}
