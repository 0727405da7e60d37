import { executeChild, proxyActivities } from '@temporalio/workflow';
import type { Activities } from './temporal-alone.ts';

const { noop, done } = proxyActivities<Activities>({ startToCloseTimeout: '1 minute' });

/** Runs each job as an activity, so many at once, and then the callback. */
export async function activityPerJob(jobs: number, inFlight: number): Promise<void> {
  await runAll(jobs, inFlight, noop);
}

/** Runs each job as a child workflow with its activity. */
export async function childPerJob(jobs: number, inFlight: number): Promise<void> {
  await runAll(jobs, inFlight, (index) => executeChild(oneJob, { args: [index] }));
}

export async function oneJob(index: number): Promise<void> {
  await noop(index);
}

async function runAll(jobs: number, inFlight: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < jobs) await run(next++);
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  await done();
}
