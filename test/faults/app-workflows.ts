import {
  ApplicationFailure,
  continueAsNew,
  defineSignal,
  executeChild,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { AppActivities } from './app-activities.ts';
import type { WorkflowTask } from './plan-workflows.ts';

// The workflows of an app that knows nothing of batches.

export const wakeSignal = defineSignal('wake');

/** Does what its task says. Each of its runs acts once. */
export async function act(task: WorkflowTask, batch: string): Promise<void> {
  const { failures, isHopeless, continuations, children, ms, name } = task;
  const { attempt, runId } = workflowInfo();
  // Its workers are killed and paused.
  const { note } = proxyActivities<AppActivities>({
    startToCloseTimeout: '5s',
    retry: { maximumInterval: '1s' },
  });
  setHandler(wakeSignal, () => {});
  await note({ batch, name, runId });
  await Promise.all(Array.from({ length: children }, () => executeChild(rest, { args: [ms / 2] })));
  await sleep(ms);
  if (isHopeless) throw ApplicationFailure.nonRetryable('It cannot succeed', 'HopelessError');
  if (attempt <= failures)
    throw ApplicationFailure.retryable(`Run ${attempt} of ${failures} that fail`, 'FlakyError');
  if (continuations > 0)
    await continueAsNew<typeof act>({ ...task, continuations: continuations - 1 }, batch);
}

export async function rest(ms: number): Promise<void> {
  await sleep(ms);
}
