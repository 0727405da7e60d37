import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Worker } from '@temporalio/worker';
import type * as workflows from './temporal-alone-workflows.ts';
import type { Environment } from '../environment.ts';
import { checkCount, rateSince, type OpenRival, type Rival } from './rival.ts';

/** A server lets a workflow have 2,000 activities pending. */
const IN_FLIGHT = 200;
/** The server's answers say how many pay. */
const POLLERS = { type: 'autoscaling', initial: 20, maximum: 100 } as const;
/** At some hundred a second, more would take minutes; and with three events a job, a history ends before 17,000. */
const MAX_JOBS = 2_000;

export interface Activities {
  noop(index: number): Promise<void>;
  done(): Promise<void>;
}

/** What one writes without a library: one workflow, an activity a job, an activity as the callback. */
export const openActivityPerJob = rival('activityPerJob', 'an activity a job, in one workflow');

/** ... or a child workflow a job. */
export const openChildPerJob = rival('childPerJob', 'a child workflow a job');

function rival(workflow: 'activityPerJob' | 'childPerJob', name: string): OpenRival {
  return async (environment) => open(environment, workflow, name);
}

async function open(
  { client, temporalAddress }: Environment,
  workflow: 'activityPerJob' | 'childPerJob',
  name: string,
): Promise<Rival> {
  const connection = await NativeConnection.connect({ address: temporalAddress });
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL('./temporal-alone-workflows.js', import.meta.url)),
    logger: new DefaultLogger('ERROR'),
  });
  return {
    name,
    settings: { inFlight: IN_FLIGHT, pollers: POLLERS },
    maxJobs: MAX_JOBS,

    async measure(jobs) {
      let ran = 0;
      let calls = 0;
      const activities: Activities = {
        noop: async () => void ran++,
        done: async () => void calls++,
      };
      const taskQueue = `${workflow}-${randomUUID()}`;
      const worker = await Worker.create({
        connection,
        workflowBundle,
        activities,
        taskQueue,
        maxConcurrentActivityTaskExecutions: IN_FLIGHT,
        activityTaskPollerBehavior: POLLERS,
      });
      const rate = await worker.runUntil(async () => {
        const startedAt = performance.now();
        await client.workflow.execute<(typeof workflows)[typeof workflow]>(workflow, {
          args: [jobs, IN_FLIGHT],
          taskQueue,
          workflowId: taskQueue,
        });
        return rateSince(startedAt, jobs);
      });
      checkCount(ran, jobs);
      checkCount(calls, 1);
      return rate;
    },

    [Symbol.asyncDispose]: () => connection.close(),
  };
}
