import { cancellationSignal } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { InvalidOptionError } from '../src/errors.ts';
import { resolvePruneOptions, type PruneResult } from '../src/prune/options.ts';
import { filterOf, pruneBatches } from '../src/prune/prune-batches.ts';
import type { PruneInput } from './contract.ts';
import type { ActivityDependencies } from './dependencies.ts';
import { withHeartbeat } from './heartbeat.ts';

/** Removes settled batches of the worker's database. A worker that shuts down leaves the rest to another one. */
export async function prune(
  { database, isDraining }: Pick<ActivityDependencies, 'database' | 'isDraining'>,
  input: PruneInput,
): Promise<PruneResult> {
  const { selection } = resolved(input);
  const signal = cancellationSignal();
  const assertWanted = () => {
    signal.throwIfAborted();
    if (isDraining()) throw ApplicationFailure.retryable('The worker shuts down.', 'WorkerShutdown');
  };
  return withHeartbeat(async () =>
    pruneBatches(database, await filterOf(database, selection), { assertWanted }),
  );
}

/** Anybody can start the workflow: what no attempt can make sense of fails at once. */
function resolved(input: PruneInput) {
  try {
    return resolvePruneOptions(input);
  } catch (error) {
    if (!(error instanceof InvalidOptionError)) throw error;
    throw ApplicationFailure.nonRetryable(error.message, error.code);
  }
}
