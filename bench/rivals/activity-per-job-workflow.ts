import { proxyActivities } from '@temporalio/workflow';
import type { Activities } from './activity-per-job.ts';

const { noop, done } = proxyActivities<Activities>({ startToCloseTimeout: '1 minute' });

/** Runs each job as an activity, so many at once, and then the callback. */
export async function activityPerJob(jobs: number, inFlight: number): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < jobs) await noop(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  await done();
}
