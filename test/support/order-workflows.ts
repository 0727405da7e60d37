import {
  ApplicationFailure,
  condition,
  continueAsNew,
  defineSignal,
  executeChild,
  proxyActivities,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { OrderActivities } from './order-app.ts';

// Workflows of an app that knows nothing of batches, for a worker of its own.

const { charge } = proxyActivities<OrderActivities>({ startToCloseTimeout: '10 seconds' });

export const goSignal = defineSignal('go');

export async function returns(value: unknown): Promise<unknown> {
  return value;
}

export async function waits(): Promise<string> {
  let isTold = false;
  setHandler(goSignal, () => void (isTold = true));
  await condition(() => isTold);
  return 'told';
}

export async function fails(message: string): Promise<void> {
  throw ApplicationFailure.nonRetryable(message, 'CardDeclined');
}

/** So many further runs, the last of which waits. */
export async function continues(times: number): Promise<string> {
  if (times > 0) await continueAsNew<typeof continues>(times - 1);
  return waits();
}

/** Its child ends long before it, and has a copy of its memo. */
export async function hasChild(): Promise<string> {
  const { memo, workflowId } = workflowInfo();
  await executeChild(returns, { args: ['child'], memo: memo!, workflowId: `${workflowId}/child` });
  return waits();
}

/** No end of a workflow: its task fails, again and again. */
export async function hasBug(): Promise<void> {
  await waits();
  throw new TypeError('a bug');
}

/** Goes through all kinds of steps, and ends while code that it left behind still goes on. */
export async function leavesWork(amounts: readonly number[]): Promise<number> {
  let total = 0;
  for (const amount of amounts) total += await charge(amount);
  await sleep(1);
  const child = executeChild(returns, { args: [total] });
  void child.then(() => {}).then(() => charge(0));
  await child;
  return total;
}

/** Waits, and then ends, or goes on in another run that waits as well. */
export async function waitsThen(
  what: 'returns' | 'fails' | 'continues as new' | 'is retried',
): Promise<string | undefined> {
  const answer = await waits();
  if (what === 'fails') throw ApplicationFailure.nonRetryable('no funds', 'CardDeclined');
  if (what === 'continues as new') await continueAsNew<typeof waitsThen>('returns');
  if (what === 'is retried' && workflowInfo().attempt === 1)
    throw ApplicationFailure.create({ type: 'TryAgain' });
  return answer;
}
