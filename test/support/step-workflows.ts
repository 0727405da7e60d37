import { ApplicationFailure, isCancellation, sleep } from '@temporalio/workflow';
import { executeBatch, type ExecuteBatchOptions, type ExecuteBatchResult } from '../../workflows/index.ts';

// Workflows of an app, for a worker of its own that knows nothing of batches.

export async function importFile(options: ExecuteBatchOptions): Promise<ExecuteBatchResult> {
  return executeBatch(options);
}

/** What a workflow sees of a step that is refused. */
export async function refusalOf(options: ExecuteBatchOptions) {
  try {
    await executeBatch(options);
    return undefined;
  } catch (error) {
    if (!(error instanceof ApplicationFailure)) throw error;
    const { message, nonRetryable, type } = error;
    return { message, nonRetryable, type };
  }
}

/** Options that do not survive a payload, as a workflow may have them in its hands. */
export async function refusalOfWhatJsonLoses(options: ExecuteBatchOptions) {
  const values = { bigint: 1n, date: new Date(), map: new Map(), nothing: undefined };
  const types: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) {
    const refusal = await refusalOf({ ...options, jobs: [{ name: 'Noop', args: [value] }] });
    types[name] = refusal?.type;
  }
  return types;
}

export async function withDeadline(options: ExecuteBatchOptions, at: number): Promise<ExecuteBatchResult> {
  return executeBatch({ ...options, deadline: new Date(at) });
}

/** Two steps, one after the other, and two at once. */
export async function severalSteps(options: ExecuteBatchOptions): Promise<string[]> {
  const first = await executeBatch(options);
  const [second, third] = await Promise.all([executeBatch(options), executeBatch(options)]);
  return [first.batchId, second.batchId, third.batchId];
}

/** Says of its cancellation when it hears of it. */
export async function cancelledInIt(options: ExecuteBatchOptions): Promise<string> {
  try {
    await executeBatch(options);
    return 'was not cancelled';
  } catch (error) {
    return isCancellation(error) ? 'cancelled' : String(error);
  }
}

/** Ends before its step does. */
export async function leavesItsStep(options: ExecuteBatchOptions): Promise<void> {
  void executeBatch(options).catch(() => {});
  await sleep('2 seconds');
}
