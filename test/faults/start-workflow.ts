import type { Client, WorkflowClientInterceptor } from '@temporalio/client';
import { BatchError } from '../../src/index.ts';
import { wakeSignal, type act } from './app-workflows.ts';
import type { Ledger } from './ledger.ts';
import { codeOf } from './persist.ts';
import type { BatchPlan } from './plan-batch.ts';
import { MAXIMUM_RUNS, type WorkflowPlan } from './plan-workflows.ts';
import { appQueueOf, workflowIdOf } from './settings.ts';

export interface StartOptions {
  /** With the plugin. */
  readonly client: Client;
  readonly ledger: Ledger;
  readonly batchId: string;
}

/**
 * Starts a workflow of the app in the block; the ledger gets what came of it. What Temporal did not answer is no reason
 * to break the block: the workflow is a job, and looking tells what became of it.
 */
export async function startWorkflow({ client, ledger, batchId: batch }: StartOptions, plan: WorkflowPlan) {
  const { task, by } = plan;
  const { name } = task;
  const options = {
    workflowId: workflowIdOf(batch, name),
    taskQueue: appQueueOf(batch),
    args: [task, batch] as Parameters<typeof act>,
    retry: { initialInterval: '100ms', backoffCoefficient: 1, maximumAttempts: MAXIMUM_RUNS },
  } as const;
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
