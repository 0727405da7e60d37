import { ApplicationFailure } from '@temporalio/common';
import {
  condition,
  continueAsNew,
  defineSignal,
  defineUpdate,
  executeChild,
  makeContinueAsNewFunc,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';

// Workflows of an app that knows nothing of batches.

export const finishSignal = defineSignal('finish');
export const askUpdate = defineUpdate<string, [string]>('ask');

export async function returns(value: unknown): Promise<unknown> {
  return value;
}

/** Runs until it is told to finish, or cancelled; answers meanwhile. */
export async function waits(_value?: unknown): Promise<void> {
  let isFinished = false;
  setHandler(finishSignal, () => void (isFinished = true));
  setHandler(askUpdate, (question) => `${question}!`);
  await condition(() => isFinished);
}

/** Fails as a payment may, deep down. */
export async function fails(): Promise<void> {
  const cause = ApplicationFailure.create({ type: 'CardDeclinedError', message: 'The card was declined' });
  throw ApplicationFailure.create({ type: 'PaymentError', message: 'No payment', cause });
}

/** Goes on in so many further runs, each of which takes a while. */
export async function continues(times: number): Promise<void> {
  await sleep(300);
  if (times > 0) await continueAsNew<typeof continues>(times - 1);
}

/** Waits, and goes on in another run, which returns. */
export async function waitsAndContinues(): Promise<void> {
  await waits();
  await makeContinueAsNewFunc<typeof returns>({ workflowType: 'returns' })(undefined);
}

/** For a workflow with a retry policy. */
export async function failsAtFirst(times: number): Promise<void> {
  if (workflowInfo().attempt <= times)
    throw ApplicationFailure.create({ message: 'not yet', nonRetryable: false });
}

export async function hasChildren(count: number): Promise<void> {
  const children = Array.from({ length: count }, (_, index) => executeChild(returns, { args: [index] }));
  await Promise.all(children);
}

export async function callsActivity(name: string, arg: string): Promise<void> {
  const activities = proxyActivities<Record<string, (arg: string) => Promise<void>>>({
    startToCloseTimeout: '1 minute',
    retry: { maximumAttempts: 1 },
  });
  await activities[name]!(arg);
}
