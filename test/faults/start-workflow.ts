import type { Client, WorkflowClientInterceptor } from '@temporalio/client';
import { BatchError } from '../../src/index.ts';
import { wakeSignal, type act } from './app-workflows.ts';
import type { Ledger } from './ledger.ts';
import { codeOf } from './persist.ts';
import type { BatchPlan } from './plan-batch.ts';
import { MAXIMUM_RUNS, type WorkflowPlan, type WorkflowTask } from './plan-workflows.ts';
import { appQueueOf, workflowIdOf } from './settings.ts';

export interface StartOptions {
  /** With the plugin. */
  readonly client: Client;
  readonly ledger: Ledger;
  readonly batchId: string;
}

/** Starts a workflow of the app in the block, as often as planned. */
export async function startWorkflow(options: StartOptions, plan: WorkflowPlan): Promise<void> {
  const first = startOnce(options, plan);
  if (!plan.isRepeated) return first;
  if (plan.isAwaited) await first;
  await Promise.all([first, startOnce(options, plan)]);
}

/**
 * The ledger gets what came of it. What Temporal did not answer is no reason to break the block: the workflow is a job,
 * and looking tells what became of it.
 */
async function startOnce({ client, ledger, batchId: batch }: StartOptions, plan: WorkflowPlan) {
  const { task, by } = plan;
  const { name } = task;
  const options = startOptionsOf(batch, task);
  ledger.write({ what: 'workflow-starting', batch, name });
  try {
    const handle =
      by === 'start'
        ? await client.workflow.start<typeof act>('act', options)
        : await client.workflow.signalWithStart<typeof act>('act', { ...options, signal: wakeSignal });
    const runId = 'firstExecutionRunId' in handle ? handle.firstExecutionRunId : handle.signaledRunId;
    ledger.write({ what: 'workflow-started', batch, name, runId });
  } catch (error) {
    const code = codeOf(error);
    ledger.write({ what: 'workflow-not-started', batch, name, error: code, message: String(error) });
    // A block that is resumed starts what is a job already.
    if (error instanceof BatchError && code !== 'WORKFLOW_ENROLLED') throw error;
  }
  ledger.write({ what: 'enrolled', batch, name });
}

/** What a workflow of the app is started with, by whoever starts it. */
export function startOptionsOf(batchId: string, task: WorkflowTask) {
  return {
    workflowId: workflowIdOf(batchId, task.name),
    taskQueue: appQueueOf(batchId),
    args: [task, batchId] as Parameters<typeof act>,
    retry: { initialInterval: '100ms', backoffCoefficient: 1, maximumAttempts: MAXIMUM_RUNS },
  } as const;
}

/** Kills its process where a workflow of the batch says so: its row is written then, and nobody hears of its start. */
export function killerOf({ workflows }: BatchPlan, batchId: string): WorkflowClientInterceptor {
  const killWhen = (when: 'before' | 'after', workflowId: string) => {
    const plan = workflows.find(({ task }) => workflowIdOf(batchId, task.name) === workflowId);
    if (plan?.killsEnqueuer === when) process.kill(process.pid, 'SIGKILL');
  };
  return {
    startWithDetails: async (input, next) => {
      killWhen('before', input.options.workflowId);
      const output = await next(input);
      killWhen('after', input.options.workflowId);
      return output;
    },
    signalWithStart: async (input, next) => {
      killWhen('before', input.options.workflowId);
      const output = await next(input);
      killWhen('after', input.options.workflowId);
      return output;
    },
  };
}
